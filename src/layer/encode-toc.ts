/**
 * TOC → stored bytes. Small by plain means: paths share their beginning with the path before, runs of equal
 * times and repeated xattr sets are written once, numbers take the bytes they need. A Debian layer comes to
 * about 12 bytes an entry beside its names.
 */
import { createHash } from 'node:crypto';
import type { ByteString } from '../units.ts';
import { ByteWriter } from './byte-writer.ts';
import { OWN_INDEX_FORMATS } from './own-index.ts';
import type { Checkpoint, Entry, Span, Toc, TocIndex } from './toc.ts';
import {
  COMPRESSIONS,
  ENTRY_TYPES,
  HAS_NEGATIVE_TIME,
  HAS_NSEC,
  HAS_SAME_TIME,
  HAS_SPARSE,
  HAS_XATTRS,
  SECTION_COUNT,
  type SealedToc,
  SHA256_BYTES,
  TOC_MAGIC,
  TOC_VERSION,
  WINDOWS_HEADER_BYTES,
  WINDOWS_MAGIC,
} from './toc-format.ts';

/** Adds the sums that let a reader trust each window by itself. */
export function sealToc(toc: Toc, windows: Buffer): SealedToc {
  return {
    toc,
    windowsDigest: sha256(windows),
    windowDigests: toc.checkpoints.map(({ windowOffset, windowLength }) =>
      windowLength === 0 ? undefined : sha256(windows.subarray(windowOffset, windowOffset + windowLength)),
    ),
  };
}

/** The bytes of the `toc` file. @throws RangeError for a TOC that breaks the invariants of `toc.ts`. */
export function encodeToc(sealed: SealedToc): Buffer {
  const xattrs = new XattrTable();
  const entries = encodeEntries(sealed.toc.entries, xattrs);
  const sections = [encodeIdentity(sealed), encodeSpans(sealed), xattrs.encode(), entries];
  const file = new ByteWriter();
  file.raw(Buffer.from(TOC_MAGIC, 'latin1'));
  file.uint32(TOC_VERSION);
  file.uint32(SECTION_COUNT);
  for (const section of sections) file.uint32(section.length);
  for (const section of sections) file.raw(section);
  file.raw(sha256(file.written()));
  return file.written();
}

