/** What the native transport can and the other cannot: bytes as names, times, holes, access lists, other ways to mount. */
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { base64, dir, file } from '../support/literals.ts';
import {
  closeMounts,
  type MountChild,
  mountLiteral,
  python,
  run,
  temporaryFolder,
  whyNoMounts,
} from '../support/mount-child.ts';

const HOLES = { size: 300_000, data: 'x'.repeat(8192) };
const SPARSE = [
  { offset: 65_536, length: 4096 },
  { offset: 131_072, length: 4096 },
];

describe.skipIf(whyNoMounts() !== undefined)('a native mount', () => {
  let mounted: MountChild;
  const ask = (body: string): Promise<unknown> =>
    python(
      `import sys, os, json, stat, errno
m = os.fsencode(sys.argv[1]) + b"/"
def e(call):
    try:
        return call()
    except OSError as x:
        return errno.errorcode[x.errno]
${body}
print(json.dumps(r))`,
      mounted.mountPoint,
    );

  beforeAll(async () => {
    mounted = await mountLiteral({
      root: dir({
        '\xff': file('x'),
        'a\xfe': dir({ b: file('deep') }),
        bytes: { kind: 'symlink', target: '\xff' },
        attributes: file('', {
          xattrs: { 'user.\xe9': base64('v'), 'user.large': base64('v'.repeat(60_000)) },
        }),
        precise: file('', { mtimeSec: 1_500_000_000, mtimeNsec: 123_456_789 }),
        'before-1970': file('', { mtimeSec: -86_400, mtimeNsec: 1 }),
        holes: { kind: 'file', data: base64(HOLES.data), size: HOLES.size, sparse: SPARSE },
        whole: file('whole'),
        device: { kind: 'char', rdev: [4095, 1_048_575] },
      }),
    });
  });
  afterAll(closeMounts);

  test('the kernel reads ahead in it by the length of a span', async () => {
    expect(
      await ask(`d = os.stat(m).st_dev
r = open("/sys/class/bdi/%d:%d/read_ahead_kb" % (os.major(d), os.minor(d))).read().strip()`),
    ).toBe('256');
  });

  test('names, targets and attribute names that are not UTF-8 come through as their bytes (E90, E224)', async () => {
    expect(
      await ask(`names = sorted(n.hex() for n in os.listdir(m) if n[0] > 127 or n[-1] > 127)
r = [names, open(m + b"\\xff").read(), open(m + b"a\\xfe/b").read(), os.readlink(m + b"bytes").hex(), open(m + b"bytes").read(),
     sorted(os.fsencode(n).hex() for n in os.listxattr(m + b"attributes")), e(lambda: os.lstat(m + b"\\xfd").st_ino)]`),
    ).toEqual([
      ['61fe', 'ff'],
      'x',
      'deep',
      'ff',
      'x',
      [Buffer.from('user.large').toString('hex'), `${Buffer.from('user.').toString('hex')}e9`],
      'ENOENT',
    ]);
    expect(mounted.stderr).not.toContain('UTF-8');
  });

  test('times have their nanoseconds, also before 1970', async () => {
    expect(await ask('r = [str(os.lstat(m + n).st_mtime_ns) for n in (b"precise", b"before-1970")]')).toEqual(
      ['1500000000123456789', '-86399999999999'],
    );
  });

  test('the largest device numbers come through', async () => {
    expect(await ask('s = os.lstat(m + b"device")\nr = [os.major(s.st_rdev), os.minor(s.st_rdev)]')).toEqual([
      4095, 1_048_575,
    ]);
  });

  test('holes are found by SEEK_HOLE and SEEK_DATA, and read as zeros (E98)', async () => {
    const seeks = (name: string, ...offsets: number[]) =>
      ask(`f = os.open(m + b"${name}", os.O_RDONLY)
r = [[e(lambda: os.lseek(f, o, w)) for w in (os.SEEK_DATA, os.SEEK_HOLE)] for o in ${JSON.stringify(offsets)}]`);
    expect(
      await seeks('holes', 0, 65_535, 65_536, 69_631, 69_632, 131_072, 135_168, 299_999, 300_000),
    ).toEqual([
      [65_536, 0],
      [65_536, 65_535],
      [65_536, 69_632],
      [69_631, 69_632],
      [131_072, 69_632],
      [131_072, 135_168],
      ['ENXIO', 135_168],
      ['ENXIO', 299_999],
      ['ENXIO', 'ENXIO'],
    ]);
    expect(await seeks('whole', 0, 4, 5)).toEqual([
      [0, 5],
      [4, 5],
      ['ENXIO', 'ENXIO'],
    ]);
    expect(
      await ask(`b = open(m + b"holes", "rb").read()
r = [len(b), b.count(b"x"), b.index(b"x"), b.rindex(b"x"), b.count(0)]`),
    ).toEqual([HOLES.size, 8192, 65_536, 135_167, HOLES.size - 8192]);
    const { stdout } = await run('cp', [
      '--sparse=auto',
      path.join(mounted.mountPoint, 'holes'),
      path.join(mounted.folder, 'copy'),
    ]);
    expect(stdout).toBe('');
    expect(
      await run('cmp', [path.join(mounted.mountPoint, 'holes'), path.join(mounted.folder, 'copy')]),
    ).toMatchObject({ status: 0 });
  });
});

