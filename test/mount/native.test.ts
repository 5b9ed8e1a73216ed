/** What the native transport can and the other cannot: bytes as names, times, holes, interruption, survival. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readRecords } from '../../src/fuse/mount-records.ts';
import type { LiteralNode } from '../support/literal-tree.mjs';
import {
  closeMounts,
  type MountChild,
  mountLiteral,
  mountTable,
  python,
  run,
  temporaryFolder,
  whyNoMounts,
} from '../support/mount-child.ts';

const base64 = (data: string): string => Buffer.from(data, 'latin1').toString('base64');
const dir = (children: Record<string, LiteralNode>): LiteralNode => ({ kind: 'dir', children });
const file = (data: string, more: object = {}): LiteralNode => ({
  kind: 'file',
  data: base64(data),
  ...more,
});
const isMounted = (place: string): boolean => mountTable().includes(` ${place} `);

const MANY = 100_000;
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
        many: dir(
          Object.fromEntries(Array.from({ length: MANY }, (_, index) => [`entry-${index}`, file('')])),
        ),
      }),
    });
  });
  afterAll(closeMounts);

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

  test('a directory of 100,000 is listed whole, stated, and every offset comes back to its entry (L5)', async () => {
    expect(
      await ask(`import ctypes
listed = [(x.name, x.inode()) for x in os.scandir(m + b"many")]
wrong = sum(os.lstat(m + b"many/" + n).st_ino != i for n, i in listed[::997])
class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_ulong), ("off", ctypes.c_long), ("len", ctypes.c_ushort), ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]
libc = ctypes.CDLL(None)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = [ctypes.c_void_p]; libc.readdir.restype = ctypes.POINTER(Dirent)
libc.telldir.argtypes = [ctypes.c_void_p]; libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
d = libc.opendir(m + b"many")
seen = []
while True:
    where = libc.telldir(d)
    entry = libc.readdir(d)
    if not entry: break
    seen.append((where, entry.contents.name))
moved = 0
for where, name in seen[::-4999]:
    libc.seekdir(d, where)
    moved += libc.readdir(d).contents.name != name
r = [len(listed), len(set(listed)), wrong, len(seen), moved]`),
    ).toEqual([MANY, MANY, 0, MANY + 2, 0]);
  });

  test('inode numbers and link counts stay while the kernel forgets and asks again (F51)', async () => {
    expect(
      await ask(`def look(): return [(n, s.st_ino, s.st_nlink, s.st_size) for n in sorted(os.listdir(m)) for s in [os.lstat(m + n)]]
before = [(os.fsdecode(n), *rest) for n, *rest in look()]
changed = 0
for _ in range(20):
    open("/proc/sys/vm/drop_caches", "w").write("2")
    list(os.scandir(m + b"many"))
    changed += [(os.fsdecode(n), *rest) for n, *rest in look()] != before
r = changed`),
    ).toBe(0);
    mounted.kill('SIGUSR1');
    await expect.poll(() => mounted.stderr, { timeout: 5000 }).toMatch(/"(batch_)?forget":\d/);
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
    mounted.kill('SIGUSR1');
    await expect.poll(() => mounted.stderr, { timeout: 5000 }).toContain('"msg":"statistics"');
    const { requests } = JSON.parse(
      mounted.stderr.split('\n').find((line) => line.includes('"msg":"statistics"')) ?? '{}',
    ) as { requests: Record<string, number> };
    expect(requests).toMatchObject({
      open: 1,
      opendir: 1,
      listxattr: 1,
      read: names.length,
      missed: names.length,
    });
    expect(requests['release'] ?? 0).toBe(0);
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

describe.skipIf(whyNoMounts() !== undefined)('a reader that waits for bytes', () => {
  const readers: ChildProcess[] = [];
  afterEach(async () => {
    for (const reader of readers.splice(0)) reader.kill('SIGKILL');
    await closeMounts();
  });

  /** Reads past the page cache, so that the request is the reader's own. SIGINT ends it as it ends `cat`. */
  const DIRECT = `import mmap, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
f = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
os.readv(f, [mmap.mmap(-1, 4096)])`;
  /** The same, after a signal that it catches. */
  const ALARMED = `import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
${DIRECT}`;

  test.each([
    ['SIGINT', DIRECT],
    ['SIGKILL', DIRECT],
    ['SIGTERM', DIRECT],
    ['SIGKILL', ALARMED],
    ['SIGKILL', 'import sys\nopen(sys.argv[1]).read()'],
  ] as const)('leaves at %s though no bytes ever come, and the fetch ends (F32)', async (signal, program) => {
    const mounted = await mountLiteral({
      // Polite: the read of the layer ends when its signal is aborted, and says so by ending at all.
      root: dir({ f: file('x'.repeat(4096), { waitFor: '/nowhere' }), g: file('fine') }),
      options: { readTimeoutMs: 0 },
    });
    const reader = spawn('python3', ['-c', program, path.join(mounted.mountPoint, 'f')], { stdio: 'ignore' });
    readers.push(reader);
    const ended = once(reader, 'exit');
    await mounted.untilAsked('missed');
    if (program === ALARMED) await mounted.untilAsked('interrupt');
    reader.kill(signal);
    // Without a deadline of the mount nothing else can end it: a reader that does not leave fails the test.
    await ended;
    expect((await run('cat', [path.join(mounted.mountPoint, 'g')])).stdout).toBe('fine');
    if (program === DIRECT) await mounted.untilAsked('interrupt');
  });

  test('is not disturbed by signals that it catches: no EINTR, no SIGBUS, the right bytes', async () => {
    const gate = path.join(temporaryFolder(), 'open');
    const text = 'x'.repeat(4096);
    const mounted = await mountLiteral({
      root: dir({ f: file(text, { waitFor: gate }), g: file(text, { waitFor: gate }) }),
    });
    const reading = python(
      `import ctypes, errno, json, mmap, os, signal, sys, threading
m = sys.argv[1] + "/"
signal.signal(signal.SIGALRM, lambda *_: None)
# Not through Python, which begins a read anew after EINTR.
libc = ctypes.CDLL(None, use_errno=True)
f = os.open(m + "f", os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, 4096)
place = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
g = mmap.mmap(os.open(m + "g", os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_READ)
g.madvise(mmap.MADV_RANDOM)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
n = libc.read(f, ctypes.c_void_p(place), 4096)
first = "ok" if n == 4096 else errno.errorcode[ctypes.get_errno()]
mapped = g[:]
signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps([first, buffer[:] == b"x" * 4096, mapped == b"x" * 4096]))`,
      mounted.mountPoint,
    );
    await mounted.untilAsked('interrupt');
    writeFileSync(gate, '');
    expect(await reading).toEqual(['ok', true, true]);
  });

  test('gets EIO at the deadline even while nothing runs in JavaScript (F27)', async () => {
    const mounted = await mountLiteral({
      root: dir({ f: file('never', { waitFor: 'block the event loop' }) }),
      options: { readTimeoutMs: 300 },
    });
    expect(
      await python(
        `import sys, json, errno
try:
    r = open(sys.argv[1]).read()
except OSError as e:
    r = errno.errorcode[e.errno]
print(json.dumps(r))`,
        path.join(mounted.mountPoint, 'f'),
      ),
    ).toBe('EIO');
    // JavaScript would have said so: it is the native side that has ended the read.
    expect(mounted.stderr).not.toContain('ERR_DEADLINE');
  });
});

