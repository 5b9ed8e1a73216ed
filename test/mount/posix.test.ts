/** What programs see of a mount: names, attributes, bytes, and the ways to read them. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256Hex } from '../support/digests.ts';
import type { LiteralNode } from '../support/literal-tree.mjs';
import { base64, dir, file } from '../support/literals.ts';
import {
  closeMounts,
  type MountChild,
  mountLiteral,
  mountTable,
  PASSTHROUGH,
  python,
  run,
  WAYS,
  whyNoMounts,
} from '../support/mount-child.ts';

const LONG = 'n'.repeat(255);
const PROGRAM = '/usr/bin/true';
const MANY = 100_000;
const random = randomBytes(1_500_000);

let deep = dir({ end: file('deep') });
for (let depth = 0; depth < 300; depth += 1) deep = dir({ d: deep });

const ROOT = dir({
  hello: file('hello', {
    mode: 0o4640,
    uid: 12345,
    gid: 4_000_000_000,
    mtimeSec: 1_500_000_000,
    mtimeNsec: 123_000_000,
    xattrs: { 'user.text': base64('value'), 'user.binary': base64('\0\x01\xff'), 'user.empty': '' },
  }),
  'same-as-hello': { kind: 'hardlink', to: '/hello' },
  empty: file(''),
  random: file(random),
  sparse: {
    kind: 'file',
    data: base64('ab'),
    size: 2 ** 40,
    sparse: [
      { offset: 2 ** 33, length: 1 },
      { offset: 2 ** 39, length: 1 },
    ],
  },
  old: file('', { mtimeSec: 1 }),
  future: file('', { mtimeSec: 10_000_000_000 }),
  program: file(readFileSync(PROGRAM), { mode: 0o755 }),
  link: { kind: 'symlink', target: 'hello' },
  'long-link': { kind: 'symlink', target: `/${'t'.repeat(4094)}` },
  absolute: { kind: 'symlink', target: '/hello' },
  null: { kind: 'char', rdev: [1, 3] },
  disk: { kind: 'block', rdev: [259, 300] },
  pipe: { kind: 'fifo' },
  [LONG]: file('long'),
  ümläut: file('text'),
  many: dir(Object.fromEntries(Array.from({ length: MANY }, (_, index) => [`file-${index}`, file('')]))),
  folder: dir({ a: dir({}), b: dir({}), f: file('') }),
  deep,
});
// Names are bytes in a literal: the one above that is not ASCII is written as its UTF-8 bytes.
const children = { ...(ROOT.kind === 'dir' ? ROOT.children : {}) } as Record<string, LiteralNode>;
children[Buffer.from('ümläut', 'utf8').toString('latin1')] = children['ümläut'] as LiteralNode;
delete children['ümläut'];

describe.skipIf(whyNoMounts() !== undefined).each(WAYS)('on a mount (%s)', (transport) => {
  let mounted: MountChild;
  const at = (name: string): string => path.join(mounted.mountPoint, name);
  /** `body` sees `m`, the mount point, and sets `r`, which is printed as JSON. */
  const ask = (body: string): Promise<unknown> =>
    python(
      `import sys, os, json, stat, errno, mmap\nm = sys.argv[1] + "/"\n${body}\nprint(json.dumps(r))\n`,
      mounted.mountPoint,
    );

  beforeAll(async () => {
    mounted = await mountLiteral({
      transport,
      root: dir(children),
      name: 'registry.example/it,allow_other:1',
    });
    // What was opened once is passed through from then on.
    if (transport === PASSTHROUGH) {
      await ask('for n in os.listdir(m):\n  if os.path.isfile(m + n): open(m + n, "rb").close()\nr = []');
    }
  });
  afterAll(closeMounts);

  test('the kernel holds it ro,nosuid,nodev,noatime as fuse.peel, and no name of an image adds an option', () => {
    const line = mountTable()
      .split('\n')
      .find((each) => each.includes(` ${mounted.mountPoint} `));
    const fields = line?.split(' ') ?? [];
    expect(fields[5]).toBe('ro,nosuid,nodev,noatime');
    expect(fields.slice(fields.indexOf('-') + 1)).toEqual([
      'fuse.peel',
      'peel:registry.example/it_allow_other:1',
      'ro,user_id=0,group_id=0,default_permissions',
    ]);
  });

  test('stat gives type, mode, owner, size, time, blocks and block size as the image has them', async () => {
    expect(
      await ask(`s = os.lstat(m + "hello")
r = [oct(s.st_mode), s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns, s.st_blocks, s.st_blksize, s.st_nlink]`),
    ).toEqual(['0o104640', 12345, 4_000_000_000, 5, 1_500_000_000_123_000_000, 8, 4096, 2]);
  });

  test('times far ahead are kept', async () => {
    expect(await ask('r = [os.lstat(m + n).st_mtime for n in ("old", "future")]')).toEqual([
      1, 10_000_000_000,
    ]);
  });

  test('hard links have one inode number, all else has its own, and d_ino is st_ino (E226)', async () => {
    expect(
      await ask(`listed = {e.name: e.inode() for e in os.scandir(m)}
stated = {n: os.lstat(m + n).st_ino for n in listed}
r = [listed == stated, len(set(listed.values())), len(listed), stated["hello"] == stated["same-as-hello"]]`),
    ).toEqual([true, Object.keys(children).length - 1, Object.keys(children).length, true]);
  });

  test('directories count their subdirectories (E227)', async () => {
    expect(await ask('r = [os.stat(m + n).st_nlink for n in ("folder", "folder/a")]')).toEqual([4, 2]);
  });

  test('types of nodes and device numbers come through (E236)', async () => {
    expect(
      await ask(`def t(n):
    s = os.lstat(m + n)
    return [stat.filemode(s.st_mode)[0], os.major(s.st_rdev), os.minor(s.st_rdev)]
r = [t(n) for n in ("null", "disk", "pipe", "link", "folder", "hello")]`),
    ).toEqual([
      ['c', 1, 3],
      ['b', 259, 300],
      ['p', 0, 0],
      ['l', 0, 0],
      ['d', 0, 0],
      ['-', 0, 0],
    ]);
  });

  test('d_type says the same as stat', async () => {
    expect(
      await ask(`r = [e.name for e in os.scandir(m)
     if (e.is_symlink(), e.is_dir(follow_symlinks=False), e.is_file(follow_symlinks=False))
     != (stat.S_ISLNK(os.lstat(e.path).st_mode), stat.S_ISDIR(os.lstat(e.path).st_mode), stat.S_ISREG(os.lstat(e.path).st_mode))]`),
    ).toEqual([]);
  });

  test('a device cannot be opened (nodev)', async () => {
    expect(
      await ask(`try:
    os.open(m + "null", os.O_RDONLY)
    r = "opened"
except OSError as e:
    r = errno.errorcode[e.errno]`),
    ).toBe('EACCES');
  });

  test('links: st_size is the length of the target, up to 4095 bytes (E228)', async () => {
    expect(
      await ask(`r = [os.readlink(m + "link"), os.lstat(m + "link").st_size, open(m + "link").read(),
     len(os.readlink(m + "long-link")), os.lstat(m + "long-link").st_size, os.readlink(m + "absolute")]`),
    ).toEqual(['hello', 5, 'hello', 4095, 4095, '/hello']);
  });

  test('names: 255 bytes and UTF-8 are found, 256 bytes are ENAMETOOLONG, missing ones and whiteouts ENOENT (E223, E235)', async () => {
    expect(
      await ask(`def e(n):
    try:
        os.lstat(m + n); return "ok"
    except OSError as x:
        return errno.errorcode[x.errno]
r = [e("n" * 255), e("n" * 256), e("\\u00fcml\\u00e4ut"), e("nothing"), e("hello/x"), e(".wh.hello"), e(".wh..wh..opq")]`),
    ).toEqual(['ok', 'ENAMETOOLONG', 'ok', 'ENOENT', 'ENOTDIR', 'ENOENT', 'ENOENT']);
  });

  test('a directory of 100,000 has `.`, `..`, every name once, in an order that stays (L5, E225)', async () => {
    expect(
      await ask(`import subprocess
names = lambda: subprocess.run(["ls", "-afU", m + "many"], capture_output=True, text=True, check=True).stdout.split()
a, b = names(), names()
s = set(a)
wrong = sum(os.lstat(e.path).st_ino != e.inode() for e in list(os.scandir(m + "many"))[::997])
r = [a == b, a[:2], len(a), len(s), all("file-%d" % i in s for i in range(${MANY})), wrong]`),
    ).toEqual([true, ['.', '..'], MANY + 2, MANY + 2, true, 0]);
  });

  test('telldir, seekdir and rewinddir come back to the same entries (E225)', async () => {
    expect(
      await ask(`import ctypes
class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_ulong), ("off", ctypes.c_long), ("len", ctypes.c_ushort), ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]
libc = ctypes.CDLL(None)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = [ctypes.c_void_p]; libc.readdir.restype = ctypes.POINTER(Dirent)
libc.telldir.argtypes = [ctypes.c_void_p]; libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
libc.rewinddir.argtypes = [ctypes.c_void_p]
d = libc.opendir((m + "many").encode())
seen = []
while True:
    where = libc.telldir(d)
    entry = libc.readdir(d)
    if not entry: break
    seen.append((where, entry.contents.name))
wrong = 0
for where, name in seen[::-4999]:
    libc.seekdir(d, where)
    wrong += libc.readdir(d).contents.name != name
libc.rewinddir(d)
again = 0
while libc.readdir(d): again += 1
r = [wrong, len(seen), again]`),
    ).toEqual([0, MANY + 2, MANY + 2]);
  });

  test('300 directories deep, relative and absolute', async () => {
    expect(
      await ask(`p = m + "deep" + "/d" * 300 + "/end"
os.chdir(m + "deep")
for _ in range(300): os.chdir("d")
r = [open(p).read(), open("end").read(), os.path.samefile(".", os.path.dirname(p))]`),
    ).toEqual(['deep', 'deep', true]);
  });

  test('extended attributes: values, binary and empty ones, ERANGE, ENODATA, the list (E230)', async () => {
    expect(
      await ask(`import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def get(name, room):
    b = ctypes.create_string_buffer(max(room, 1))
    n = libc.getxattr((m + "hello").encode(), name, b if room else None, room)
    return b.raw[:n].hex() if n >= 0 and room else (n if n >= 0 else errno.errorcode[ctypes.get_errno()])
def names(room):
    b = ctypes.create_string_buffer(max(room, 1))
    n = libc.listxattr((m + "hello").encode(), b if room else None, room)
    return b.raw[:n].decode() if n >= 0 and room else (n if n >= 0 else errno.errorcode[ctypes.get_errno()])
r = [get(b"user.text", 0), get(b"user.text", 5), get(b"user.text", 4), get(b"user.text", 100), get(b"user.binary", 9),
     get(b"user.empty", 0), get(b"user.empty", 9), get(b"user.none", 0), get(b"user.none", 9), names(0), names(33), names(32),
     os.listxattr(m + "empty")]`),
    ).toEqual([
      5,
      base16('value'),
      'ERANGE',
      base16('value'),
      '0001ff',
      0,
      '',
      'ENODATA',
      'ENODATA',
      33,
      // In no order that anybody may rely on.
      transport !== 'fuse-native'
        ? 'user.binary\0user.empty\0user.text\0'
        : 'user.text\0user.binary\0user.empty\0',
      'ERANGE',
      [],
    ]);
  });

  test('getfattr dumps them', async () => {
    const { stdout } = await run('getfattr', ['--absolute-names', '-d', '-m', '-', at('hello')]);
    expect(stdout.split('\n').slice(1, 4).sort()).toEqual([
      'user.binary=0sAAH/',
      'user.empty=""',
      'user.text="value"',
    ]);
  });

  test.each([
    ['read(2)', 'h.update(open(p, "rb").read())'],
    ['single bytes across a page', 'h.update(b"".join(os.pread(f, 1, i) for i in range(4090, 4100)))'],
    ['O_DIRECT', 'h.update(direct())'],
    ['mmap, shared', 'h.update(mmap.mmap(f, 0, mmap.MAP_SHARED, mmap.PROT_READ))'],
    ['mmap, private', 'h.update(mmap.mmap(f, 0, mmap.MAP_PRIVATE, mmap.PROT_READ))'],
    ['sendfile', 'h.update(sent())'],
  ])('the bytes of a file are the bytes of the image by %s (E232, E233)', async (how, body) => {
    const want = how.startsWith('single') ? random.subarray(4090, 4100) : random;
    expect(
      await ask(`import hashlib, tempfile
p = m + "random"
h = hashlib.sha256()
f = os.open(p, os.O_RDONLY)
def direct():
    d, out, buffer = os.open(p, os.O_RDONLY | os.O_DIRECT), b"", mmap.mmap(-1, 1 << 20)
    while True:
        n = os.readv(d, [buffer])
        if n == 0: return out
        out += buffer[:n]
def sent():
    t = tempfile.TemporaryFile()
    while os.sendfile(t.fileno(), f, None, 1 << 20): pass
    t.seek(0)
    return t.read()
${body}
r = h.hexdigest()`),
    ).toBe(sha256Hex(want));
  });

  test('at and past the end there is nothing to read', async () => {
    expect(
      await ask(`f = os.open(m + "hello", os.O_RDONLY)
r = [os.pread(f, 10, o).decode() for o in (0, 4, 5, 6, 1 << 40)] + [open(m + "empty").read()]`),
    ).toEqual(['hello', 'o', '', '', '', '']);
  });

  test('a private mapping can be written to, and the file stays', async () => {
    expect(
      await ask(`f = os.open(m + "hello", os.O_RDONLY)
p = mmap.mmap(f, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
p[0:1] = b"J"
r = [p[:].decode(), open(m + "hello").read()]`),
    ).toEqual(['Jello', 'hello']);
  });

  test('a terabyte of holes has its size, its two bytes beyond 4 GiB, and zeros between (E98)', async () => {
    expect(
      await ask(`f = os.open(m + "sparse", os.O_RDONLY)
r = [os.fstat(f).st_size, os.pread(f, 3, 2**33 - 1).hex(), os.pread(f, 3, 2**39 - 1).hex(), os.pread(f, 4, 2**40 - 2).hex()]`),
    ).toEqual([2 ** 40, '006100', '006200', '0000']);
  });

  test('a program runs from it (E233)', async () => {
    expect(await run(at('program'), [])).toMatchObject({ status: 0 });
  });

  test('df says that it is full', async () => {
    expect(
      await ask(
        's = os.statvfs(m)\nr = [s.f_bsize, s.f_frsize, s.f_bfree, s.f_ffree, s.f_namemax, s.f_files > 10000, s.f_blocks > 0]',
      ),
    ).toEqual([4096, 4096, 0, 0, 255, true, true]);
  });

  test('tar, find and diff walk it without a complaint', async () => {
    const found = await run('find', [mounted.mountPoint, '-name', 'file-*', '-type', 'f']);
    expect(found.stdout.trim().split('\n')).toHaveLength(MANY);
    const { status, stderr } = await run('tar', [
      '-cf',
      '/dev/null',
      '-C',
      mounted.mountPoint,
      'folder',
      'hello',
      'link',
    ]);
    expect([status, stderr]).toEqual([0, '']);
  });
});

