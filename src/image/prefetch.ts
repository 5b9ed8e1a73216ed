/**
 * Brings ranges of an image's layers into the cache before they are read, in few requests and in the order in which they
 * will be. Everything goes the way of a read that nobody waits for: once a span, however many want it, verified, within the
 * limits of the cache, and behind whatever a reader waits for (blob/budget.ts).
 */
import type { LayerReader } from '../blob/layer-reader.ts';
import { spanOf, spansOf } from '../blob/plan.ts';
import { planPrefetch, type RankedRun, type WantedSpan } from '../blob/prefetch-plan.ts';
import { interruptionOf, PeelError } from '../errors.ts';
import type { TocIndex } from '../layer/toc.ts';
import type { Digest, UncompressedRange } from '../units.ts';
import type { OpenedLayers } from './opened-layers.ts';
import { spaceOf, type TouchedRange } from './start-profile.ts';

/** While one waits for its first byte the other fills the line; the more there are, the less of it is left for a miss. */
const RUNS_AT_ONCE = 2;

/** Told of compressed bytes. */
export type OnPrefetched = (done: number, total: number) => void;

/** Bytes of a layer (0 = lowest). */
export interface LayerRange extends UncompressedRange {
  readonly layer: number;
}

interface PlannedRun {
  readonly reader: LayerReader;
  readonly run: RankedRun;
}

export interface PrefetchPlan {
  readonly runs: readonly PlannedRun[];
  /** Compressed bytes that the runs bring. */
  readonly bytes: number;
}

interface MissingSpan extends WantedSpan {
  readonly reader: LayerReader;
  readonly toc: TocIndex;
  /** Uncompressed. */
  readonly range: UncompressedRange;
}

/** Where ranges of a profile lie in the image, in the same order; those that are not in it are left out. */
export async function locate(
  layers: OpenedLayers,
  ranges: readonly TouchedRange[],
): Promise<readonly LayerRange[]> {
  const found = new Map<Digest, { readonly layer: number; readonly size: number }>();
  for (let layer = layers.count - 1; layer >= 0; layer -= 1) {
    const { toc } = await layers.open(layer);
    found.set(spaceOf(toc), { layer, size: toc.spans.at(-1)?.end ?? 0 });
  }
  return ranges.flatMap(({ layer, start, end }) => {
    const space = found.get(layer);
    return space === undefined || end > space.size ? [] : [{ layer: space.layer, start, end }];
  });
}

/**
 * What has to be fetched for `ranges`, which are read in this order and lie inside their layers. `maxBytes`: uncompressed,
 * of what is needed first; the rest is left out. @throws PeelError where a layer cannot be opened.
 */
export async function planRanges(
  layers: OpenedLayers,
  ranges: readonly LayerRange[],
  maxBytes = Number.POSITIVE_INFINITY,
): Promise<PrefetchPlan> {
  const taken = new Map<LayerReader, MissingSpan[]>();
  let bytes = 0;
  for (const each of await missingSpans(layers, ranges)) {
    bytes += each.range.end - each.range.start;
    if (bytes > maxBytes) break;
    const others = taken.get(each.reader);
    if (others === undefined) taken.set(each.reader, [each]);
    else others.push(each);
  }
  const runs = [...taken].flatMap(([reader, wanted]) => {
    const toc = wanted[0]?.toc;
    return toc === undefined ? [] : planPrefetch(toc, wanted).map((run) => ({ reader, run }));
  });
  runs.sort((a, b) => a.run.rank - b.run.rank);
  return { runs, bytes: runs.reduce((sum, { run }) => sum + run.bytes, 0) };
}

/** Spans of the ranges that are not at hand, in the order in which they are read. */
async function missingSpans(layers: OpenedLayers, ranges: readonly LayerRange[]): Promise<MissingSpan[]> {
  const ofLayers = new Map<number, [rank: number, range: LayerRange][]>();
  for (const [rank, range] of ranges.entries()) {
    const layer = layers.lowestOf(range.layer);
    const others = ofLayers.get(layer);
    if (others === undefined) ofLayers.set(layer, [[rank, range]]);
    else others.push([rank, range]);
  }
  const missing: MissingSpan[] = [];
  for (const [layer, ofLayer] of ofLayers) {
    const { reader, toc } = await layers.open(layer);
    const rankOf = ranksOf(toc, ofLayer);
    const rising = [...rankOf.keys()].sort((a, b) => a - b);
    for (const span of await reader.missingOf(rising)) {
      missing.push({ reader, toc, span, rank: rankOf.get(span) ?? 0, range: spanOf(toc.spans, span) });
    }
  }
  return missing.sort((a, b) => a.rank - b.rank);
}

/** The spans of some ranges, each with its lowest rank. */
function ranksOf(
  { spans }: Pick<TocIndex, 'spans'>,
  ranges: readonly (readonly [rank: number, range: LayerRange])[],
): Map<number, number> {
  const rankOf = new Map<number, number>();
  for (const [rank, range] of ranges) {
    const { first, last } = spansOf(spans, range);
    // Ranks rise: the first is the lowest.
    for (let span = first; span <= last; span += 1) if (!rankOf.has(span)) rankOf.set(span, rank);
  }
  return rankOf;
}

/** Fetches it; what fails is left for whoever reads it. `onRun` is told of each request's bytes when it has ended. */
export async function fetchPlan(
  { runs }: PrefetchPlan,
  signal: AbortSignal,
  onRun: (bytes: number) => void = () => undefined,
): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < runs.length && !signal.aborted) {
      const each = runs[next];
      next += 1;
      if (each === undefined) return;
      await each.reader.bring(each.run);
      onRun(each.run.bytes);
    }
  };
  await Promise.all(Array.from({ length: RUNS_AT_ONCE }, work));
}

/**
 * The same for somebody who waits for it. `onProgress` is told of compressed bytes.
 * @throws PeelError what reading a range says that could not be fetched; ERR_CACHE where the cache does not keep it.
 */
export async function prefetchRanges(
  layers: OpenedLayers,
  ranges: readonly LayerRange[],
  signal: AbortSignal,
  onProgress: OnPrefetched,
): Promise<PrefetchPlan> {
  const plan = await planRanges(layers, ranges);
  let done = 0;
  onProgress(0, plan.bytes);
  await fetchPlan(plan, signal, (bytes) => {
    done += bytes;
    onProgress(done, plan.bytes);
  });
  if (signal.aborted) throw interruptionOf(signal, 'fetching ahead');
  const [lacking] = await missingSpans(layers, ranges);
  if (lacking === undefined) return plan;
  const { reader, toc, span, range } = lacking;
  // Why it did not come.
  await reader.read(range, signal);
  throw new PeelError(
    'ERR_CACHE',
    `span ${span} of layer ${toc.digest} was fetched, and the cache does not keep it: it needs more room (--cache-max-size, --cache-min-free, or a larger disk)`,
    { facts: { layer: toc.digest, span } },
  );
}
