/** The file system without FUSE, over trees written out in the test. */
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { FileSystem } from '../../src/filesystem/filesystem.ts';
import { type ByteString, bytesOfText } from '../../src/units.ts';
import { buildLiteral, type LiteralNode } from '../support/literal-tree.mjs';

const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');
const file = (text: string): LiteralNode => ({ kind: 'file', data: base64(text) });
const link = (target: string): LiteralNode => ({ kind: 'symlink', target });
const dir = (children: Record<string, LiteralNode>): LiteralNode => ({ kind: 'dir', children });
const bytes = bytesOfText;

function open(root: LiteralNode): { fs: FileSystem; reads: { start: number; end: number }[] } {
  const { tree, contents, reads } = buildLiteral(root);
  return { fs: new FileSystem(tree, contents), reads };
}

/** What a call fails with; `undefined` when it does not. */
function codeOf(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    if (!isPeelError(error)) throw error;
    return error.code;
  }
}

async function rejection(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return isPeelError(error) ? error.code : String(error);
  }
}

describe('resolve', () => {
  const { fs } = open(
    dir({
      etc: dir({
        passwd: file('root'),
        'os-release': link('../usr/lib/os-release'),
        abs: link('/etc/passwd'),
      }),
      usr: dir({ lib: dir({ 'os-release': file('Debian') }) }),
      lib: link('usr/lib'),
      self: link('self'),
      a: link('b'),
      b: link('a'),
      outside: link('../../../../etc/passwd'),
      dangling: link('nowhere'),
      slash: link('etc/'),
      fileslash: link('etc/passwd/'),
    }),
  );
  const inoOf = (path: string, follow = true): number => fs.resolve(bytes(path), { follow }).ino;

  test.each([
    ['the empty path', '', '/'],
    ['a path of slashes', '///', '/'],
    ['a relative path, against the root', 'etc/passwd', '/etc/passwd'],
    ['`.` and doubled slashes', '/./etc//./passwd', '/etc/passwd'],
    ['`..`', '/usr/../etc/passwd', '/etc/passwd'],
    ['`..` above the root, which stays there', '/../../etc/passwd', '/etc/passwd'],
    ['a relative link', '/etc/os-release', '/usr/lib/os-release'],
    ['an absolute link, against the root of the image', '/etc/abs', '/etc/passwd'],
    ['a link on the way', '/lib/os-release', '/usr/lib/os-release'],
    ['a link that climbs above the root', '/outside', '/etc/passwd'],
    ['a directory with a slash at its end', '/etc/', '/etc'],
    ['a link to a directory with a slash', '/slash', '/etc'],
    ['`..` behind a link, from where the link leads', '/lib/..', '/usr'],
  ])('follows %s', (_what, path, same) => {
    expect(inoOf(path)).toBe(inoOf(same));
  });

  test('leaves the last link alone unless it is asked to follow, or a slash asks for a directory', () => {
    expect(fs.resolve(bytes('/lib'), { follow: false }).kind).toBe('symlink');
    expect(fs.resolve(bytes('/lib/'), { follow: false }).kind).toBe('dir');
  });

  test.each([
    ['a missing name', '/etc/nothing', 'ERR_PATH_NOT_FOUND'],
    ['a missing directory on the way', '/nothing/x', 'ERR_PATH_NOT_FOUND'],
    ['a file on the way', '/etc/passwd/x', 'ERR_NOT_A_DIRECTORY'],
    ['a file with a slash at its end', '/etc/passwd/', 'ERR_NOT_A_DIRECTORY'],
    ['a file with `/.` at its end', '/etc/passwd/.', 'ERR_NOT_A_DIRECTORY'],
    ['a link whose target ends in a slash and is a file', '/fileslash', 'ERR_NOT_A_DIRECTORY'],
    ['a link to itself', '/self', 'ERR_SYMLINK_LOOP'],
    ['links in a ring', '/a', 'ERR_SYMLINK_LOOP'],
    ['a dangling link', '/dangling', 'ERR_PATH_NOT_FOUND'],
    ['a name of 256 bytes (E235)', `/${'n'.repeat(256)}`, 'ERR_NAME_TOO_LONG'],
  ])('refuses %s', (_what, path, code) => {
    expect(codeOf(() => fs.resolve(bytes(path), { follow: true }))).toBe(code);
  });

  test('follows 40 links and no more', () => {
    const chain = (length: number): LiteralNode =>
      dir({
        end: file(''),
        ...Object.fromEntries(
          Array.from({ length }, (_, index) => [`l${index}`, link(index === 0 ? 'end' : `l${index - 1}`)]),
        ),
      });
    expect(open(chain(40)).fs.resolve(bytes('l39'), { follow: true }).kind).toBe('file');
    expect(codeOf(() => open(chain(41)).fs.resolve(bytes('l40'), { follow: true }))).toBe('ERR_SYMLINK_LOOP');
  });

  test('finds a name of 255 bytes, and names that are not UTF-8', () => {
    const long = 'n'.repeat(255);
    const { fs: named } = open(dir({ [long]: file('a'), '\xff\xfe': file('b') }));
    expect(named.resolve(long as ByteString, { follow: true }).kind).toBe('file');
    expect(named.resolve('\xff\xfe' as ByteString, { follow: true }).kind).toBe('file');
  });

  test('ends where links multiply: the budget is one for the whole walk', () => {
    const nested = Object.fromEntries(
      Array.from({ length: 30 }, (_, index) => [`d${index + 1}`, link(`d${index}/../d${index}`)]),
    );
    const { fs: bomb } = open(dir({ d0: dir({}), ...nested }));
    expect(codeOf(() => bomb.resolve(bytes('d30'), { follow: true }))).toBe('ERR_SYMLINK_LOOP');
  });

  test('resolves 1000 directories deep (E235)', () => {
    let node = dir({ end: file('deep') });
    for (let depth = 0; depth < 1000; depth += 1) node = dir({ d: node });
    const { fs: deep } = open(node);
    expect(deep.resolve(`${'d/'.repeat(1000)}end` as ByteString, { follow: true }).size).toBe(4);
  });
});

