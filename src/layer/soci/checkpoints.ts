/**
 * The restart points of a ztoc, as spans and checkpoints of ours. Gzip, all little-endian:
 *
 *   i32 count · i64 span size · count × (i64 in · i64 out · u8 bits · 32 KiB of window)
 *
 * `in` is the first byte after the boundary, `bits` how many high bits of the byte before it are the next block's. The
 * first version left out the first of them and took it to be at 10 (`first-span.ts`). A layer that is not compressed has
 * a size of spans alone.
 */
import { compressed, uncompressed } from '../../units.ts';
import { MAX_CHUNK_BYTES } from '../chunks/place-chunks.ts';
import type { Checkpoint, Span } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';
import { FlatTable } from './flat-table.ts';

export interface SociSpans {
  readonly checkpoints: Checkpoint[];
  readonly spans: Span[];
  /** Packed, back to back. */
  readonly windows: Buffer;
}

export interface ArchiveSizes {
  readonly compressed: number;
  readonly uncompressed: number;
  /** As many as there are digests: no more are made of what the restart points say. */
  readonly spans: number;
}

const WINDOW_BYTES = 32_768;
const HEADER_BYTES = 4 + 8;
const POINT_BYTES = 8 + 8 + 1 + WINDOW_BYTES;
/** Of a gzip header without extra fields: where version 1 takes the first span to begin. */
const PLAIN_GZIP_HEADER = 10;

interface Point {
  /** First whole byte of it in the blob. */
  readonly in: number;
  readonly out: number;
  readonly bits: number;
  readonly window: Buffer;
}

/** @throws UnusableIndex */
export function gzipSpans(blob: Buffer, sizes: ArchiveSizes): SociSpans {
  const points = readPoints(blob);
  checkCount(points.length, sizes);
  const checkpoints: Checkpoint[] = [];
  const spans: Span[] = [];
  const windows: Buffer[] = [];
  let windowOffset = 0;
  points.forEach((point, index) => {
    const next = points[index + 1];
    const end = next?.out ?? sizes.uncompressed;
    const compressedEnd = next?.in ?? sizes.compressed;
    const start = point.in - (point.bits > 0 ? 1 : 0);
    if (end <= point.out || compressedEnd <= start || compressedEnd > sizes.compressed) {
      throw new UnusableIndex('its restart points do not rise, or leave the layer');
    }
    checkSpan(end - point.out, compressedEnd - start);
    const window = index === 0 ? Buffer.alloc(0) : packed(point.window);
    windows.push(window);
    checkpoints.push({
      compressedOffset: compressed(start),
      uncompressedOffset: uncompressed(point.out),
      bits: point.bits === 0 ? 0 : 8 - point.bits,
      windowOffset,
      windowLength: window.length,
    });
    windowOffset += window.length;
    spans.push(spanOf(index, point.out, end, compressedEnd));
  });
  return { checkpoints, spans, windows: Buffer.concat(windows) };
}

/** @throws UnusableIndex */
export function plainSpans(blob: Buffer, sizes: ArchiveSizes): SociSpans {
  const size = FlatTable.root(blob).size(1);
  if (sizes.compressed !== sizes.uncompressed || size === 0) throw new UnusableIndex('sizes that cannot be');
  checkSpan(size, size);
  checkCount(Math.ceil(sizes.uncompressed / size), sizes);
  const checkpoints: Checkpoint[] = [];
  const spans: Span[] = [];
  for (let start = 0; start < sizes.uncompressed; start += size) {
    const end = Math.min(start + size, sizes.uncompressed);
    checkpoints.push({
      compressedOffset: compressed(start),
      uncompressedOffset: uncompressed(start),
      bits: 0,
      windowOffset: 0,
      windowLength: 0,
    });
    spans.push(spanOf(checkpoints.length - 1, start, end, end));
  }
  return { checkpoints, spans, windows: Buffer.alloc(0) };
}

function readPoints(blob: Buffer): Point[] {
  if (blob.length < HEADER_BYTES) throw new UnusableIndex('its restart points are cut short');
  const count = blob.readInt32LE(0);
  const stored = (blob.length - HEADER_BYTES) / POINT_BYTES;
  if (count < 1 || (stored !== count && stored !== count - 1)) {
    throw new UnusableIndex(`it has ${stored} restart points and says ${count}`);
  }
  const points: Point[] = [];
  if (stored === count - 1) points.push({ in: PLAIN_GZIP_HEADER, out: 0, bits: 0, window: Buffer.alloc(0) });
  for (let at = HEADER_BYTES; at < blob.length; at += POINT_BYTES) {
    const point = {
      in: Number(blob.readBigInt64LE(at)),
      out: Number(blob.readBigInt64LE(at + 8)),
      bits: blob.readUInt8(at + 16),
      window: blob.subarray(at + 17, at + POINT_BYTES),
    };
    if (!Number.isSafeInteger(point.in) || !Number.isSafeInteger(point.out) || point.bits > 7) {
      throw new UnusableIndex('a restart point that cannot be');
    }
    points.push(point);
  }
  if (points[0]?.out !== 0 || points[0].bits !== 0 || points[0].in < PLAIN_GZIP_HEADER) {
    throw new UnusableIndex('its first restart point is not at the beginning');
  }
  return points;
}

function checkCount(spans: number, sizes: ArchiveSizes): void {
  if (spans !== sizes.spans) throw new UnusableIndex(`${sizes.spans} digests for ${spans} spans`);
}

function checkSpan(length: number, storedLength: number): void {
  if (length > MAX_CHUNK_BYTES || storedLength > 2 * MAX_CHUNK_BYTES) {
    throw new UnusableIndex(
      `a span of ${length} bytes (${storedLength} stored), at most ${MAX_CHUNK_BYTES} are verified at once`,
    );
  }
}

/** What its uncompressed bytes must be is not known before they were first decompressed: zeros until then. */
function spanOf(checkpoint: number, start: number, end: number, compressedEnd: number): Span {
  return {
    start: uncompressed(start),
    end: uncompressed(end),
    checkpoint,
    compressedEnd: compressed(compressedEnd),
    sha256: Buffer.alloc(32),
  };
}

/** In the form of native/window.h: its size, one run, none skipped, all of it. */
function packed(window: Buffer): Buffer {
  const length = Buffer.from([0x80, 0x80, 0x02]);
  return Buffer.concat([length, Buffer.from([1, 0]), length, window]);
}
