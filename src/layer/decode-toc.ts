/**
 * Stored bytes → TOC. The seal is checked first; nothing after it is trusted either, since a file may be sealed
 * well and still be wrong (another program's, a bug of an older version): counts and lengths are bounded by the
 * bytes there are, and the invariants that readers rely on are checked.
 */
import { createHash } from 'node:crypto';
import type { ByteString, Digest } from '../units.ts';
import { compressed, isDigest, uncompressed } from '../units.ts';
import { ByteReader, StoredFormError } from './byte-reader.ts';
import { MAX_NAME_BYTES } from './clean-path.ts';
import { decodeEntries, type Xattrs } from './decode-entries.ts';
import { hasGaps, OWN_INDEX_FORMATS, type OwnIndex, ownIndexKey } from './own-index.ts';
import type { Checkpoint, Span, TocIndex } from './toc.ts';
import {
  COMPRESSIONS,
  type PackedWindows,
  SECTION_COUNT,
  type SealedToc,
  SHA256_BYTES,
  SMALLEST_CHECKPOINT,
  SMALLEST_SPAN,
  TOC_HEADER_BYTES,
  TOC_MAGIC,
  TOC_VERSION,
  WINDOW_SUM_BYTES,
} from './toc-format.ts';
import { checkEntries, checkIndex } from './toc-invariants.ts';

/**
 * @throws StoredFormError for anything but what `encodeToc` of this version writes, and for paths and link targets of
 * more than `maxNameBytes` together.
 */
export function decodeToc(file: Buffer, maxNameBytes = MAX_NAME_BYTES): SealedToc {
  const { sealed, xattrs, entries } = decodeSections(file);
  const toc = { ...sealed.toc, entries: decodeEntries(entries, decodeXattrs(xattrs), maxNameBytes) };
  checkEntries(toc);
  return { ...sealed, toc };
}

/** The same without the entries: nothing that grows with them is made. */
export function decodeTocIndex(file: Buffer): SealedToc<TocIndex> {
  return decodeSections(file).sealed;
}

function decodeSections(file: Buffer): {
  sealed: SealedToc<TocIndex>;
  xattrs: ByteReader;
  entries: ByteReader;
} {
  if (file.length < TOC_HEADER_BYTES + SHA256_BYTES) throw new StoredFormError('cut short');
  if (file.toString('latin1', 0, TOC_MAGIC.length) !== TOC_MAGIC) throw new StoredFormError('not a TOC');
  const version = file.readUInt32LE(8);
  if (version !== TOC_VERSION) throw new StoredFormError(`version ${version}, want ${TOC_VERSION}`);
  const end = file.length - SHA256_BYTES;
  const seal = createHash('sha256').update(file.subarray(0, end)).digest();
  if (!seal.equals(file.subarray(end))) throw new StoredFormError('its seal does not match');

  const [identity, spans, xattrs, entries] = sectionsOf(file, end);
  const { windowsDigest, packedWindows, ...head } = decodeIdentity(identity);
  const { origin, ...identified } = head;
  const { checkpoints, windowSums, spanList, gaps, sums } = decodeSpans(spans, origin);
  const toc = {
    ...identified,
    ...(origin === undefined ? {} : { own: ownIndexOf(origin, gaps, sums) }),
    checkpoints,
    spans: spanList,
  };
  checkIndex(toc);
  return { sealed: { toc, windowsDigest, windowSums, packedWindows }, xattrs, entries };
}

function sectionsOf(file: Buffer, end: number): [ByteReader, ByteReader, ByteReader, ByteReader] {
  if (file.readUInt32LE(12) !== SECTION_COUNT) throw new StoredFormError('an unknown number of sections');
  let start = TOC_HEADER_BYTES;
  const next = (index: number): ByteReader => {
    const length = file.readUInt32LE(16 + 4 * index);
    if (length > end - start) throw new StoredFormError(`a section of ${length} bytes, ${end - start} left`);
    const section = new ByteReader(file, start, start + length);
    start += length;
    return section;
  };
  const sections: [ByteReader, ByteReader, ByteReader, ByteReader] = [next(0), next(1), next(2), next(3)];
  if (start !== end) throw new StoredFormError(`${end - start} bytes left over`);
  return sections;
}

