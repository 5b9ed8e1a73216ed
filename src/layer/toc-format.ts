/**
 * The stored form of a TOC: what reader and writer must agree on. docs/TOC-FORMAT.md describes the bytes; the
 * golden test fails when they change, and then `TOC_VERSION` must rise: a TOC of another version is rebuilt.
 */
import type { Compression } from '../native.ts';
import type { Digest } from '../units.ts';
import type { Entry, EntryType, Toc, TocIndex } from './toc.ts';

export const TOC_VERSION = 4;

/** 8 bytes each, at the start of either file. */
export const TOC_MAGIC = 'PEELTOC\0';
export const WINDOWS_MAGIC = 'PEELWIN\0';

export const SHA256_BYTES = 32;

/**
 * What is kept of the sha256 of a window: enough to see damage. One that was forged has all 32 bytes of the spans
 * against it.
 */
export const WINDOW_SUM_BYTES = 8;

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

/**
 * What all entries say of one thing lies together, and packs to half of what it does entry by entry. In this order;
 * an entry takes from a column what its head says.
 */
export const ENTRY_COLUMNS = [
  'heads',
  'shared',
  'lengths',
  'names',
  'modes',
  'owners',
  'times',
  'xattrs',
  'sizes',
  'gaps',
  'sparse',
  'targets',
  'devices',
] as const;
export type EntryColumn = (typeof ENTRY_COLUMNS)[number];

const TAR_BLOCK = 512;

/** Where the header of the member behind a file of a tar begins; what a column has is the difference to it. */
export function endOfData({
  dataOffset,
  size,
  sparse,
}: Pick<Entry, 'dataOffset' | 'size' | 'sparse'>): number {
  const stored = sparse === undefined ? size : sparse.reduce((sum, { length }) => sum + length, 0);
  return Math.ceil((dataOffset + stored) / TAR_BLOCK) * TAR_BLOCK;
}

/** The fewest bytes of an entry, checkpoint, span: no count is believed that does not fit the bytes there are. */
export const SMALLEST_ENTRY = 6;
export const SMALLEST_CHECKPOINT = 4;
export const SMALLEST_SPAN = 3 + SHA256_BYTES;

/** Where the windows of a TOC that travels are: a blob of `packed-windows.ts`. */
export interface PackedWindows {
  readonly digest: Digest;
  readonly size: number;
}

/** A TOC with the sums that its file keeps of the windows file. */
export interface SealedToc<Part extends TocIndex = Toc> {
  readonly toc: Part;
  /** sha256 of the packed windows, back to back: names the one windows file that belongs to this TOC. */
  readonly windowsDigest: Buffer;
  /** By checkpoint, `WINDOW_SUM_BYTES` of sha256; undefined for one without a window. */
  readonly windowSums: readonly (Buffer | undefined)[];
  /** undefined in one that has not travelled, or has no windows. */
  readonly packedWindows: PackedWindows | undefined;
}
