/**
 * Stored bytes → TOC. The seal is checked first; nothing after it is trusted either, since a file may be sealed
 * well and still be wrong (another program's, a bug of an older version): counts and lengths are bounded by the
 * bytes there are, and the invariants that readers rely on are checked.
 */
import { createHash } from 'node:crypto';
import type { ByteString, Digest } from '../units.ts';
import { compressed, uncompressed } from '../units.ts';
import { ByteReader, StoredFormError } from './byte-reader.ts';
import { MAX_NAME_BYTES, MAX_PATH } from './clean-path.ts';
import { hasGaps, OWN_INDEX_FORMATS, type OwnIndex, ownIndexKey } from './own-index.ts';
import type { Checkpoint, Entry, Span, SparsePiece, TocIndex } from './toc.ts';
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
  SMALLEST_CHECKPOINT,
  SMALLEST_ENTRY,
  SMALLEST_SPAN,
  TOC_HEADER_BYTES,
  TOC_MAGIC,
  TOC_VERSION,
  TYPE_BITS,
} from './toc-format.ts';
import { checkEntries, checkIndex } from './toc-invariants.ts';

/**
 * @throws StoredFormError for anything but what `encodeToc` of this version writes, and for paths and link targets of
 * more than `maxNameBytes` together.
 */
export function decodeToc(file: Buffer, maxNameBytes = MAX_NAME_BYTES): SealedToc {
  const { sealed, xattrs, entries } = decodeSections(file);
  const names = new NameReader(entries, maxNameBytes);
  const toc = { ...sealed.toc, entries: decodeEntries(entries, names, decodeXattrs(xattrs)) };
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
  const { windowsDigest, ...head } = decodeIdentity(identity);
  const { origin, ...identified } = head;
  const { checkpoints, windowDigests, spanList, gaps, sums } = decodeSpans(spans, origin);
  const toc = {
    ...identified,
    ...(origin === undefined ? {} : { own: ownIndexOf(origin, gaps, sums) }),
    checkpoints,
    spans: spanList,
  };
  checkIndex(toc);
  return { sealed: { toc, windowsDigest, windowDigests }, xattrs, entries };
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
    origin,
    warnings,
  };
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
  const windowDigests: (Buffer | undefined)[] = [];
  let compressedOffset = 0;
  let uncompressedOffset = 0;
  for (let left = reader.count(SMALLEST_CHECKPOINT); left > 0; left--) {
    compressedOffset += reader.number();
    uncompressedOffset += reader.number();
    const bits = reader.byte();
    const windowLength = reader.number();
    const windowOffset = reader.number();
    windowDigests.push(windowLength === 0 ? undefined : Buffer.from(reader.raw(SHA256_BYTES)));
    checkpoints.push({
      compressedOffset: compressed(compressedOffset),
      uncompressedOffset: uncompressed(uncompressedOffset),
      bits,
      windowOffset,
      windowLength,
    });
  }
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
    const sha256 = sums.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES);
    // What a span decompresses to is learned then (learned-sums.ts).
    const sum = reader.raw(SHA256_BYTES);
    if (isStored) storedSums.push(Buffer.from(sum));
    else sha256.set(sum);
    spanList.push({
      start: uncompressed(start),
      end: uncompressed(end),
      checkpoint,
      compressedEnd: compressed(compressedEnd),
      sha256,
    });
    start = end;
  }
  reader.end();
  return { checkpoints, windowDigests, spanList, gaps, sums: storedSums };
}

type Xattrs = ReadonlyMap<ByteString, Buffer>;

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

function decodeEntries(reader: ByteReader, names: NameReader, xattrSets: readonly Xattrs[]): Entry[] {
  const entries: Entry[] = [];
  let mtimeSec = 0;
  let mtimeNsec = 0;
  let dataOffset = 0;
  for (let left = reader.count(SMALLEST_ENTRY); left > 0; left--) {
    const bits = reader.byte();
    const type = ENTRY_TYPES[bits & TYPE_BITS];
    if (type === undefined) throw new StoredFormError('an unknown type of entry');
    const entryPath = names.path();
    const mode = reader.number();
    const uid = reader.number();
    const gid = reader.number();
    if ((bits & HAS_SAME_TIME) === 0) {
      const seconds = reader.number();
      mtimeSec = (bits & HAS_NEGATIVE_TIME) === 0 ? seconds : -seconds;
      mtimeNsec = (bits & HAS_NSEC) === 0 ? 0 : reader.uint32();
    }
    const xattrs = (bits & HAS_XATTRS) === 0 ? undefined : xattrSets[reader.number()];
    if (xattrs === undefined && (bits & HAS_XATTRS) !== 0) throw new StoredFormError('unknown xattrs');
    let size = 0;
    let target: ByteString | undefined;
    let rdev: [number, number] | undefined;
    let sparse: SparsePiece[] | undefined;
    let entryOffset = 0;
    if (type === 'file') {
      size = reader.number();
      dataOffset += reader.number();
      entryOffset = dataOffset;
      if ((bits & HAS_SPARSE) !== 0) sparse = readSparse(reader);
    } else if (type === 'symlink' || type === 'hardlink') {
      target = names.target();
      size = type === 'symlink' ? target.length : 0;
    } else if (type === 'char' || type === 'block') {
      rdev = [reader.number(), reader.number()];
    }
    entries.push({
      path: entryPath,
      type,
      mode,
      uid,
      gid,
      size,
      mtimeSec,
      mtimeNsec,
      target,
      rdev,
      xattrs,
      dataOffset: uncompressed(entryOffset),
      sparse,
    });
  }
  reader.end();
  return entries;
}

function readSparse(reader: ByteReader): SparsePiece[] {
  const pieces: SparsePiece[] = [];
  let end = 0;
  for (let left = reader.count(2); left > 0; left--) {
    const offset = end + reader.number();
    const length = reader.number();
    pieces.push({ offset, length });
    end = offset + length;
  }
  return pieces;
}

/**
 * Paths, which are written as what they share with the one before and the rest, and link targets. Ten bytes of a file
 * can so be a path of 4 KiB: they are counted before they become strings.
 */
class NameReader {
  readonly #reader: ByteReader;
  readonly #maxBytes: number;
  readonly #scratch = Buffer.alloc(MAX_PATH);
  #length = 0;
  #bytes = 0;

  constructor(reader: ByteReader, maxBytes: number) {
    this.#reader = reader;
    this.#maxBytes = maxBytes;
  }

  path(): ByteString {
    const shared = this.#reader.number();
    const rest = this.#reader.number();
    if (shared > this.#length || shared + rest > MAX_PATH) throw new StoredFormError('a path out of bounds');
    this.#scratch.set(this.#reader.raw(rest), shared);
    this.#length = shared + rest;
    this.#count(this.#length);
    return this.#scratch.toString('latin1', 0, this.#length) as ByteString;
  }

  target(): ByteString {
    const target = this.#reader.text();
    this.#count(target.length);
    return target;
  }

  #count(length: number): void {
    this.#bytes += length;
    if (this.#bytes > this.#maxBytes) {
      throw new StoredFormError(`paths and link targets of more than ${this.#maxBytes} bytes together`);
    }
  }
}
