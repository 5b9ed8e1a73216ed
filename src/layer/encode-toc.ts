/** TOC → stored bytes: identity, spans and sets of extended attributes; the entries are in `encode-entries.ts`. */
import { createHash } from 'node:crypto';
import type { ByteString, Digest } from '../units.ts';
import { ByteWriter } from './byte-writer.ts';
import { encodeEntries } from './encode-entries.ts';
import { OWN_INDEX_FORMATS } from './own-index.ts';
import type { Checkpoint, Entry, Span, Toc, TocIndex } from './toc.ts';
import {
  COMPRESSIONS,
  type PackedWindows,
  SECTION_COUNT,
  type SealedToc,
  SHA256_BYTES,
  TOC_MAGIC,
  TOC_VERSION,
  WINDOW_SUM_BYTES,
  WINDOWS_HEADER_BYTES,
  WINDOWS_MAGIC,
} from './toc-format.ts';

/** Adds the sums that let a reader see damage of each window by itself. */
export function sealToc(toc: Toc, windows: Buffer, packedWindows?: PackedWindows): SealedToc {
  return {
    toc,
    windowsDigest: sha256(windows),
    windowSums: toc.checkpoints.map(({ windowOffset, windowLength }) =>
      windowLength === 0
        ? undefined
        : windowSumOf(windows.subarray(windowOffset, windowOffset + windowLength)),
    ),
    packedWindows,
  };
}

/** What is kept of a packed window's sha256. */
export function windowSumOf(window: Buffer): Buffer {
  return sha256(window).subarray(0, WINDOW_SUM_BYTES);
}

/** The bytes of the `toc` file. @throws RangeError for a TOC that breaks the invariants of `toc.ts`. */
export function encodeToc(sealed: SealedToc): Buffer {
  const xattrs = new XattrTable();
  const entries = encodeEntries(sealed.toc.entries, (set) => xattrs.indexOf(set));
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

/** Names all that a TOC says of its files, and where their bytes lie. */
export function entriesDigest(entries: readonly Entry[]): Digest {
  const xattrs = new XattrTable();
  const encoded = encodeEntries(entries, (set) => xattrs.indexOf(set));
  return `sha256:${sha256(Buffer.concat([xattrs.encode(), encoded])).toString('hex')}` as Digest;
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

function encodeIdentity({ toc, windowsDigest, packedWindows }: SealedToc): Buffer {
  const writer = new ByteWriter();
  writer.text(toc.digest as string as ByteString);
  writer.text((toc.diffID ?? '') as ByteString);
  writer.byte(COMPRESSIONS.indexOf(toc.compression));
  writer.number(toc.compressedSize);
  writer.number(toc.uncompressedSize);
  writer.raw(windowsDigest);
  writer.text((packedWindows?.digest ?? '') as string as ByteString);
  writer.number(packedWindows?.size ?? 0);
  writer.byte(toc.own === undefined ? 0 : 1 + OWN_INDEX_FORMATS.indexOf(toc.own.format));
  if (toc.own !== undefined) writer.text(toc.own.digest as string as ByteString);
  writer.number(toc.warnings.length);
  for (const warning of toc.warnings) writer.bytes(Buffer.from(warning, 'utf8'));
  return writer.written();
}

function encodeSpans({ toc, windowSums }: SealedToc): Buffer {
  const writer = new ByteWriter();
  writer.number(toc.checkpoints.length);
  let previous: Checkpoint | undefined;
  let windowsEnd = 0;
  for (const [index, checkpoint] of toc.checkpoints.entries()) {
    writer.number(checkpoint.compressedOffset - (previous?.compressedOffset ?? 0));
    writer.number(checkpoint.uncompressedOffset - (previous?.uncompressedOffset ?? 0));
    writer.byte(checkpoint.bits);
    writer.number(checkpoint.windowLength);
    if (checkpoint.windowOffset !== windowsEnd)
      throw new RangeError(`window ${index} is not behind the one before`);
    windowsEnd += checkpoint.windowLength;
    previous = checkpoint;
  }
  for (const sum of windowSums) if (sum !== undefined) writer.raw(sum);
  writer.number(toc.spans.length);
  let before: Span | undefined;
  for (const [index, span] of toc.spans.entries()) {
    writer.number(span.end - span.start);
    writer.number(span.checkpoint - (before?.checkpoint ?? 0));
    writer.number(span.compressedEnd - (before?.compressedEnd ?? 0));
    if (toc.own?.gaps !== undefined) writer.number(toc.own.gaps[index] ?? 0);
    before = span;
  }
  for (const sum of toc.own?.stored?.digests ?? toc.spans.map((span) => span.sha256)) writer.raw(sum);
  return writer.written();
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
