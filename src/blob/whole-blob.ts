/**
 * All bytes of a blob, in order, for the one pass that indexes a layer.
 *
 *   one request ─► is the reader waiting for the network? ── no ──► the same request to the end
 *                                    └── yes ─► segments, several requests at once, handed on in order
 *
 * A single connection is often limited by itself (a window over a long way, a share of a CDN); several get more.
 * Where the reader is the limit, or the server does not know ranges, one request is all there ever is.
 */
import { type CompressedOffset, type CompressedRange, compressed } from '../units.ts';
import type { RangeSource } from './range-source.ts';

/** What is read before it is judged; also what must be left for segments to be worth their requests. */
const PROBE_BYTES = 8 * 1024 * 1024;
/** Of one request of several. Half as much: twice the requests; twice as much: more held in memory. */
const SEGMENT_BYTES = 4 * 1024 * 1024;
/** A registry allows a client about eight connections, and two layers are read at once. */
const CONNECTIONS = 4;
/** Share of the time spent waiting for bytes from which the network is the limit. */
const WAITING_SHARE = 0.8;
/** A probe that took less is fast enough, whoever was waited for: more than 40 MB/s. */
const FAST_PROBE_MS = 200;

/** Yields the blob's bytes; errors and `signal` as `RangeSource.fetch`. Holds at most 16 MiB. */
export async function* readWholeBlob(source: RangeSource, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  if (source.size === 0) return;
  const ending = new AbortController();
  const either = signal === undefined ? ending.signal : AbortSignal.any([signal, ending.signal]);
  try {
    const at = yield* readUntilSlow(source, either);
    if (at === undefined) return;
    // One segment by itself shows whether the server knows ranges.
    const probe = await readSegment(source, segmentAt(at, source.size), either);
    yield* probe;
    const rest = compressed(Math.min(at + SEGMENT_BYTES, source.size));
    if (rest === source.size) return;
    if (source.ignoresRanges === true) yield* source.fetch({ start: rest, end: endOf(source) }, either);
    else yield* readInSegments(source, rest, either);
  } finally {
    ending.abort();
  }
}

/** From the start on; the offset that was reached when the network was found to be the limit. */
async function* readUntilSlow(
  source: RangeSource,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, CompressedOffset | undefined> {
  let at = 0;
  let waitedMs = 0;
  let isJudged = source.size < 3 * PROBE_BYTES;
  const startedMs = performance.now();
  let askedMs = startedMs;
  for await (const chunk of source.fetch({ start: compressed(0), end: endOf(source) }, signal)) {
    waitedMs += performance.now() - askedMs;
    at += chunk.length;
    yield chunk;
    if (!isJudged && at >= PROBE_BYTES) {
      isJudged = true;
      const elapsedMs = performance.now() - startedMs;
      if (elapsedMs > FAST_PROBE_MS && waitedMs > WAITING_SHARE * elapsedMs) return compressed(at);
    }
    askedMs = performance.now();
  }
  return undefined;
}

async function* readInSegments(
  source: RangeSource,
  from: CompressedOffset,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const coming: Promise<Uint8Array[]>[] = [];
  let next = from;
  const ask = (): void => {
    if (next >= source.size) return;
    const range = segmentAt(next, source.size);
    const segment = readSegment(source, range, signal);
    // It may fail while an earlier one is being handed on; it is awaited in its turn.
    segment.catch(() => {});
    coming.push(segment);
    next = range.end;
  };
  for (let connection = 0; connection < CONNECTIONS; connection += 1) ask();
  for (let segment = coming.shift(); segment !== undefined; segment = coming.shift()) {
    const chunks = await segment;
    ask();
    yield* chunks;
  }
}

async function readSegment(
  source: RangeSource,
  range: CompressedRange,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.fetch(range, signal)) chunks.push(chunk);
  return chunks;
}

function segmentAt(start: CompressedOffset, size: number): CompressedRange {
  return { start, end: compressed(Math.min(start + SEGMENT_BYTES, size)) };
}

function endOf(source: RangeSource): CompressedOffset {
  return compressed(source.size);
}
