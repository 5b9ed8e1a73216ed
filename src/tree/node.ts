/**
 * The merged view of an image: one tree of nodes, built once and never changed after.
 */
import type { SparsePiece } from '../layer/toc.ts';
import type { ByteString, UncompressedOffset } from '../units.ts';

export type NodeKind = 'file' | 'dir' | 'symlink' | 'char' | 'block' | 'fifo';

/** Where a file's bytes lie. */
export interface Content {
  /** Index of the layer, 0 = lowest. */
  readonly layer: number;
  readonly dataOffset: UncompressedOffset;
  readonly sparse: readonly SparsePiece[] | undefined;
}

/** An inode. Names that are hard links of each other lead to the same node. */
export interface Node {
  /** The same on every mount of the same image, in every process. The root is 1. */
  readonly ino: number;
  readonly kind: NodeKind;
  /** Permission bits: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  /** Files and others: visible names of the inode. Directories: 2 + subdirectories. */
  readonly nlink: number;
  /** Devices: [major, minor]. */
  readonly rdev: readonly [number, number] | undefined;
  /** Symlinks. */
  readonly target: ByteString | undefined;
  /** Without trusted.* names. undefined for none. */
  readonly xattrs: ReadonlyMap<ByteString, Buffer> | undefined;
  /** The layer whose entry gave the node its attributes, 0 = lowest. */
  readonly layer: number;
  /** True where no layer has an entry for it: a parent directory that a deeper name implies. */
  readonly implied: boolean;
  /** Files. */
  readonly content: Content | undefined;
  /** Directories: names in byte order. undefined for all else. */
  readonly children: ReadonlyMap<ByteString, Node> | undefined;
  /** Directories: the directory above; the root is its own parent. */
  readonly parent: Node | undefined;
}

export interface Tree {
  readonly root: Node;
  /** Number of inodes. */
  readonly inodes: number;
  /** What the merge had to tolerate, one line each. */
  readonly warnings: readonly string[];
  /** The validated stored form, where the tree is a view of one. Read-only memory. */
  readonly stored?: Uint8Array;
}