describe.skipIf(whyNoMounts() !== undefined)('a native mount without extended attributes or holes', () => {
  afterEach(closeMounts);

  test('is asked for them once, and for no open or opendir after the first', async () => {
    const names = Array.from({ length: 50 }, (_, index) => `f${index}`);
    const mounted = await mountLiteral({
      root: dir(Object.fromEntries(names.map((name) => [name, file(name)]))),
    });
    const seen = await python(
      `import os, sys, json, errno
m = sys.argv[1] + "/"
def x(n):
    try:
        return os.listxattr(m + n)
    except OSError as e:
        return errno.errorcode[e.errno]
names = sorted(os.listdir(m))
print(json.dumps([sorted({x(n) for n in names}), sorted(open(m + n).read() for n in names) == names]))`,
      mounted.mountPoint,
    );
    expect(seen).toEqual([['ENOTSUP'], true]);
    const requests = await mounted.requests();
    expect(requests).toMatchObject({
      open: 1,
      opendir: 1,
      listxattr: 1,
      read: names.length,
      missed: names.length,
    });
    expect(requests['release'] ?? 0).toBe(0);
  });

  test('is asked for nothing by a second walk: names, missing names, attributes, links and bytes are kept', async () => {
    const names = Array.from({ length: 50 }, (_, index) => `f${index}`);
    const mounted = await mountLiteral({
      root: dir({
        d: dir(Object.fromEntries(names.map((name) => [name, file(name)]))),
        l: { kind: 'symlink', target: 'd/f1' },
      }),
    });
    // Not open(): it asks whether the file is a terminal, every time, and no kernel remembers the answer.
    const walk = `import os, sys, json
m = sys.argv[1] + "/"
def read(n):
    f = os.open(m + n, os.O_RDONLY)
    try:
        return os.read(f, 100).decode()
    finally:
        os.close(f)
names = sorted(os.listdir(m + "d"))
print(json.dumps([names, sum(os.lstat(m + "d/" + n).st_size for n in names), [read("d/" + n) for n in names],
    os.readlink(m + "l"), read("l"), os.path.exists(m + "none")]))`;
    const sorted = [...names].sort();
    const wanted = [sorted, names.join('').length, sorted, 'd/f1', 'f1', false];
    expect(await python(walk, mounted.mountPoint)).toEqual(wanted);
    const requestsOfAWalk = async (): Promise<Record<string, number>> => {
      const before = await mounted.requests();
      expect(await python(walk, mounted.mountPoint)).toEqual(wanted);
      const after = Object.entries(await mounted.requests());
      return Object.fromEntries(after.filter(([name, count]) => count !== before[name]));
    };
    // More than once: F51, beside this, has the kernel drop the caches of all mounts.
    await expect.poll(requestsOfAWalk, { timeout: 20_000 }).toEqual({});
  });

  test('is served through several descriptors of the device, so that requests do not wait in one line', async () => {
    const mounted = await mountLiteral({ root: dir({ f: file('x') }), transport: 'native by /dev/fuse' });
    const open = readdirSync(`/proc/${mounted.pid}/fd`).filter((fd) => {
      try {
        return readlinkSync(`/proc/${mounted.pid}/fd/${fd}`) === '/dev/fuse';
      } catch {
        return false; // closed meanwhile
      }
    });
    expect(open.length).toBeGreaterThanOrEqual(4);
    expect(open.length).toBeLessThanOrEqual(16);
  });
});