describe('attributes', () => {
  test('have the type bits, and blocks of 512 bytes rounded up to 4096 (E229)', () => {
    const { fs } = open(
      dir({
        f: { ...file('x'.repeat(4097)), mode: 0o4755, uid: 7, gid: 8, mtimeSec: -5, mtimeNsec: 9 },
        big: { kind: 'file', size: 2 ** 40, sparse: [] },
        n: { kind: 'char', rdev: [5, 1] },
      }),
    );
    const at = (path: string) => fs.attributes(fs.resolve(bytes(path), { follow: false }));
    expect(at('f')).toMatchObject({
      mode: 0o104755,
      uid: 7,
      gid: 8,
      size: 4097,
      blocks: 16,
      blksize: 4096,
      mtimeSec: -5,
      mtimeNsec: 9,
      nlink: 1,
    });
    expect(at('big')).toMatchObject({ size: 2 ** 40, blocks: 2 ** 31 });
    expect(at('n')).toMatchObject({ mode: 0o020644, rdev: [5, 1], blocks: 0 });
    expect(at('/')).toMatchObject({ mode: 0o040755, ino: 1 });
  });
});

describe('read', () => {
  const { fs, reads } = open(
    dir({
      f: file('0123456789'),
      empty: file(''),
      holes: {
        kind: 'file',
        data: base64('abcdef'),
        size: 100,
        sparse: [
          { offset: 10, length: 4 },
          { offset: 50, length: 0 },
          { offset: 60, length: 2 },
        ],
      },
      hole: { kind: 'file', size: 60 * 2 ** 30, sparse: [] },
      d: dir({}),
      l: link('f'),
      p: { kind: 'fifo' },
    }),
  );
  const at = (path: string) => fs.resolve(bytes(path), { follow: false });
  const whole = `${'\0'.repeat(10)}abcd${'\0'.repeat(46)}ef${'\0'.repeat(38)}`;

  test.each([
    [0, 10, '0123456789'],
    [3, 4, '3456'],
    [9, 1, '9'],
    [8, 100, '89'],
    [10, 1, ''],
    [2 ** 52, 5, ''],
    [0, 0, ''],
  ])(
    'gives the bytes of a file from %i on, %i of them, fewer at its end (E232)',
    async (offset, length, want) => {
      expect((await fs.read(at('f'), offset, length)).toString('latin1')).toBe(want);
    },
  );

  test('of an empty file fetches nothing (E109)', async () => {
    reads.length = 0;
    expect(await fs.read(at('empty'), 0, 100)).toHaveLength(0);
    expect(reads).toEqual([]);
  });

  test('of every range of a sparse file gives its pieces and zeros', async () => {
    for (let start = 0; start <= 100; start += 3) {
      for (let length = 0; length <= 101 - start; length += 7) {
        const got = await fs.read(at('holes'), start, length);
        expect(got.toString('latin1')).toBe(whole.slice(start, start + length));
      }
    }
  });

  test('of a hole fetches nothing, also 60 GiB long (E98)', async () => {
    reads.length = 0;
    expect((await fs.read(at('hole'), 50 * 2 ** 30, 5)).equals(Buffer.alloc(5))).toBe(true);
    expect((await fs.read(at('holes'), 20, 20)).equals(Buffer.alloc(20))).toBe(true);
    expect(reads).toEqual([]);
  });

  test('of several pieces of a sparse file is one range of the layer', async () => {
    reads.length = 0;
    await fs.read(at('holes'), 12, 50);
    expect(reads.map(({ start, end }) => end - start)).toEqual([4]);
  });

  test.each([
    ['a directory', 'd', 'ERR_IS_A_DIRECTORY'],
    ['a symbolic link', 'l', 'ERR_NOT_A_REGULAR_FILE'],
    ['a fifo', 'p', 'ERR_NOT_A_REGULAR_FILE'],
  ])('refuses %s', async (_what, path, code) => {
    expect(await rejection(fs.read(at(path), 0, 1))).toBe(code);
  });

  test('refuses an answer that is too short, in place of filling it with zeros (F6)', async () => {
    const { fs: short } = open(
      dir({ f: { kind: 'file', data: base64('12345'), failures: 1, failWith: 'short' } }),
    );
    const node = short.resolve(bytes('f'), { follow: false });
    expect(await rejection(short.read(node, 0, 5))).toBe('ERR_IO');
    expect((await short.read(node, 0, 5)).toString()).toBe('12345');
  });
});

