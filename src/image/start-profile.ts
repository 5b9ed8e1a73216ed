/**
 * What the starts of an image read, so that the next one can have it fetched ahead (docs/PROFILES.md).
 *
 *   range                      starts (newest last)        replayed
 *   layer A, 0-262144          1 1 1 1                     yes
 *   layer A, 524288-786432     0 0 0 1                     no: once in four starts
 *
 * A profile says where to look, never what is there: what it leads to is verified like everything else. It may come from
 * anywhere, so its form is read strictly, and bounded.
 */
import { PeelError } from '../errors.ts';
import { cacheKeyOf } from '../layer/own-index.ts';
import type { TocIndex } from '../layer/toc.ts';
import { JsonFields } from '../reference/json-fields.ts';
import { type JsonValue, parseJson } from '../reference/parse-json.ts';
import { type Digest, type UncompressedRange, uncompressed } from '../units.ts';

/** Starts that are remembered of each range: bits of a byte. */
const MAX_STARTS = 8;
/** Of 256 KiB: 1 GiB. */
export const MAX_RANGES = 4096;
/** Four times what as many ranges take. */
export const MAX_PROFILE_BYTES = 1024 * 1024;
const SCHEMA_VERSION = 1;

/** Bytes of a layer. */
export interface TouchedRange extends UncompressedRange {
  /** `spaceOf` its TOC. */
  readonly layer: Digest;
}

export interface ProfiledRange extends TouchedRange {
  /** A bit for each start that read it, the last one in bit 0. Not 0. */
  readonly starts: number;
}

export interface StartProfile {
  /** Of the manifest. */
  readonly image: Digest;
  /** How many starts it knows of: 1 to 8. */
  readonly starts: number;
  /** In the order in which they were read first. */
  readonly ranges: readonly ProfiledRange[];
}

/**
 * What the uncompressed offsets of a layer count: its tar, however it was indexed, named by the layer's digest; or the
 * chunks of one index, named by that.
 */
export function spaceOf(toc: Pick<TocIndex, 'digest' | 'own'>): Digest {
  return toc.own?.gaps === undefined ? toc.digest : cacheKeyOf(toc);
}

/** Those that half of the starts or more have read. */
export function stableRanges({ starts, ranges }: StartProfile): readonly ProfiledRange[] {
  return ranges.filter((range) => 2 * countBits(range.starts) >= starts);
}

/**
 * The profile after one more start, which read `touched`, in that order. What none of the last eight starts read is
 * forgotten. Ranges that overlap are the same place, cut otherwise because the layer is read by another index now.
 */
export function addStart(
  before: StartProfile | undefined,
  image: Digest,
  touched: readonly TouchedRange[],
): StartProfile {
  const earlier = new Map<Digest, ProfiledRange[]>();
  for (const range of before?.ranges ?? []) {
    const ranges = earlier.get(range.layer);
    if (ranges === undefined) earlier.set(range.layer, [range]);
    else ranges.push(range);
  }
  const again = new Set<ProfiledRange>();
  const ranges: ProfiledRange[] = [];
  for (const { layer, start, end } of touched) {
    const same = (earlier.get(layer) ?? []).filter((range) => range.start < end && start < range.end);
    for (const range of same) again.add(range);
    const past = same.reduce((bits, range) => bits | range.starts, 0);
    ranges.push({ layer, start, end, starts: shifted(past) | 1 });
  }
  for (const range of before?.ranges ?? []) {
    const starts = shifted(range.starts);
    if (!again.has(range) && starts !== 0) ranges.push({ ...range, starts });
  }
  return {
    image,
    starts: Math.min(MAX_STARTS, (before?.starts ?? 0) + 1),
    ranges: ranges.slice(0, MAX_RANGES),
  };
}

function shifted(starts: number): number {
  return (starts << 1) & (2 ** MAX_STARTS - 1);
}

function countBits(bits: number): number {
  let count = 0;
  for (let left = bits; left !== 0; left &= left - 1) count += 1;
  return count;
}

/** The stored form, which is also the one that travels. */
export function encodeProfile({ image, starts, ranges }: StartProfile): Buffer {
  const layers = [...new Set(ranges.map(({ layer }) => layer))];
  const numberOf = new Map(layers.map((layer, index) => [layer, index]));
  const rows = ranges.map((range) => [
    numberOf.get(range.layer),
    range.start,
    range.end - range.start,
    range.starts,
  ]);
  return Buffer.from(
    `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, image, starts, layers, ranges: rows })}\n`,
  );
}

/**
 * @param what names the document in messages.
 * @throws PeelError ERR_DOCUMENT_INVALID, ERR_LIMIT_EXCEEDED, ERR_UNSUPPORTED for a later version.
 */
export function parseProfile(bytes: Uint8Array, what: string): StartProfile {
  if (bytes.length > MAX_PROFILE_BYTES) {
    throw new PeelError('ERR_LIMIT_EXCEEDED', `${what}: more than ${MAX_PROFILE_BYTES} bytes are no profile`);
  }
  const known = ['schemaVersion', 'image', 'starts', 'layers', 'ranges'];
  const fields = new JsonFields(parseJson(bytes, what), what, known);
  const version = fields.size('schemaVersion');
  if (version !== SCHEMA_VERSION) {
    throw new PeelError(
      'ERR_UNSUPPORTED',
      `${what}: schemaVersion ${version}, this peel reads ${SCHEMA_VERSION}`,
    );
  }
  const starts = fields.size('starts');
  if (starts < 1 || starts > MAX_STARTS) {
    throw fields.invalid('starts', `is ${starts}, expected 1 to ${MAX_STARTS}`);
  }
  const layers = fields.digests('layers');
  const rows = fields.array('ranges');
  if (rows.length > MAX_RANGES) {
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `${what}: ${rows.length} ranges, expected at most ${MAX_RANGES}`,
    );
  }
  const ranges = rows.map((row, index) => {
    const range = parseRange(row, layers);
    if (range === undefined) {
      throw fields.invalid(`ranges[${index}]`, 'is not [layer, start, length, starts]');
    }
    return range;
  });
  const overlapping = findOverlap(ranges);
  if (overlapping !== undefined) {
    throw fields.invalid('ranges', `has bytes of layer ${overlapping} twice`);
  }
  return { image: fields.digest('image'), starts, ranges };
}

/** Whoever goes through the ranges goes through each byte of the image once, at most. */
function findOverlap(ranges: readonly TouchedRange[]): Digest | undefined {
  const ends = new Map<Digest, number>();
  for (const { layer, start, end } of ranges.toSorted((a, b) => a.start - b.start)) {
    if (start < (ends.get(layer) ?? 0)) return layer;
    ends.set(layer, end);
  }
  return undefined;
}

function parseRange(row: JsonValue, layers: readonly Digest[]): ProfiledRange | undefined {
  if (!Array.isArray(row) || row.length !== 4) return undefined;
  const [number, start, length, starts] = row as readonly JsonValue[];
  if (!isCount(number) || !isCount(start) || !isCount(length) || !isCount(starts)) return undefined;
  const layer = layers[number];
  const end = start + length;
  if (layer === undefined || length === 0 || !Number.isSafeInteger(end)) return undefined;
  if (starts < 1 || starts >= 2 ** MAX_STARTS) return undefined;
  return { layer, start: uncompressed(start), end: uncompressed(end), starts };
}

function isCount(value: JsonValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
