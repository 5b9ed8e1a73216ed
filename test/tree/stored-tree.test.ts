/** The stored form of trees: golden bytes, and what is on disk: valid or a miss (FAULTS X1, P12, F41). */
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { validateTree } from '../../src/native/system-calls.ts';
import { encodeTree } from '../../src/tree/encode-tree.ts';
import { openMappedTree } from '../../src/tree/mapped-tree.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Node, Tree } from '../../src/tree/node.ts';
import { TreeStore, treeKey } from '../../src/tree/stored-tree.ts';
import { type ByteString, type Digest, uncompressed } from '../../src/units.ts';
import { sha256Hex } from '../support/digests.ts';
import { nodeAt } from '../support/listing.ts';
import { madeEntry, resealTree, smallTree } from '../support/made-tree.ts';
import { snapshotOf, storedAndMapped } from '../support/tree-snapshot.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'peel-tree-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const LAYERS = ['a', 'b'].map((digit) => `sha256:${digit.repeat(64)}` as Digest);
const KEY = treeKey(LAYERS);
const tree = smallTree();

const folder = (): string => path.join(root, 'trees');
const file = (key = KEY): string => path.join(folder(), key);
const store = (): TreeStore => new TreeStore(folder());

describe('the bytes of a stored tree', () => {
  test('are the golden ones: where they change, TREE_VERSION and docs/TREE-FORMAT.md must change', () => {
    const bytes = encodeTree(tree, Buffer.alloc(32));
    expect(sha256Hex(bytes)).toBe('27c9d31e086c4181a9d9fc510a61b05cab3575e4a290001c194b66f239f7f61e');
  });

  test('are those that docs/TREE-FORMAT.md describes', () => {
    const entries = [
      madeEntry('', 'dir', { mode: 0o750, uid: 1, gid: 2, mtimeSec: -2, mtimeNsec: 3 }),
      madeEntry('f', 'file', { size: 2 ** 33, dataOffset: uncompressed(512) }),
    ];
    const bytes = encodeTree(mergeLayers([entries]), Buffer.alloc(32, 0xab));
    const spaceless = (text: string): string => text.replaceAll(' ', '');
    const hex = (start: number, end: number): string => bytes.toString('hex', start, end);
    expect(bytes.length).toBe(424);
    expect(bytes.toString('latin1', 0, 8)).toBe('PEELTREE');
    // version, header bytes, file bytes, layers, zero
    expect(hex(8, 32)).toBe(spaceless('02000000 00010000 a801000000000000 01000000 00000000'));
    expect(hex(32, 64)).toBe('ab'.repeat(32));
    const sections = Array.from({ length: 8 }, (_, index) => [
      Number(bytes.readBigUInt64LE(64 + 16 * index)),
      Number(bytes.readBigUInt64LE(72 + 16 * index)),
    ]);
    expect(sections).toEqual([
      [256, 128], // inodes
      [384, 12], // numbers
      [400, 12], // directory entries
      [416, 0], // sparse pieces
      [416, 0], // sets
      [416, 0], // pairs
      [416, 1], // strings
      [424, 0], // warnings
    ]);
    // mode, uid, gid, nlink, size, mtime, nanoseconds, layer, flags
    expect(hex(256, 296)).toBe(
      spaceless('e8410000 01000000 02000000 02000000 0000000000000000 feffffffffffffff 03000000 0000 0000'),
    );
    // first entry, entries, parent, zero, attributes, inode number
    expect(hex(296, 320)).toBe(spaceless('00000000 01000000 01000000 00000000 00000000 01000000'));
    expect(hex(320, 384)).toBe(
      spaceless(
        'a4810000 00000000 00000000 01000000 0000000002000000 00f1536500000000 00000000 0000 0000 0002000000000000 00000000 00000000 00000000 03000000',
      ),
    );
    // the root is the first record; 2 is the entry that gave it its attributes; 3 is the second record
    expect(hex(384, 396)).toBe(spaceless('01000000 00000000 02000000'));
    // name, ino, length, type, zero
    expect(hex(400, 412)).toBe(spaceless('00000000 03000000 0100 08 00'));
    expect(bytes.toString('latin1', 416, 417)).toBe('f');
    const sum = (start: number, end: number): string => sha256Hex(bytes.subarray(start, end));
    expect(hex(192, 224)).toBe(sum(256, bytes.length));
    expect(hex(224, 256)).toBe(sum(0, 224));
  });

  test('are the same for equal trees, and for a tree that was mapped', async () => {
    const bytes = encodeTree(tree, Buffer.alloc(32));
    expect(encodeTree(smallTree(), Buffer.alloc(32)).equals(bytes)).toBe(true);
    await validateTree(bytes);
    expect(encodeTree(openMappedTree(bytes), Buffer.alloc(32)).equals(bytes)).toBe(true);
  });
});