describe('stream', () => {
  const data = Buffer.from(
    Array.from({ length: 3 * 1024 * 1024 + 17 }, (_, index) => (index * 31 + (index >> 9)) & 0xff),
  );
  const { fs, reads } = open(dir({ f: { kind: 'file', data: data.toString('base64') } }));
  const node = fs.resolve(bytes('f'), { follow: false });

  async function collect(offset: number, end: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of fs.stream(node, offset, end)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  test.each([
    [0, data.length],
    [0, data.length + 1000],
    [1, 2],
    [1_000_000, 2_500_001],
    [data.length, data.length + 5],
    [5, 5],
  ])('gives exactly the bytes from %i to %i', async (offset, end) => {
    expect((await collect(offset, end)).equals(data.subarray(offset, end))).toBe(true);
  });

  test('reads at most one piece ahead of whoever takes them, and none after they stop', async () => {
    reads.length = 0;
    for await (const piece of fs.stream(node)) {
      expect(piece.length).toBe(1024 * 1024);
      break;
    }
    expect(reads).toHaveLength(2);
  });

  test('ends with the failure of the piece that failed', async () => {
    const { fs: broken } = open(dir({ f: { kind: 'file', data: data.toString('base64'), failures: 1 } }));
    const pieces = broken.stream(broken.resolve(bytes('f'), { follow: false }));
    await expect(pieces.next()).rejects.toThrow('the registry does not answer');
  });
});

describe('readdir, readlink, xattrs, statfs', () => {
  test('readdir gives every name once, in byte order, with its node', () => {
    const { fs } = open(dir({ b: file(''), a: dir({}), '\xff': file(''), B: link('b') }));
    expect([...fs.readdir(fs.root)].map(({ name, node }) => [name, node.kind])).toEqual([
      ['B', 'symlink'],
      ['a', 'dir'],
      ['b', 'file'],
      ['\xff', 'file'],
    ]);
    expect(codeOf(() => [...fs.readdir(fs.resolve(bytes('b'), { follow: false }))])).toBe(
      'ERR_NOT_A_DIRECTORY',
    );
  });

  test('readlink gives the target byte for byte and refuses what is no link', () => {
    const { fs } = open(dir({ l: link('../\xff/x'), f: file('') }));
    expect(fs.readlink(fs.resolve(bytes('l'), { follow: false }))).toBe('../\xff/x');
    expect(codeOf(() => fs.readlink(fs.root))).toBe('ERR_NOT_A_SYMLINK');
  });

  test('extended attributes come back with their bytes; a missing one is ERR_NO_XATTR (E230)', () => {
    const { fs } = open(
      dir({ f: { ...file(''), xattrs: { 'user.a': base64('\0\xff'), 'user.empty': '' } } }),
    );
    const node = fs.resolve(bytes('f'), { follow: false });
    expect(fs.xattrNames(node)).toEqual(['user.a', 'user.empty']);
    expect(fs.xattr(node, bytes('user.a'))).toEqual(Buffer.from([0, 255]));
    expect(fs.xattr(node, bytes('user.empty'))).toHaveLength(0);
    expect(codeOf(() => fs.xattr(node, bytes('user.b')))).toBe('ERR_NO_XATTR');
    expect(fs.xattrNames(fs.root)).toEqual([]);
  });

  test('statfs counts each inode once and every block of it', () => {
    const { fs } = open(
      dir({ a: file('x'.repeat(5000)), b: { kind: 'hardlink', to: '/a' }, d: dir({ c: file('x') }) }),
    );
    expect(fs.statfs()).toEqual({ blockSize: 4096, blocks: 3, inodes: 4, nameMax: 255 });
  });

  test('statfs of sizes beyond 2^53 does not overflow', () => {
    const huge: LiteralNode = { kind: 'file', size: Number.MAX_SAFE_INTEGER, sparse: [] };
    expect(Number.isSafeInteger(open(dir({ a: huge, b: huge })).fs.statfs().blocks)).toBe(true);
  });
});

describe('symlinks: contain', () => {
  const tree = dir({
    bin: link('usr/bin'),
    usr: dir({
      bin: dir({
        python: link('/usr/bin/python3'),
        python3: file(''),
        up: link('../../etc/x'),
        out: link('../../../../../etc/x'),
        turn: link('../../bin/../../../../etc/x'),
        root: link('/'),
        climb: link('../../..'),
        gone: link('nowhere/../../../../../etc'),
        slash: link('/etc/'),
      }),
    }),
    etc: dir({ x: file('') }),
    top: link('/etc/x'),
    dot: link('/'),
  });
  const { tree: built, contents } = buildLiteral(tree);
  const fs = new FileSystem(built, contents).withSymlinks('contain');
  const answer = (path: string): string => {
    const directory = fs.resolve(bytes(path.slice(0, path.lastIndexOf('/') + 1)), { follow: true });
    const node = fs.lookup(directory, bytes(path.slice(path.lastIndexOf('/') + 1)));
    expect(fs.attributes(node, directory).size).toBe(fs.readlink(node, directory).length);
    return fs.readlink(node, directory);
  };

  test.each([
    ['/bin', 'usr/bin'],
    ['/usr/bin/python', '../../usr/bin/python3'],
    ['/usr/bin/up', '../../etc/x'],
    ['/usr/bin/out', '../../etc/x'],
    ['/usr/bin/turn', '../../etc/x'],
    ['/usr/bin/root', '../..'],
    ['/usr/bin/climb', '../..'],
    ['/usr/bin/gone', 'nowhere/../../../../../etc'],
    ['/usr/bin/slash', '../../etc/'],
    ['/top', 'etc/x'],
    ['/dot', '.'],
  ])('%s is answered as %s', (path, target) => {
    expect(answer(path)).toBe(target);
  });

  test('raw leaves every target as it is', () => {
    const raw = fs.withSymlinks('raw');
    const directory = raw.resolve(bytes('/usr/bin'), { follow: true });
    expect(raw.readlink(raw.lookup(directory, bytes('python')), directory)).toBe('/usr/bin/python3');
  });
});
