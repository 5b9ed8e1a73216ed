/**
 * Which spans hold a range, and which compressed ranges to ask for. Pure: no I/O, no state.
 *
 *   wanted spans      [3][4][5]      [8]            (6 and 7 are at hand)
 *   requests          |-- one --|    |one|          gaps are not fetched
 *
 * Neighbours go into one request until it would pass `maxBytes` of compressed bytes; a single span is never
 * cut, however large.
 */
import type { Span, Toc } from '../layer/toc.ts';
import type { UncompressedRange } from '../units.ts';

/** Spans by index, both ends included. */
export interface SpanRun {
  readonly first: number;
  readonly last: number;
}

/**
 * The spans that hold `range`.
 *
 * @throws RangeError when the range is empty or leaves the layer: the caller miscounted. O(log spans).
 */
export function spansOf(spans: readonly Span[], range: UncompressedRange): SpanRun {
  const size = spans.at(-1)?.end ?? 0;
  const inside = Number.isSafeInteger(range.start) && Number.isSafeInteger(range.end);
  if (!inside || range.start < 0 || range.end <= range.start || range.end > size) {
    throw new RangeError(`range ${range.start}-${range.end} is empty or leaves the layer of ${size} bytes`);
  }
  return { first: spanAt(spans, range.start), last: spanAt(spans, range.end - 1) };
}

/** The span that holds the byte at `offset`, which lies inside the layer. */
export function spanAt(spans: readonly Span[], offset: number): number {
  let low = 0;
  let high = spans.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (spanOf(spans, middle).end > offset) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The span with this index, which exists. */
export function spanOf(spans: readonly Span[], index: number): Span {
  const span = spans[index];
  if (span === undefined) throw new RangeError(`no span ${index}: the layer has ${spans.length}`);
  return span;
}

/**
 * Where the compressed bytes of a span begin when what lies before it is not counted: at its checkpoint, or,
 * where the checkpoint serves earlier spans too, where the span before ends.
 */
export function ownCompressedStart(toc: Pick<Toc, 'spans' | 'checkpoints'>, index: number): number {
  const span = spanOf(toc.spans, index);
  const checkpoint = toc.checkpoints[span.checkpoint];
  const before = index === 0 ? undefined : spanOf(toc.spans, index - 1);
  const start = checkpoint?.compressedOffset ?? 0;
  return before === undefined || before.checkpoint !== span.checkpoint
    ? start
    : Math.max(start, before.compressedEnd);
}

/** Groups `missing` (rising) into runs of neighbours, each at most `maxBytes` compressed or one span. */
export function planRequests(
  toc: Pick<Toc, 'spans' | 'checkpoints'>,
  missing: readonly number[],
  maxBytes: number,
): SpanRun[] {
  const runs: SpanRun[] = [];
  let current: { first: number; last: number; start: number } | undefined;
  for (const index of missing) {
    const end = spanOf(toc.spans, index).compressedEnd;
    if (current !== undefined && index === current.last + 1 && end - current.start <= maxBytes) {
      current.last = index;
      continue;
    }
    if (current !== undefined) runs.push({ first: current.first, last: current.last });
    current = { first: index, last: index, start: ownCompressedStart(toc, index) };
  }
  if (current !== undefined) runs.push({ first: current.first, last: current.last });
  return runs;
}