describe('a mapped tree', () => {
  test('shows every field of every kind of node as the merged one does', async () => {
    const mapped = await storedAndMapped(tree);
    expect(nodeAt(mapped, '/bin/true').ino).toBe(nodeAt(mapped, '/bin/false').ino);
    expect(nodeAt(mapped, '/dev/sda').rdev).toEqual([4095, 2 ** 32 - 1]);
    expect(nodeAt(mapped, '/big').content?.sparse).toEqual([
      { offset: 4096, length: 100 },
      { offset: 2 ** 52, length: 2 ** 51 },
    ]);
    expect(nodeAt(mapped, '/hole').content?.sparse).toEqual([]);
  });

  test('finds names by their bytes, and nothing else', async () => {
    const names = ['a', 'a!', 'aa', 'b', '\u007f', '\u0080', '\u00ff', '\u00ff\u00ff'];
    const mapped = await storedAndMapped(mergeLayers([names.map((name) => madeEntry(name, 'file'))]));
    const children = mapped.root.children as ReadonlyMap<ByteString, Node>;
    for (const name of names) {
      expect(children.get(name as ByteString)?.kind, JSON.stringify(name)).toBe('file');
      expect(children.has(name as ByteString)).toBe(true);
    }
    for (const name of [
      '',
      '.',
      '..',
      'A',
      'a"',
      'aaa',
      'c',
      '\u00fe',
      '\u0161',
      'a\u0100',
      '\u00ff\u00ff\u00ff',
    ]) {
      expect(children.get(name as ByteString), JSON.stringify(name)).toBeUndefined();
      expect(children.has(name as ByteString)).toBe(false);
    }
    expect([...children.keys()]).toEqual([...names].sort());
    expect([...children.values()].map(({ ino }) => ino)).toEqual(names.map((_, index) => index + 2));
    const visited: string[] = [];
    children.forEach((node, name, map) => visited.push(`${name} ${node.ino} ${map.size}`));
    expect(visited).toHaveLength(names.length);
    expect(children.size).toBe(names.length);
  });

  test('has one root, which is its own parent', async () => {
    const mapped = await storedAndMapped(tree);
    expect(mapped.root.parent).toBe(mapped.root);
    expect(nodeAt(mapped, '/bin').parent).toBe(mapped.root);
    expect(nodeAt(mapped, '/bin/sh').parent).toBeUndefined();
  });

  test('gives values of attributes that may be written to', async () => {
    const { tree: mapped } = await store().save(KEY, tree);
    const value = nodeAt(mapped, '/bin/true').xattrs?.get('user.z' as ByteString);
    value?.fill(0x41);
    expect(
      nodeAt(mapped, '/bin/true')
        .xattrs?.get('user.z' as ByteString)
        ?.toString(),
    ).toBe('1');
  });

  test('of an empty image is its root alone', async () => {
    const mapped = await storedAndMapped(mergeLayers([]));
    expect(mapped.inodes).toBe(1);
    expect(mapped.root.children?.size).toBe(0);
  });

  test('carries the warnings of the merge', async () => {
    const merged = mergeLayers([[madeEntry('a', 'file'), madeEntry('a/b', 'file')]]);
    expect(merged.warnings.length).toBeGreaterThan(0);
    expect((await storedAndMapped(merged)).warnings).toEqual(merged.warnings);
  });

  test('of a million nested directories is stored and read without recursion', async () => {
    let node: Node | undefined;
    const depth = 1_000_000;
    // A path of the reader is 4,095 bytes at most; links make deeper ones, so the shape is real.
    const directories: { -readonly [Key in keyof Node]: Node[Key] }[] = [];
    for (let ino = depth; ino >= 1; ino -= 1) {
      const children = new Map<ByteString, Node>(node === undefined ? [] : [['d' as ByteString, node]]);
      const { root: plain } = mergeLayers([]);
      directories.push({ ...plain, ino, nlink: 2 + children.size, children, parent: undefined });
      node = directories.at(-1);
    }
    for (const [index, directory] of directories.entries())
      directory.parent = directories[index + 1] ?? directory;
    const bytes = encodeTree({ root: node as Node, inodes: depth, warnings: [] }, Buffer.alloc(32));
    await validateTree(bytes);
    let levels = 0;
    for (let at: Node | undefined = openMappedTree(bytes).root; at !== undefined; levels += 1) {
      at = at.children?.get('d' as ByteString);
    }
    expect(levels).toBe(depth);
  });
});

