/**
 * What the validator lets through, and what happens then. Without its seal no change of a stored tree is let through;
 * with a seal made right again (a bug, another program, a forger), each is either refused or is a tree that readers
 * can walk to its end: names where their directory says, no circle, nothing outside the file.
 */
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { validateTree } from '../../src/native/system-calls.ts';
import { encodeTree } from '../../src/tree/encode-tree.ts';
import { openMappedTree } from '../../src/tree/mapped-tree.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Node, Tree } from '../../src/tree/node.ts';
import { madeEntry, resealTree, smallTree } from '../support/made-tree.ts';
import { randomNumbers } from '../support/random-numbers.ts';

const whole = encodeTree(smallTree(), Buffer.alloc(32, 9));
const INODES = smallTree().inodes;

/** The message of the refusal, or undefined for a tree. */
async function refusalOf(bytes: Buffer): Promise<string | undefined> {
  try {
    await validateTree(bytes);
    return undefined;
  } catch (error) {
    if (isPeelError(error, 'ERR_CACHE')) return error.message;
    throw error;
  }
}

/** Uses all that a tree offers. @throws where it does not hold together. */
function walkAll(tree: Tree): number {
  const seen = new Set<number>();
  const names = new Map<number, number>();
  const waiting: Node[] = [tree.root];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (seen.has(node.ino)) throw new Error(`a second way to directory ${node.ino}`);
    seen.add(node.ino);
    let before: string | undefined;
    let subdirectories = 0;
    for (const [name, child] of node.children ?? []) {
      if (before !== undefined && before >= name) throw new Error('names do not rise');
      before = name;
      if (node.children?.get(name)?.ino !== child.ino) throw new Error(`${name} is not found under its name`);
      names.set(child.ino, (names.get(child.ino) ?? 0) + 1);
      if (child.kind === 'dir') {
        subdirectories += 1;
        if (child.parent?.ino !== node.ino) throw new Error('a child of another');
        waiting.push(child);
      } else useOther(child);
    }
    if (node.nlink !== 2 + subdirectories) throw new Error('a link count that is wrong');
  }
  if (names.size + 1 !== tree.inodes) throw new Error('an inode without a name');
  void tree.warnings;
  return names.size + 1;
}

function useOther(node: Node): void {
  for (const number of [
    node.mode,
    node.uid,
    node.gid,
    node.size,
    node.mtimeSec,
    node.mtimeNsec,
    node.layer,
  ]) {
    if (!Number.isSafeInteger(number)) throw new Error('a number that is none');
  }
  void [...(node.xattrs ?? [])];
  if (node.kind === 'symlink' && node.target?.length !== node.size)
    throw new Error('a target of another length');
  let end = 0;
  for (const { offset, length } of node.content?.sparse ?? []) {
    if (offset < end || length <= 0 || offset + length > node.size)
      throw new Error('sparse pieces out of bounds');
    end = offset + length;
  }
}

/** Refuses, or is walked to its end; answers which. */
async function refusedOrWhole(bytes: Buffer, what: string): Promise<'refused' | 'whole'> {
  if ((await refusalOf(bytes)) !== undefined) return 'refused';
  const tree = openMappedTree(bytes);
  try {
    expect(walkAll(tree)).toBe(tree.inodes);
  } catch (error) {
    throw new Error(`${what}: let through, and then: ${String(error)}`, { cause: error });
  }
  return 'whole';
}

test('the tree itself is let through and walked to its end', async () => {
  expect(await refusedOrWhole(whole, 'unchanged')).toBe('whole');
  expect(walkAll(openMappedTree(whole))).toBe(INODES);
});

describe('as it was found', () => {
  test('every flipped bit is refused', async () => {
    for (let at = 0; at < whole.length; at += 1) {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
      expect(await refusalOf(bytes), `byte ${at}`).toBeDefined();
    }
  });

  test('every shorter beginning of it is refused', async () => {
    for (let length = 0; length < whole.length; length += 1) {
      expect(await refusalOf(Buffer.from(whole.subarray(0, length))), `${length} bytes`).toBeDefined();
    }
  });
});

