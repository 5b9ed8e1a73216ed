/**
 * Which requests bring spans that will be read, before anybody reads them. Pure: no I/O, no state.
 *
 *   wanted, by rank   [4]     [1][2]   [3]                 ranks: the order in which they will be read
 *   joined            [4]     [1][2]-gap-[3]               the gap costs less than a request of its own
 *   requests          second  first                        by the lowest rank that each brings
 *
 * A request costs a round trip; so does a gap of as many bytes as the line carries in that time. Gaps are joined, the
 * smallest first, as long as all of them together stay a small share of what is wanted: where that is little, or lies
 * far apart, exactly what is wanted is fetched.
 */
import type { Toc } from '../layer/toc.ts';
import { ownCompressedStart, planRequests, type SpanRun, spanOf } from './plan.ts';

/** A round trip of 50 ms at 100 Mbit/s. On a faster line both kinds of cost are small, and the share below decides. */
const MAX_GAP_BYTES = 625_000;
/** Bytes of gaps to wanted bytes. */
const MAX_GAP_SHARE = 1 / 32;
/** With four requests under way more than a round trip's worth of bytes; twice as much: a reader waits longer for its end. */
const MAX_RUN_BYTES = 1024 * 1024;

export interface WantedSpan {
  readonly span: number;
  /** Lower: read earlier. */
  readonly rank: number;
}

export interface RankedRun extends SpanRun {
  readonly rank: number;
  /** Compressed bytes. */
  readonly bytes: number;
}

/** Requests for `wanted` (any order, no span twice), the ones that are needed first in front. O(n log n). */
export function planPrefetch(
  toc: Pick<Toc, 'spans' | 'checkpoints'>,
  wanted: readonly WantedSpan[],
): RankedRun[] {
  const rising = wanted.toSorted((a, b) => a.span - b.span);
  const bytesOf = ({ first, last }: SpanRun): number =>
    spanOf(toc.spans, last).compressedEnd - ownCompressedStart(toc, first);
  const spans = withGaps(toc, rising);
  const runs = planRequests(toc, spans, MAX_RUN_BYTES);
  const ranked: RankedRun[] = [];
  let at = 0;
  for (const run of runs) {
    let rank = Number.POSITIVE_INFINITY;
    for (; at < rising.length; at += 1) {
      const next = rising[at];
      if (next === undefined || next.span > run.last) break;
      rank = Math.min(rank, next.rank);
    }
    // One of gaps alone, where the cut fell so, is left out.
    if (rank !== Number.POSITIVE_INFINITY) ranked.push({ ...run, rank, bytes: bytesOf(run) });
  }
  return ranked.sort((a, b) => a.rank - b.rank);
}

/** The wanted spans and those of the gaps that are joined, rising. */
function withGaps(toc: Pick<Toc, 'spans' | 'checkpoints'>, rising: readonly WantedSpan[]): number[] {
  const gaps: { readonly first: number; readonly last: number; readonly bytes: number }[] = [];
  let wantedBytes = 0;
  let before: number | undefined;
  for (const { span } of rising) {
    const start = ownCompressedStart(toc, span);
    wantedBytes += spanOf(toc.spans, span).compressedEnd - start;
    if (before !== undefined && span > before + 1) {
      gaps.push({
        first: before + 1,
        last: span - 1,
        bytes: start - spanOf(toc.spans, before).compressedEnd,
      });
    }
    before = span;
  }
  const spans = rising.map(({ span }) => span);
  let room = wantedBytes * MAX_GAP_SHARE;
  for (const { first, last, bytes } of gaps.sort((a, b) => a.bytes - b.bytes)) {
    if (bytes > MAX_GAP_BYTES || bytes > room) break;
    room -= bytes;
    for (let span = first; span <= last; span += 1) spans.push(span);
  }
  return spans.sort((a, b) => a - b);
}