describe('encodeTree', () => {
  test('stores what repeats once, in at most 120 bytes an entry beside names', () => {
    const entries = Array.from({ length: 5000 }, (_, index) =>
      madeEntry(`d${index % 50}/f${Math.floor(index / 50)}`, 'file', {
        size: 10,
        dataOffset: uncompressed(512 * index),
        xattrs: new Map([['user.same' as ByteString, Buffer.alloc(4000, 1)]]),
      }),
    );
    const merged = mergeLayers([entries]);
    const bytes = encodeTree(merged, Buffer.alloc(32));
    expect((bytes.length - 4000) / merged.inodes).toBeLessThan(84);
  });

  const broken: Readonly<Record<string, (tree: Tree) => Tree>> = {
    'a count of inodes that is another': (made) => ({ ...made, inodes: made.inodes + 1 }),
    'a root that is not the first': (made) => ({ ...made, root: { ...made.root, ino: 2 } }),
    'a size beyond 2^53': (made) => ({ ...made, root: { ...made.root, size: 2 ** 53 } }),
    'an owner beyond 32 bits': (made) => ({ ...made, root: { ...made.root, uid: 2 ** 32 } }),
    'a layer beyond 16 bits': (made) => ({ ...made, root: { ...made.root, layer: 2 ** 16 } }),
  };
  for (const [what, change] of Object.entries(broken)) {
    test(`refuses a tree with ${what}`, () => {
      expect(() => encodeTree(change(smallTree()), Buffer.alloc(32))).toThrow(RangeError);
    });
  }
});

describe('treeKey', () => {
  test('is the sha256 of a version line and the digests, lowest first', () => {
    const text = `peel tree 2\n${LAYERS[0]}\n${LAYERS[1]}\n`;
    expect(KEY).toBe(sha256Hex(text));
    expect(treeKey([...LAYERS].reverse())).not.toBe(KEY);
    expect(treeKey(LAYERS.slice(0, 1))).not.toBe(KEY);
  });
});