/** What stands in front of the windows in their file. */
export function encodeWindowsHeader(sealed: SealedToc<TocIndex>): Buffer {
  const header = Buffer.alloc(WINDOWS_HEADER_BYTES);
  header.write(WINDOWS_MAGIC, 0, 'latin1');
  header.writeUInt32LE(TOC_VERSION, 8);
  header.set(sealed.windowsDigest, WINDOWS_HEADER_BYTES - SHA256_BYTES);
  return header;
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function encodeIdentity({ toc, windowsDigest }: SealedToc): Buffer {
  const writer = new ByteWriter();
  writer.text(toc.digest as string as ByteString);
  writer.text((toc.diffID ?? '') as ByteString);
  writer.byte(COMPRESSIONS.indexOf(toc.compression));
  writer.number(toc.compressedSize);
  writer.number(toc.uncompressedSize);
  writer.raw(windowsDigest);
  writer.byte(toc.own === undefined ? 0 : 1 + OWN_INDEX_FORMATS.indexOf(toc.own.format));
  if (toc.own !== undefined) writer.text(toc.own.digest as string as ByteString);
  writer.number(toc.warnings.length);
  for (const warning of toc.warnings) writer.bytes(Buffer.from(warning, 'utf8'));
  return writer.written();
}

function encodeSpans({ toc, windowDigests }: SealedToc): Buffer {
  const writer = new ByteWriter();
  writer.number(toc.checkpoints.length);
  let previous: Checkpoint | undefined;
  for (const [index, checkpoint] of toc.checkpoints.entries()) {
    writer.number(checkpoint.compressedOffset - (previous?.compressedOffset ?? 0));
    writer.number(checkpoint.uncompressedOffset - (previous?.uncompressedOffset ?? 0));
    writer.byte(checkpoint.bits);
    writer.number(checkpoint.windowLength);
    writer.number(checkpoint.windowOffset);
    const digest = windowDigests[index];
    if (digest !== undefined) writer.raw(digest);
    previous = checkpoint;
  }
  writer.number(toc.spans.length);
  let before: Span | undefined;
  for (const [index, span] of toc.spans.entries()) {
    writer.number(span.end - span.start);
    writer.number(span.checkpoint - (before?.checkpoint ?? 0));
    writer.number(span.compressedEnd - (before?.compressedEnd ?? 0));
    const stored = toc.own?.stored?.digests[index];
    if (toc.own?.gaps !== undefined) writer.number(toc.own.gaps[index] ?? 0);
    writer.raw(stored ?? span.sha256);
    before = span;
  }
  return writer.written();
}

function encodeEntries(entries: readonly Entry[], xattrs: XattrTable): Buffer {
  const writer = new ByteWriter();
  writer.number(entries.length);
  let previous: Entry | undefined;
  let dataOffset = 0;
  for (const entry of entries) {
    const hasSameTime =
      previous !== undefined &&
      entry.mtimeSec === previous.mtimeSec &&
      entry.mtimeNsec === previous.mtimeNsec;
    writer.byte(
      ENTRY_TYPES.indexOf(entry.type) |
        (hasSameTime ? HAS_SAME_TIME : timeBits(entry)) |
        (entry.xattrs === undefined ? 0 : HAS_XATTRS) |
        (entry.sparse === undefined ? 0 : HAS_SPARSE),
    );
    writePath(writer, entry.path, previous?.path ?? '');
    writer.number(entry.mode);
    writer.number(entry.uid);
    writer.number(entry.gid);
    if (!hasSameTime) {
      writer.number(Math.abs(entry.mtimeSec));
      if (entry.mtimeNsec !== 0) writer.uint32(entry.mtimeNsec);
    }
    if (entry.xattrs !== undefined) writer.number(xattrs.indexOf(entry.xattrs));
    if (entry.type === 'file') {
      writer.number(entry.size);
      writer.number(entry.dataOffset - dataOffset);
      dataOffset = entry.dataOffset;
      if (entry.sparse !== undefined) writeSparse(writer, entry.sparse);
    } else if (entry.type === 'symlink' || entry.type === 'hardlink') {
      writer.text(entry.target ?? ('' as ByteString));
    } else if (entry.type === 'char' || entry.type === 'block') {
      for (const number of entry.rdev ?? [0, 0]) writer.number(number);
    }
    previous = entry;
  }
  return writer.written();
}

function timeBits(entry: Entry): number {
  return (entry.mtimeSec < 0 ? HAS_NEGATIVE_TIME : 0) | (entry.mtimeNsec === 0 ? 0 : HAS_NSEC);
}

/** How many bytes it shares with the path before, then the rest. */
function writePath(writer: ByteWriter, path: string, before: string): void {
  const limit = Math.min(path.length, before.length);
  let shared = 0;
  while (shared < limit && path.charCodeAt(shared) === before.charCodeAt(shared)) shared++;
  writer.number(shared);
  writer.number(path.length - shared);
  writer.rawText(path, shared);
}

function writeSparse(writer: ByteWriter, pieces: NonNullable<Entry['sparse']>): void {
  writer.number(pieces.length);
  let end = 0;
  for (const { offset, length } of pieces) {
    writer.number(offset - end);
    writer.number(length);
    end = offset + length;
  }
}

/** Sets of extended attributes, each stored once. */
class XattrTable {
  readonly #sets: Buffer[] = [];
  readonly #indexes = new Map<string, number>();

  indexOf(xattrs: ReadonlyMap<ByteString, Buffer>): number {
    const writer = new ByteWriter();
    writer.number(xattrs.size);
    for (const [name, value] of xattrs) {
      writer.text(name);
      writer.bytes(value);
    }
    const bytes = writer.written();
    const key = bytes.toString('latin1');
    const known = this.#indexes.get(key);
    if (known !== undefined) return known;
    const index = this.#sets.push(Buffer.from(bytes)) - 1;
    this.#indexes.set(key, index);
    return index;
  }

  encode(): Buffer {
    const writer = new ByteWriter();
    writer.number(this.#sets.length);
    for (const set of this.#sets) writer.raw(set);
    return writer.written();
  }
}
