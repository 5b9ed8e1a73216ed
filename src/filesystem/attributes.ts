/** A node's attributes as stat(2) gives them. */
import type { Node, NodeKind } from '../tree/node.ts';

/** st_blksize, and the unit that st_blocks is rounded to (E229). */
export const BLOCK_SIZE = 4096;
/** st_blocks counts these, whatever st_blksize is: stat(2). */
const SECTOR_SIZE = 512;

/** The S_IFMT bits: inode(7). */
export const TYPE_BITS = {
  fifo: 0o010000,
  char: 0o020000,
  dir: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
} as const satisfies Record<NodeKind, number>;

export interface Attributes {
  readonly ino: number;
  /** Type and permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** [major, minor]; [0, 0] for all but devices. */
  readonly rdev: readonly [number, number];
  readonly size: number;
  readonly blksize: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
}

export function attributesOf(node: Node): Attributes {
  return {
    ino: node.ino,
    mode: TYPE_BITS[node.kind] | (node.mode & 0o7777),
    nlink: node.nlink,
    uid: node.uid,
    gid: node.gid,
    rdev: node.rdev ?? [0, 0],
    size: node.size,
    blksize: BLOCK_SIZE,
    blocks: Math.ceil(node.size / BLOCK_SIZE) * (BLOCK_SIZE / SECTOR_SIZE),
    mtimeSec: node.mtimeSec,
    mtimeNsec: node.mtimeNsec,
  };
}