describe.skipIf(whyNoMounts() !== undefined)('a server that is stopped or cut off', () => {
  afterEach(closeMounts);

  test('is cut off by its watchdog: readers get an error, and it cleans up when it goes on (P9, F27)', async () => {
    const mounted = await mountLiteral({
      root: dir({ f: file('content'), cached: file('cached') }),
      options: { watchdogMs: 1000 },
    });
    expect((await run('cat', [path.join(mounted.mountPoint, 'cached')])).stdout).toBe('cached');
    mounted.kill('SIGSTOP');
    const answers = await python(
      `import sys, json, errno, os
def go(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]
m = sys.argv[1] + "/"
print(json.dumps([go(lambda: open(m + "f").read()), go(lambda: os.listdir(m))]))`,
      mounted.mountPoint,
    );
    expect(answers).toEqual(['ECONNABORTED', 'ENOTCONN']);
    mounted.kill('SIGCONT');
    expect(await mounted.exited).toEqual({ code: 0, signal: null });
    expect(mounted.stderr).toContain('the connection to the kernel ended: ECONNABORTED');
    expect(isMounted(mounted.mountPoint)).toBe(false);
  });

  test('and cut off is a dead mount; going on, it leaves alone what was mounted in its place (F27)', async () => {
    const stopped = await mountLiteral({
      root: dir({ f: file('content') }),
      options: { watchdogMs: 1000 },
    });
    stopped.kill('SIGSTOP');
    // Returns when the connection is cut.
    expect((await run('cat', [path.join(stopped.mountPoint, 'f')])).stderr).not.toBe('');
    const runtimeDir = path.join(stopped.folder, 'run');
    const next = await mountLiteral({
      root: dir({ f: file('next') }),
      place: stopped.mountPoint,
      options: { runtimeDir },
    });
    stopped.kill('SIGCONT');
    expect(await stopped.exited).toEqual({ code: 0, signal: null });
    expect((await run('cat', [path.join(next.mountPoint, 'f')])).stdout).toBe('next');
    expect(readRecords(runtimeDir)).toMatchObject([{ mountPoint: next.mountPoint, pid: next.pid }]);
  });

  test('together with its watchdog, as by a freezer, is given time to show that it lives', async () => {
    const mounted = await mountLiteral({ root: dir({ f: file('content') }), options: { watchdogMs: 4000 } });
    const watchdog = Number(readFileSync(`/proc/${mounted.pid}/task/${mounted.pid}/children`, 'utf8'));
    process.kill(watchdog, 'SIGSTOP');
    mounted.kill('SIGSTOP');
    const pause = (ms: number) => new Promise((resolve) => void setTimeout(resolve, ms));
    await pause(5000); // more than the limit
    process.kill(watchdog, 'SIGCONT');
    await pause(100); // the watchdog runs first: its time-out has expired
    mounted.kill('SIGCONT');
    expect((await run('cat', [path.join(mounted.mountPoint, 'f')])).stdout).toBe('content');
    expect(existsSync(`/proc/${watchdog}`)).toBe(true);
  });

  test('leaves no dead mount after umount -f of one that is in use', async () => {
    const mounted = await mountLiteral({ root: dir({ f: file('content') }) });
    const user = openSync(path.join(mounted.mountPoint, 'f'), 'r');
    try {
      expect((await run('umount', ['-f', mounted.mountPoint])).stderr).toContain('busy');
      expect(await mounted.exited).toEqual({ code: 0, signal: null });
      expect(isMounted(mounted.mountPoint)).toBe(false);
    } finally {
      closeSync(user);
    }
  });

  test('is left alone by a watchdog while it lives, and takes the watchdog with it', async () => {
    const mounted = await mountLiteral({ root: dir({ f: file('content') }), options: { watchdogMs: 1500 } });
    const pid = readFileSync(`/proc/${mounted.pid}/task/${mounted.pid}/children`, 'utf8').trim();
    expect(pid).toMatch(/^\d+$/);
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toMatch(/peel-watchdog\0\d+\x001500\0$/);
    await new Promise((resolve) => {
      setTimeout(resolve, 4000); // more than two limits; it must have heard of us meanwhile
    });
    expect((await run('cat', [path.join(mounted.mountPoint, 'f')])).stdout).toBe('content');
    expect(await run('ls', ['-l', `/proc/${pid}/fd`])).toMatchObject({
      stdout: expect.not.stringContaining('/dev/fuse'),
    });
    mounted.kill('SIGKILL');
    await mounted.exited;
    await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 5000 }).toBe(false);
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