describe.skipIf(whyNoMounts() !== undefined)('access control lists of an image', () => {
  afterEach(closeMounts);

  test('let in whom they name, and nobody else', async () => {
    // posix_acl_xattr.h: version 2, then tag, permissions, id; the mask stands in the group bits of the mode.
    const entries = [
      [0x01, 6, 0xffffffff], // owner
      [0x02, 4, 65534], // a user
      [0x04, 0, 0xffffffff], // group
      [0x10, 4, 0xffffffff], // mask
      [0x20, 0, 0xffffffff], // others
    ] as const;
    const acl = Buffer.alloc(4 + 8 * entries.length);
    acl.writeUInt32LE(2, 0);
    for (const [index, [tag, permissions, id]] of entries.entries()) {
      acl.writeUInt16LE(tag, 4 + 8 * index);
      acl.writeUInt16LE(permissions, 6 + 8 * index);
      acl.writeUInt32LE(id, 8 + 8 * index);
    }
    const mounted = await mountLiteral({
      root: dir({
        listed: file('content', {
          mode: 0o640,
          xattrs: { 'system.posix_acl_access': acl.toString('base64') },
        }),
        plain: file('content', { mode: 0o640 }),
      }),
      options: { allowOther: true },
    });
    chmodSync(mounted.folder, 0o755);
    const as = (uid: number, name: string) =>
      run('setpriv', [
        `--reuid=${uid}`,
        `--regid=${uid}`,
        '--clear-groups',
        'cat',
        path.join(mounted.mountPoint, name),
      ]);
    expect(await as(65534, 'listed')).toMatchObject({ status: 0, stdout: 'content' });
    expect(await as(65533, 'listed')).toMatchObject({ status: 1, stdout: '' });
    expect(await as(65534, 'plain')).toMatchObject({ status: 1, stdout: '' });
  });
});

describe.skipIf(whyNoMounts() !== undefined)('a native mount that was not made by mount(2) of ours', () => {
  afterEach(closeMounts);

  test('is served on a descriptor that was handed over mounted, and ends with the unmount (/dev/fd/N)', async () => {
    const place = temporaryFolder();
    // Opens and mounts, then becomes the server; the descriptor stays.
    const handOver = `import ctypes, os, sys
place = sys.argv[1]
fd = os.open("/dev/fuse", os.O_RDWR)
os.dup2(fd, 9, inheritable=True)
os.close(fd)
libc = ctypes.CDLL(None, use_errno=True)
options = b"fd=9,rootmode=40000,user_id=0,group_id=0"
if libc.mount(b"handed", os.fsencode(place), b"fuse.peel", 1, options): raise OSError(ctypes.get_errno())
os.execv(sys.argv[2], sys.argv[2:])`;
    const mounted = await mountLiteral({
      root: dir({ f: file('content') }),
      place: '/dev/fd/9',
      wrapper: ['python3', '-c', handOver, place],
    });
    expect(mounted.mountPoint).toBe('/dev/fd/9');
    expect(readFileSync(path.join(place, 'f'), 'utf8')).toBe('content');
    expect(await run('umount', [place])).toMatchObject({ status: 0 });
    expect(await mounted.exited).toEqual({ code: 0, signal: null });
  });

  test('as a user goes through fusermount3, with the same answers and the same end', async (context) => {
    const user = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const reach = await run('setpriv', [
      ...user.slice(1),
      'cat',
      path.join(import.meta.dirname, '../support/mount-server.mjs'),
    ]);
    if (reach.status !== 0) context.skip('the checkout is not readable for other users');
    const device = path.join(temporaryFolder(), 'fuse');
    expect(await run('mknod', ['-m', '666', device, 'c', '10', '229'])).toMatchObject({ status: 0 });
    const home = temporaryFolder();
    chmodSync(home, 0o755);
    const place = path.join(home, 'mnt');
    mkdirSync(place);
    chownSync(home, 65534, 65534);
    chownSync(place, 65534, 65534);
    // The mount is seen inside the namespace alone: what is asked of it runs there.
    const mounted = await mountLiteral({
      root: dir({ f: file('content', { uid: 65534, gid: 65534 }) }),
      place,
      isForAll: true,
      wrapper: ['unshare', '-m', 'sh', '-c', `mount --bind ${device} /dev/fuse && exec "$@"`, 'sh', ...user],
      options: { runtimeDir: path.join(home, 'run') },
    });
    const inside = (...words: string[]) =>
      run('nsenter', ['-t', String(mounted.pid), '-m', ...user, ...words]);
    expect(await inside('cat', path.join(place, 'f'))).toMatchObject({ status: 0, stdout: 'content' });
    const [line = ''] = (await inside('grep', ` ${place} `, '/proc/self/mountinfo')).stdout.split('\n');
    expect(line).toMatch(/ ro,nosuid,nodev,.* - fuse\.peel peel:test\/literal .*user_id=65534/);
    expect(await inside('ls', '-l', place)).toMatchObject({ status: 0 });
    mounted.kill('SIGTERM');
    expect(await mounted.exited).toEqual({ code: 0, signal: null });
  });
});