function base16(text: string): string {
  return Buffer.from(text, 'latin1').toString('hex');
}

describe.skipIf(whyNoMounts() !== undefined).each(WAYS)('options of a mount (%s)', (transport) => {
  afterAll(closeMounts);

  test('uid and gid make every file belong to them; allow_other, suid and dev are passed on', async () => {
    const mounted = await mountLiteral({
      transport,
      root: dir({ f: file('x', { uid: 5, gid: 6 }), null: { kind: 'char', rdev: [1, 3] } }),
      options: { uid: 1000, gid: 1001, allowOther: true, suid: true, dev: true },
    });
    const seen = await python(
      'import os, sys, json\nm = sys.argv[1]\ns = os.stat(m + "/f")\nprint(json.dumps([s.st_uid, s.st_gid, os.read(os.open(m + "/null", os.O_RDONLY), 1).hex()]))',
      mounted.mountPoint,
    );
    expect(seen).toEqual([1000, 1001, '']);
    const line = mountTable()
      .split('\n')
      .find((each) => each.includes(` ${mounted.mountPoint} `));
    expect(line?.split(' ')[5]).toBe('ro,noatime');
    expect(line).toContain('allow_other');
  });

  test('symlinks: contain keeps the kernel inside the mount', async () => {
    const mounted = await mountLiteral({
      transport,
      root: dir({
        etc: dir({ hostname: file('of the image') }),
        a: dir({
          abs: { kind: 'symlink', target: '/etc/hostname' },
          up: { kind: 'symlink', target: '../../../../../../../../etc/hostname' },
        }),
      }),
      options: { symlinks: 'contain' },
    });
    for (const name of ['a/abs', 'a/up']) {
      expect((await run('cat', [path.join(mounted.mountPoint, name)])).stdout).toBe('of the image');
    }
  });
});

describe.skipIf(whyNoMounts() !== undefined)('on a mount (fuse-native)', () => {
  afterAll(closeMounts);

  test('names that are not UTF-8 are neither listed nor found, and the log says how many (E224)', async () => {
    const mounted = await mountLiteral({
      transport: 'fuse-native',
      root: dir({
        '\xff': file('x'),
        'a\xfe': dir({ b: file('') }),
        ok: file('y'),
        l: { kind: 'symlink', target: '\xff' },
      }),
    });
    expect(
      await python(
        `import os, sys, json, errno
m = os.fsencode(sys.argv[1]) + b"/"
def e(call):
    try:
        call(); return "ok"
    except OSError as x:
        return errno.errorcode[x.errno]
print(json.dumps([sorted(os.fsdecode(n) for n in os.listdir(m)), e(lambda: os.lstat(m + b"\\xff")), e(lambda: os.lstat(m + b"a\\xfe/b")), e(lambda: os.readlink(m + b"l"))]))`,
        mounted.mountPoint,
      ),
    ).toEqual([['l', 'ok'], 'ENOENT', 'ENOENT', 'EILSEQ']);
    expect(mounted.stderr).toContain('3 names are not UTF-8');
  });
});