describe('with its seal made right again', () => {
  test('every flipped bit is refused or leaves a tree', async () => {
    const counts = { refused: 0, whole: 0 };
    for (let at = 0; at < whole.length; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) {
        const bytes = Buffer.from(whole);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
        counts[await refusedOrWhole(resealTree(bytes), `byte ${at}, bit ${bit}`)] += 1;
      }
    }
    // Owners, times and letters may be any; offsets, counts and types may not.
    expect(counts.whole).toBeGreaterThan(1000);
    expect(counts.refused).toBeGreaterThan(1000);
  });

  test('every shorter beginning of it is refused, also with the size that it then has', async () => {
    for (let length = 0; length < whole.length; length += 1) {
      const bytes = Buffer.from(whole.subarray(0, length));
      if (length >= 24) bytes.writeBigUInt64LE(BigInt(length), 16);
      expect(await refusalOf(resealTree(bytes)), `${length} bytes`).toBeDefined();
    }
  });

  test('10,000 trees with several numbers changed are refused or leave a tree', {
    timeout: 120_000,
  }, async () => {
    const random = randomNumbers(20_261_121);
    const below = (limit: number): number => Math.floor(random() * limit);
    const interesting = [0, 1, 2, 3, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 4096, whole.length];
    const counts = { refused: 0, whole: 0 };
    for (let round = 0; round < 10_000; round += 1) {
      const bytes = Buffer.from(whole);
      for (let change = 1 + below(3); change > 0; change -= 1) {
        const at = 4 * below(whole.length / 4 - 1);
        const value =
          random() < 0.5
            ? (interesting[below(interesting.length)] ?? 0)
            : bytes.readUInt32LE(4 * below(whole.length / 4 - 1));
        bytes.writeUInt32LE(value, at);
      }
      counts[await refusedOrWhole(resealTree(bytes), `round ${round}`)] += 1;
    }
    expect(counts.whole).toBeGreaterThan(100);
    expect(counts.refused).toBeGreaterThan(1000);
  });
});

