/**
 * The stored form of a merged tree: what its writer and its readers, here and in native/tree_view.h, must agree on.
 * docs/TREE-FORMAT.md describes the bytes; the golden test fails when they change.
 *
 * `TREE_VERSION` rises when the bytes change and also when `mergeLayers` comes to another tree for the same layers:
 * a tree of another version is not found, and is merged again.
 */
import type { NodeKind } from './node.ts';

export const TREE_VERSION = 2;
export const TREE_MAGIC = 'PEELTREE';

/** Where things stand in the header. */
export const HEADER = {
  version: 8,
  headerBytes: 12,
  fileBytes: 16,
  layers: 24,
  key: 32,
  /** u64 offset, u64 length of each section. */
  sections: 64,
  bodySum: 192,
  headerSum: 224,
  size: 256,
} as const;

/** In the order of the file; each begins at the next multiple of `ALIGNMENT`. */
export const SECTIONS = [
  'inodes',
  'numbers',
  'dirents',
  'sparse',
  'xattrSets',
  'xattrPairs',
  'strings',
  'warnings',
] as const;
export type Section = (typeof SECTIONS)[number];
export const ALIGNMENT = 8;

export const KEY_BYTES = 32;

/** One for each inode; the root is the first. `numbers` leads from an inode number to its record. */
export const INODE = {
  mode: 0,
  uid: 4,
  gid: 8,
  nlink: 12,
  size: 16,
  mtimeSec: 24,
  mtimeNsec: 32,
  layer: 36,
  flags: 38,
  // 16 bytes by kind: files
  dataOffset: 40,
  sparseFirst: 48,
  sparseCount: 52,
  // directories
  direntFirst: 40,
  direntCount: 44,
  parent: 48,
  // symbolic links
  target: 40,
  targetLength: 44,
  // devices
  major: 40,
  minor: 44,
  /** 0, or 1 + the index of a set. */
  xattrs: 56,
  ino: 60,
  bytes: 64,
} as const;

/** By inode number, from 1: 1 + the index of its record, or 0. */
export const NUMBER = { bytes: 4 } as const;
export const DIRENT = { name: 0, ino: 4, nameLength: 8, type: 10, bytes: 12 } as const;
export const SPARSE_PIECE = { offset: 0, length: 8, stored: 16, bytes: 24 } as const;
export const XATTR_SET = { first: 0, count: 4, bytes: 8 } as const;
export const XATTR_PAIR = { name: 0, value: 4, valueLength: 8, nameLength: 12, bytes: 16 } as const;

/** Bits of an inode's flags. */
export const IS_IMPLIED = 1;
export const IS_SPARSE = 2;

/** The S_IFMT bits above the 12 of the permissions, as readdir(3) has them in d_type. */
export const TYPE_OF_KIND = {
  fifo: 0o01,
  char: 0o02,
  dir: 0o04,
  block: 0o06,
  file: 0o10,
  symlink: 0o12,
} as const satisfies Record<NodeKind, number>;
export const TYPE_SHIFT = 12;
export const PERMISSIONS = 0o7777;

export const TWO_TO_32 = 2 ** 32;
