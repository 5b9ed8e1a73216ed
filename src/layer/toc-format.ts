/**
 * The stored form of a TOC: what reader and writer must agree on. docs/TOC-FORMAT.md describes the bytes; the
 * golden test fails when they change, and then `TOC_VERSION` must rise: a TOC of another version is rebuilt.
 */
import type { Compression } from '../native.ts';
import type { EntryType, Toc, TocIndex } from './toc.ts';

export const TOC_VERSION = 3;

/** 8 bytes each, at the start of either file. */
export const TOC_MAGIC = 'PEELTOC\0';
export const WINDOWS_MAGIC = 'PEELWIN\0';

export const SHA256_BYTES = 32;

/** Magic, version, reserved, sha256 of all that follows. */
export const WINDOWS_HEADER_BYTES = 8 + 4 + 4 + SHA256_BYTES;

/** Stored as the index. Append only. */
export const COMPRESSIONS: readonly Compression[] = ['none', 'gzip', 'zstd', 'xz', 'bzip2'];
export const ENTRY_TYPES: readonly EntryType[] = [
  'file',
  'dir',
  'symlink',
  'hardlink',
  'char',
  'block',
  'fifo',
];

/** The first byte of an entry: its type in the low bits, and how the rest is written. */
export const TYPE_BITS = 0x07;
export const HAS_NSEC = 0x08;
export const HAS_XATTRS = 0x10;
export const HAS_SPARSE = 0x20;
/** The modification time of the entry before: tars are full of runs. */
export const HAS_SAME_TIME = 0x40;
export const HAS_NEGATIVE_TIME = 0x80;

/** Identity, spans, xattrs, entries. */
export const SECTION_COUNT = 4;
/** Magic, version, section count, lengths of the sections. */
export const TOC_HEADER_BYTES = 8 + 4 + 4 + 4 * SECTION_COUNT;

/** The fewest bytes of an entry, checkpoint, span: no count is believed that does not fit the bytes there are. */
export const SMALLEST_ENTRY = 6;
export const SMALLEST_CHECKPOINT = 5;
export const SMALLEST_SPAN = 3 + SHA256_BYTES;

/** A TOC with the sums that its file keeps of the windows file. */
export interface SealedToc<Part extends TocIndex = Toc> {
  readonly toc: Part;
  /** sha256 of the packed windows, back to back: names the one windows file that belongs to this TOC. */
  readonly windowsDigest: Buffer;
  /** By checkpoint; undefined for one without a window. */
  readonly windowDigests: readonly (Buffer | undefined)[];
}