describe('each rule (B4)', () => {
  const INODE_BYTES = 64;
  const sectionAt = (index: number): number => Number(whole.readBigUInt64LE(64 + 16 * index));
  const inodes = sectionAt(0);
  const numbers = sectionAt(1);
  const dirents = sectionAt(2);
  const sparse = sectionAt(3);
  const sets = sectionAt(4);
  const pairs = sectionAt(5);
  const strings = sectionAt(6);
  /** Where a field of the first inode that a predicate holds for lies. */
  const inodeOf = (kind: number, skip = 0): number => {
    for (let at = inodes, left = skip; at < numbers; at += INODE_BYTES) {
      if (whole.readUInt32LE(at) >>> 12 !== kind) continue;
      if (left === 0) return at;
      left -= 1;
    }
    throw new Error('no such inode');
  };
  const [FIFO, CHAR, DIR, FILE, SYMLINK] = [1, 2, 4, 8, 10];
  const FIFO_INO = whole.readUInt32LE(inodeOf(FIFO) + 60);
  const sparseFile = (): number => {
    for (let at = inodes; at < numbers; at += INODE_BYTES)
      if (whole.readUInt32LE(at + 52) > 0 && whole.readUInt32LE(at) >>> 12 === FILE) return at;
    throw new Error('no sparse file');
  };
  const direntOf = (ino: number): number => {
    for (let at = dirents; at < sparse; at += 12) if (whole.readUInt32LE(at + 4) === ino) return at;
    throw new Error('no such name');
  };
  const u32 =
    (at: number, value: number) =>
    (bytes: Buffer): void => {
      bytes.writeUInt32LE(value >>> 0, at);
    };
  const u64 =
    (at: number, value: bigint) =>
    (bytes: Buffer): void => {
      bytes.writeBigUInt64LE(value, at);
    };

  const rules: readonly (readonly [string, RegExp, (bytes: Buffer) => void])[] = [
    ['another magic', /magic/, (bytes) => bytes.write('PEELTOC\0', 0, 'latin1')],
    ['another version', /version 1, want 2/, u32(8, 1)],
    ['another size of header', /header of another size/, u32(12, 512)],
    ['another size of file', /bytes and has/, u64(16, BigInt(whole.length + 8))],
    ['a header with more in it', /more than it should/, u32(28, 1)],
    ['a section elsewhere', /out of place/, u64(64 + 16, BigInt(numbers + 8))],
    ['a section beyond the end', /out of place/, u64(72, 2n ** 63n)],
    ['a root that is a file', /root is no directory/, u32(inodes, 0o100644)],
    ['a root of another number', /root is no directory/, u32(inodes + 60, 2)],
    ['a number that leads to another inode', /leads to another inode/, u32(numbers, 2)],
    ['a number that leads beyond the inodes', /leads to another inode/, u32(numbers, 0xffffffff)],
    ['an inode that no number leads to', /not found under its number/, u32(numbers + 4 * (FIFO_INO - 1), 0)],
    ['an inode of another number', /leads to another inode/, u32(inodeOf(FIFO) + 60, 99)],
    ['a number 0', /leads to another inode/, u32(inodeOf(FIFO) + 60, 0)],
    ['a parent that is not there', /parent that is not there/, u32(inodes + 48, 99)],
    [
      'a type that is none',
      /unknown type/,
      (bytes) => {
        bytes.writeUInt32LE(0o030644, inodeOf(FIFO));
        bytes.writeUInt8(3, direntOf(whole.readUInt32LE(inodeOf(FIFO) + 60)) + 10);
      },
    ],
    ['a mode with more bits', /more than type and permissions/, u32(inodeOf(FIFO), 0x10000 | 0o010644)],
    ['uid -1', /owner/, u32(inodes + 4, -1)],
    ['a size of 2^53', /size out of range/, u64(inodeOf(FILE) + 16, 2n ** 53n)],
    ['a size of a directory', /size where there can be none/, u64(inodeOf(DIR) + 16, 1n)],
    ['a time out of range', /time out of range/, u64(inodes + 24, 2n ** 62n)],
    ['a billion nanoseconds', /time out of range/, u32(inodes + 32, 1_000_000_000)],
    ['a layer too high', /layer that the image/, (bytes) => bytes.writeUInt16LE(2, inodes + 36)],
    ['an unknown flag', /unknown flags/, (bytes) => bytes.writeUInt16LE(4, inodes + 38)],
    ['an implied file', /implied, but no directory/, (bytes) => bytes.writeUInt16LE(1, inodeOf(FILE) + 38)],
    ['a sparse directory', /sparse, but no file/, (bytes) => bytes.writeUInt16LE(2, inodes + 38)],
    ['attributes that are not there', /attributes that are not there/, u32(inodes + 56, 99)],
    ['a link count that is too high', /link count/, u32(inodes + 12, 99)],
    ['a file with a name too few', /names lead to it/, u32(inodeOf(FILE) + 12, 9)],
    [
      'a directory that is its own parent',
      /parent does not come before|parent is another/,
      u32(inodeOf(DIR, 1) + 48, whole.readUInt32LE(inodeOf(DIR, 1) + 60)),
    ],
    ['entries elsewhere', /entries are out of place/, u32(inodeOf(DIR, 1) + 40, 0)],
    ['more entries than there are', /entries are out of place/, u32(inodes + 44, 0xffffffff)],
    ['an entry for no inode', /inode that is not there/, u32(dirents + 4, 99)],
    ['an entry for inode 0', /inode that is not there/, u32(dirents + 4, 0)],
    ['an entry of another type', /another type/, (bytes) => bytes.writeUInt8(1, dirents + 10)],
    ['a name beyond the strings', /name out of bounds/, u32(dirents, 0xffffffff)],
    ['a name of no bytes', /no name/, (bytes) => bytes.writeUInt16LE(0, dirents + 8)],
    ['a name of 256 bytes', /no name|out of bounds/, (bytes) => bytes.writeUInt16LE(256, dirents + 8)],
    [
      'a name with a slash',
      /no name/,
      (bytes) => bytes.writeUInt8(0x2f, strings + whole.readUInt32LE(dirents)),
    ],
    ['a name with a NUL', /no name/, (bytes) => bytes.writeUInt8(0, strings + whole.readUInt32LE(dirents))],
    [
      'two names alike',
      /do not rise/,
      (bytes) => {
        whole.copy(bytes, dirents + 12, dirents, dirents + 4);
        bytes.writeUInt16LE(whole.readUInt16LE(dirents + 8), dirents + 20);
      },
    ],
    ['a device record with more in it', /more than it should/, u32(inodeOf(CHAR) + 48, 1)],
    ['a fifo with a number', /more than it should/, u32(inodeOf(FIFO) + 40, 1)],
    ['a target of another length', /target of another length/, u32(inodeOf(SYMLINK) + 44, 3)],
    ['a target beyond the strings', /target out of bounds/, u32(inodeOf(SYMLINK) + 40, 0xfffffff0)],
    ['sparse pieces elsewhere', /pieces are out of place/, u32(sparseFile() + 48, 1)],
    ['a sparse piece beyond the file', /do not rise inside it/, u64(sparse + 8, 2n ** 60n)],
    ['a sparse piece of nothing', /do not rise inside it/, u64(sparse + 8, 0n)],
    ['a sparse piece stored elsewhere', /do not rise inside it/, u64(sparse + 24 + 16, 5n)],
    ['a sparse piece at 2^64 - 1', /do not rise inside it/, u64(sparse, 2n ** 64n - 1n)],
    ['bytes out of range', /bytes lie out of range/, u64(inodeOf(FILE) + 40, 2n ** 53n - 1n)],
    ['a set elsewhere', /set of attributes is out of place/, u32(sets, 1)],
    ['a set of nothing', /set of attributes is out of place/, u32(sets + 4, 0)],
    ['an attribute beyond the strings', /attribute is out of bounds/, u32(pairs + 8, 0xffffffff)],
    [
      'attributes that do not rise',
      /attributes do not rise/,
      (bytes) => whole.copy(bytes, pairs + 16, pairs, pairs + 16),
    ],
  ];
  for (const [what, message, change] of rules) {
    test(`${what} is refused by name`, async () => {
      const bytes = Buffer.from(whole);
      change(bytes);
      expect(bytes.equals(whole)).toBe(false);
      expect(await refusalOf(resealTree(bytes))).toMatch(message);
    });
  }

  describe('that keeps walks from running in circles', () => {
    /** `/a/x`: three directories, two entries. */
    const nested = (): Buffer =>
      encodeTree(mergeLayers([[madeEntry('a', 'dir'), madeEntry('a/x', 'dir')]]), Buffer.alloc(32));
    const record = (ino: number): number => 256 + INODE_BYTES * (ino - 1);
    /** Behind three numbers, at the next multiple of 8. */
    const entryAt = 256 + INODE_BYTES * 3 + 16;
    const directory = (
      bytes: Buffer,
      ino: number,
      fields: readonly [number, number, number, number],
    ): void => {
      const [nlink, first, count, parent] = fields;
      bytes.writeUInt32LE(nlink, record(ino) + 12);
      bytes.writeUInt32LE(first, record(ino) + 40);
      bytes.writeUInt32LE(count, record(ino) + 44);
      bytes.writeUInt32LE(parent, record(ino) + 48);
    };

    test('refuses two directories that hold each other, apart from the root', async () => {
      const bytes = nested();
      directory(bytes, 1, [2, 0, 0, 1]);
      directory(bytes, 2, [3, 0, 1, 3]);
      directory(bytes, 3, [3, 1, 1, 2]);
      bytes.writeUInt32LE(3, entryAt + 4);
      bytes.writeUInt32LE(2, entryAt + 12 + 4);
      expect(await refusalOf(resealTree(bytes))).toMatch(/inode 2: its parent does not come before it/);
    });

    test('refuses records that do not come after those of their parents', async () => {
      const bytes = nested();
      expect(await refusedOrWhole(bytes, 'unchanged')).toBe('whole');
      directory(bytes, 2, [2, 1, 0, 3]);
      directory(bytes, 3, [3, 1, 1, 1]);
      bytes.writeUInt32LE(3, entryAt + 4);
      bytes.writeUInt32LE(2, entryAt + 12 + 4);
      expect(await refusalOf(resealTree(bytes))).toMatch(/inode 2: its parent does not come before it/);
    });

    test('refuses a directory with two names', async () => {
      const bytes = nested();
      directory(bytes, 1, [4, 0, 2, 1]);
      directory(bytes, 2, [2, 2, 0, 1]);
      directory(bytes, 3, [2, 2, 0, 1]);
      bytes.writeUInt32LE(2, entryAt + 12 + 4);
      expect(await refusalOf(resealTree(bytes))).toMatch(/names lead to it/);
    });

    test('refuses the root as a child', async () => {
      const bytes = nested();
      bytes.writeUInt32LE(1, entryAt + 4);
      expect(await refusalOf(resealTree(bytes))).toMatch(/inode 1: a child whose parent is another/);
    });
  });

  test('a file that lies unaligned in memory is refused', async () => {
    const room = Buffer.alloc(whole.length + 1);
    room.set(whole, 1);
    expect(await refusalOf(room.subarray(1))).toMatch(/not aligned/);
  });
});