function decodeIdentity(reader: ByteReader) {
  const digest = reader.text() as string as Digest;
  const diffID = reader.text() as string;
  const compression = COMPRESSIONS[reader.byte()];
  if (compression === undefined) throw new StoredFormError('an unknown compression');
  const compressedSize = reader.number();
  const uncompressedSize = reader.number();
  const windowsDigest = Buffer.from(reader.raw(SHA256_BYTES));
  const packedWindows = decodePackedWindows(reader);
  const origin = decodeOrigin(reader, digest, compressedSize);
  const warnings: string[] = [];
  for (let left = reader.count(1); left > 0; left--) warnings.push(reader.bytes().toString('utf8'));
  reader.end();
  return {
    digest,
    diffID: diffID === '' ? undefined : (diffID as Digest),
    compression,
    compressedSize,
    uncompressedSize,
    windowsDigest,
    packedWindows,
    origin,
    warnings,
  };
}

function decodePackedWindows(reader: ByteReader): PackedWindows | undefined {
  const digest = reader.text() as string;
  const size = reader.number();
  if (digest === '') return undefined;
  if (!isDigest(digest)) throw new StoredFormError('broken: digests are digests');
  return { digest, size };
}

type Origin = Pick<OwnIndex, 'format' | 'digest' | 'key'>;

function ownIndexOf(origin: Origin, gaps: number[], sums: Buffer[]): OwnIndex {
  return {
    ...origin,
    ...(hasGaps(origin.format) ? { gaps } : {}),
    ...(hasStoredSums(origin) ? { stored: { digests: sums } } : {}),
  };
}

/** The sums in it are of the spans as they are stored. */
function hasStoredSums(origin: Origin | undefined): boolean {
  return origin?.format === 'soci';
}

/** Which index of the image it was made from; undefined for one of the pass. */
function decodeOrigin(reader: ByteReader, layer: Digest, size: number): Origin | undefined {
  const number = reader.byte();
  if (number === 0) return undefined;
  const format = OWN_INDEX_FORMATS[number - 1];
  if (format === undefined) throw new StoredFormError('an unknown format of index');
  const digest = reader.text() as string as Digest;
  return { format, digest, key: ownIndexKey(format, layer, size, digest) };
}

function decodeSpans(reader: ByteReader, origin: Origin | undefined) {
  const checkpoints: Checkpoint[] = [];
  let compressedOffset = 0;
  let uncompressedOffset = 0;
  let windowOffset = 0;
  for (let left = reader.count(SMALLEST_CHECKPOINT); left > 0; left--) {
    compressedOffset += reader.number();
    uncompressedOffset += reader.number();
    const bits = reader.byte();
    const windowLength = reader.number();
    checkpoints.push({
      compressedOffset: compressed(compressedOffset),
      uncompressedOffset: uncompressed(uncompressedOffset),
      bits,
      windowOffset,
      windowLength,
    });
    windowOffset += windowLength;
  }
  const windowSums = checkpoints.map(({ windowLength }) =>
    windowLength === 0 ? undefined : Buffer.from(reader.raw(WINDOW_SUM_BYTES)),
  );
  const spanList: Span[] = [];
  const gaps: number[] = [];
  const storedSums: Buffer[] = [];
  const isStored = hasStoredSums(origin);
  const count = reader.count(SMALLEST_SPAN);
  // One allocation for all sums: views into the file would keep the whole of it in memory.
  const sums = Buffer.alloc(count * SHA256_BYTES);
  let start = 0;
  let checkpoint = 0;
  let compressedEnd = 0;
  for (let index = 0; index < count; index++) {
    const end = start + reader.number();
    checkpoint += reader.number();
    compressedEnd += reader.number();
    if (origin !== undefined && hasGaps(origin.format)) gaps.push(reader.number());
    spanList.push({
      start: uncompressed(start),
      end: uncompressed(end),
      checkpoint,
      compressedEnd: compressed(compressedEnd),
      sha256: sums.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES),
    });
    start = end;
  }
  for (const { sha256 } of spanList) {
    // Of a span as it is stored: what it decompresses to is learned then (learned-sums.ts).
    if (isStored) storedSums.push(Buffer.from(reader.raw(SHA256_BYTES)));
    else sha256.set(reader.raw(SHA256_BYTES));
  }
  reader.end();
  return { checkpoints, windowSums, spanList, gaps, sums: storedSums };
}

function decodeXattrs(reader: ByteReader): Xattrs[] {
  const sets: Xattrs[] = [];
  for (let left = reader.count(1); left > 0; left--) {
    const set = new Map<ByteString, Buffer>();
    for (let pairs = reader.count(2); pairs > 0; pairs--) {
      const name = reader.text();
      set.set(name, Buffer.from(reader.bytes()));
    }
    sets.push(set);
  }
  reader.end();
  return sets;
}