describe('the store', () => {
  test('gives what was saved, to the one who saved it and to the next process, mapped from a file of the user alone', async () => {
    const saved = await store().save(KEY, tree);
    const loaded = await store().load(KEY);
    for (const stored of [saved, loaded]) {
      expect(stored?.path).toBe(file());
      expect(snapshotOf(stored?.tree as Tree)).toEqual(snapshotOf(tree));
      expect(Buffer.from(stored?.bytes ?? []).equals(readFileSync(file()))).toBe(true);
    }
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(statSync(folder()).mode & 0o777).toBe(0o700);
    expect(readdirSync(folder())).toEqual([KEY]);
  });

  test('has nothing for another image, and nothing where there is no folder', async () => {
    expect(await store().load(KEY)).toBeUndefined();
    await store().save(KEY, tree);
    expect(await store().load(treeKey([]))).toBeUndefined();
    await expect(store().load('../../etc/passwd')).rejects.toThrow(RangeError);
  });

  const damages: Readonly<Record<string, () => void>> = {
    'cut short': () => truncateSync(file(), 300),
    'cut to nothing': () => truncateSync(file(), 0),
    'longer than it was': () => appendFileSync(file(), 'x'),
    'flipped in one bit': () => {
      const bytes = readFileSync(file());
      bytes[400] = (bytes[400] ?? 0) ^ 4;
      writeFileSync(file(), bytes);
    },
    'zeros, as after a power cut': () => writeFileSync(file(), Buffer.alloc(statSync(file()).size)),
    'of another version': () => {
      const bytes = readFileSync(file());
      bytes.writeUInt32LE(1, 8);
      writeFileSync(file(), resealTree(bytes));
    },
    'the tree of another image': () => {
      writeFileSync(file(), encodeTree(tree, Buffer.alloc(32, 1)));
    },
    'a symbolic link': () => {
      renameSync(file(), path.join(root, 'elsewhere'));
      symlinkSync(path.join(root, 'elsewhere'), file());
    },
    'a second name of a file elsewhere': () => linkSync(file(), path.join(root, 'elsewhere')),
    'a folder': () => {
      unlinkSync(file());
      mkdirSync(path.join(file(), 'full'), { recursive: true });
    },
  };
  for (const [what, damage] of Object.entries(damages)) {
    test(`counts a file that is ${what} as absent, and replaces it`, async () => {
      await store().save(KEY, tree);
      damage();
      expect(await store().load(KEY)).toBeUndefined();
      const saved = await store().save(KEY, tree);
      expect(saved.path).toBe(file());
      expect(snapshotOf((await store().load(KEY))?.tree as Tree)).toEqual(snapshotOf(tree));
    });
  }

  test('keeps a mapping whole when the file is replaced or removed under it', async () => {
    const first = await store().save(KEY, tree);
    const before = Buffer.from(first.bytes);
    await store().save(KEY, mergeLayers([[madeEntry('other', 'file')]]));
    expect(Buffer.from(first.bytes).equals(before)).toBe(true);
    rmSync(folder(), { recursive: true });
    expect(snapshotOf(first.tree)).toEqual(snapshotOf(tree));
  });

  test('serves from memory where nothing can be written', async () => {
    writeFileSync(folder(), 'a file in the place of the folder');
    const saved = await store().save(KEY, tree);
    expect(saved.path).toBeUndefined();
    await validateTree(saved.bytes);
    expect(snapshotOf(saved.tree)).toEqual(snapshotOf(tree));
    expect(await store().load(KEY)).toBeUndefined();
  });

  test('is used by several savers at once, and leaves no temporary file', async () => {
    const saved = await Promise.all(Array.from({ length: 8 }, () => store().save(KEY, tree)));
    for (const stored of saved) expect(snapshotOf(stored.tree)).toEqual(snapshotOf(tree));
    expect(readdirSync(folder())).toEqual([KEY]);
  });

  test('removes the trees used longest ago when they come to more than the limit, never the newest', async () => {
    const bytes = encodeTree(tree, Buffer.alloc(32)).length;
    const limited = new TreeStore(folder(), { maxBytes: bytes * 3 });
    const keys = Array.from({ length: 3 }, (_, index) =>
      treeKey([`sha256:${String(index).repeat(64)}` as Digest]),
    );
    for (const key of keys) await limited.save(key, tree);
    for (const [index, key] of keys.entries()) utimesSync(file(key), 1000 + index, 1000 + index);
    // Loading is using: the oldest by its writing is now the newest.
    await limited.load(keys[0] as string);
    await limited.save(KEY, tree);
    expect(new Set(readdirSync(folder()))).toEqual(new Set([keys[0], keys[2], KEY]));
    await new TreeStore(folder(), { maxBytes: 1 }).save(KEY, tree);
    expect(readdirSync(folder())).toEqual([KEY]);
  });

  test('gives an image of 200,000 entries to the next process without a heap that grows with it', async () => {
    // Of no directory is a Map kept, of no node an object: names that are visited are garbage at once.
    const merged = mergeLayers([
      Array.from({ length: 200_000 }, (_, index) =>
        madeEntry(`usr/share/d${index % 1000}/file-${index}`, 'file', { size: index }),
      ),
    ]);
    const saved = await store().save(KEY, merged);
    expect(saved.bytes.length / merged.inodes).toBeLessThan(120);
    const gc = collector();
    gc();
    const before = process.memoryUsage();
    const loaded = await store().load(KEY);
    let bytes = 0;
    let names = 0;
    const waiting = [loaded?.tree.root as Node];
    for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
      for (const child of node.children?.values() ?? []) {
        names += 1;
        bytes += child.size;
        if (child.kind === 'dir') waiting.push(child);
      }
    }
    gc();
    expect(process.memoryUsage().heapUsed - before.heapUsed).toBeLessThan(1e6);
    expect(names).toBe(merged.inodes - 1);
    expect(bytes).toBe((200_000 * 199_999) / 2);
    expect(loaded?.tree.inodes).toBe(merged.inodes);
  });

  test('loads from a folder that it may not write to', async () => {
    await store().save(KEY, tree);
    chmodSync(folder(), 0o500);
    try {
      expect(snapshotOf((await store().load(KEY))?.tree as Tree)).toEqual(snapshotOf(tree));
    } finally {
      chmodSync(folder(), 0o700);
    }
    expect(existsSync(file())).toBe(true);
  });
});

/** The garbage collector, which V8 hides. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
