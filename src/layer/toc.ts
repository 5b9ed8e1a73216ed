/**
 * The table of contents (TOC) of one layer: what its tar holds, and where decompression can restart.
 *
 *   uncompressed |---- span 0 ----|---- span 1 ----|-- span 2 --|
 *   compressed   |--- 41 % ---|---- 38 % ----|----- 21 % -------|
 *                ^ checkpoint 0 (just past the gzip header)
 *
 * Invariants: spans follow each other without gaps and cover the whole tar; a span names a checkpoint at or
 * before its start; offsets rise. Entries stand in tar order, whiteouts among them: their meaning is the
 * tree's business. Stored form: docs/TOC-FORMAT.md.
 *
 * Made from an index that the image brings (`own-index.ts`), a TOC has the same shape, but its uncompressed space
 * is not the tar: it is what that index says of, the chunks of all files, end to end as they lie in the blob.
 */
import type { Compression } from '../native.ts';
import type { ByteString, CompressedOffset, Digest, UncompressedOffset } from '../units.ts';
import type { OwnIndex } from './own-index.ts';

export type EntryType = 'file' | 'dir' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo';

/** A piece of a sparse file that is stored: `length` bytes at `offset` of the file. Pieces are stored back to back. */
export interface SparsePiece {
  readonly offset: number;
  readonly length: number;
}

export interface Entry {
  /**
   * Where the entry lies: components joined by `/`, no leading or trailing slash, no empty, `.` or `..`
   * component (`..` stops at the root); the root itself is the empty string.
   */
  readonly path: ByteString;
  readonly type: EntryType;
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** st_size: bytes of a file (of a sparse file with its holes), bytes of a symlink's target, 0 otherwise. */
  readonly size: number;
  /** Whole seconds since 1970, rounded down; may be negative. */
  readonly mtimeSec: number;
  /** 0 to 999 999 999. */
  readonly mtimeNsec: number;
  /** Symlinks: the target as it stands. Hard links: the name of the target as it stands in the archive. */
  readonly target: ByteString | undefined;
  /** Devices: [major, minor]. */
  readonly rdev: readonly [number, number] | undefined;
  /** Extended attributes, name to value; undefined for none. */
  readonly xattrs: ReadonlyMap<ByteString, Buffer> | undefined;
  /** Files: where the stored bytes begin in the uncompressed space. */
  readonly dataOffset: UncompressedOffset;
  /** Sparse files: the stored pieces, rising. undefined: `size` bytes are stored at `dataOffset`. */
  readonly sparse: readonly SparsePiece[] | undefined;
}

/** A place where decompression can begin. */
export interface Checkpoint {
  readonly compressedOffset: CompressedOffset;
  readonly uncompressedOffset: UncompressedOffset;
  /** gzip: how many low bits of the byte at `compressedOffset` belong to the block before; 0 to 7. */
  readonly bits: number;
  /** Where its window lies in the windows file; length 0 for none. */
  readonly windowOffset: number;
  readonly windowLength: number;
}

/** The unit of fetching, verifying and caching: at most a few hundred KiB of uncompressed bytes. */
export interface Span {
  readonly start: UncompressedOffset;
  readonly end: UncompressedOffset;
  /** The checkpoint to begin at: index into `checkpoints`, whose uncompressedOffset is at or before `start`. */
  readonly checkpoint: number;
  /** Compressed bytes before this offset, from the checkpoint on, suffice to produce the span. */
  readonly compressedEnd: CompressedOffset;
  /** sha256 of the uncompressed bytes, 32 bytes. */
  readonly sha256: Buffer;
}

/** A TOC without its entries: what reading the layer takes. */
export interface TocIndex {
  /** Of the blob as stored. */
  readonly digest: Digest;
  /** Of the tar, trailing bytes included; undefined where nobody computed it, the TOC being made from an own index. */
  readonly diffID: Digest | undefined;
  readonly compression: Compression;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  /** The index of the image that the TOC was made from; absent where the pass over the layer made it. */
  readonly own?: OwnIndex;
  readonly checkpoints: readonly Checkpoint[];
  readonly spans: readonly Span[];
  /** What the reader had to tolerate, one line each: trailing garbage, skipped entry types. */
  readonly warnings: readonly string[];
}

export interface Toc extends TocIndex {
  /** In the order of the tar. */
  readonly entries: readonly Entry[];
}
