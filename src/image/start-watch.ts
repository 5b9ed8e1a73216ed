/**
 * The start of a program on a mounted image: what it reads is noted, and what earlier starts read is fetched ahead.
 *
 *   mount ··· first read ──── reads ──── quiet for 10 s, or a minute over, or closed ─► noted in the profile
 *                 └─ if earlier starts read it, too: what they read is fetched, in that order
 *
 * A profile that was given is replayed before anything is read; else nothing is fetched for a mount that nobody reads.
 * Spans are noted where a read comes by here: misses do, and the native threads tell of each span that they read by
 * themselves for the first time, so that a warm cache is noted like a cold one and the hot path does nothing for it. A
 * start that reads very much is a scan, and says nothing about the next.
 */
import { spansOf } from '../blob/plan.ts';
import type { TocIndex } from '../layer/toc.ts';
import { log } from '../log.ts';
import type { Digest, UncompressedRange } from '../units.ts';
import type { OpenedLayers } from './opened-layers.ts';
import { fetchPlan, locate, planRanges } from './prefetch.ts';
import type { ProfileStore } from './profile-store.ts';
import { addStart, type StartProfile, spaceOf, stableRanges, type TouchedRange } from './start-profile.ts';

const QUIET_MS = 10_000;
const LONGEST_MS = 60_000;
/** Spans of a start: 256 MiB, at 256 KiB each. */
const MAX_SPANS = 1024;
/** Of the tars, fetched ahead: what as large a start reads. */
const MAX_REPLAYED_BYTES = 256 * 1024 * 1024;

export interface StartWatchParts {
  readonly image: Digest;
  readonly layers: OpenedLayers;
  readonly store: ProfileStore;
  /** Used in place of the one in the store. */
  readonly profile: StartProfile | undefined;
  /** Bytes that the cache may take: at most half of it is fetched ahead. */
  readonly cacheSize: number;
}

export class StartWatch {
  readonly #parts: StartWatchParts;
  readonly #touched: TouchedRange[] = [];
  /** `layer/span` */
  readonly #seen = new Set<string>();
  readonly #closing = new AbortController();
  /** What may be replayed; undefined until it is loaded, and once it is being replayed. */
  #waiting: readonly TouchedRange[] | undefined;
  /** Somebody reads what starts read. */
  #isWanted: boolean;
  /** Every layer can be read. */
  #isPrepared = false;
  #work: Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  #firstMs = 0;
  #isOver = false;

  constructor(parts: StartWatchParts) {
    this.#parts = parts;
    // Who names a profile says that this start is one.
    this.#isWanted = parts.profile !== undefined;
    parts.layers.onTouch = (toc, range) => this.#note(toc, range);
    this.#work = this.#load();
  }

  /** All layers are indexed: before that whoever fetches is in the way of that. */
  prepared(): void {
    this.#isPrepared = true;
    this.#replayIfDue();
  }

  /** Ends it; what was noted until now is kept. Never fails. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#end();
    await this.#work;
  }

  async #load(): Promise<void> {
    const { image, store, profile } = this.#parts;
    const found = profile ?? (await store.load(image));
    if (found === undefined) return;
    this.#waiting = stableRanges(found);
    for (const touched of this.#touched) this.#compare(touched);
    this.#replayIfDue();
  }

  #note(toc: TocIndex, range: UncompressedRange): void {
    const layer = spaceOf(toc);
    const { first, last } = spansOf(toc.spans, range);
    for (let index = first; index <= last; index += 1) {
      const span = toc.spans[index];
      const key = `${layer}/${index}`;
      if (this.#isOver) return;
      if (span === undefined || this.#seen.has(key)) continue;
      this.#seen.add(key);
      const touched = { layer, start: span.start, end: span.end };
      this.#touched.push(touched);
      this.#compare(touched);
      this.#expectMore();
    }
  }

  /** The end is so long after the last news, and never too late. */
  #expectMore(): void {
    const now = performance.now();
    if (this.#firstMs === 0) this.#firstMs = now;
    const leftMs = Math.min(QUIET_MS, this.#firstMs + LONGEST_MS - now);
    if (leftMs <= 0 || this.#touched.length > MAX_SPANS) {
      this.#end();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#end(), leftMs);
    this.#timer.unref();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#parts.layers.onTouch = undefined;
    const touched = this.#touched;
    if (touched.length === 0 || touched.length > MAX_SPANS) return;
    const before = this.#work;
    this.#work = this.#save(touched).then(() => before);
  }

  async #save(touched: readonly TouchedRange[]): Promise<void> {
    const { image, store } = this.#parts;
    try {
      await store.save(addStart(await store.load(image), image, touched));
    } catch (error) {
      log().debug({ image, err: error }, 'the cache could not note what the start read');
    }
  }

  #compare({ layer, start, end }: TouchedRange): void {
    if (this.#isWanted || this.#waiting === undefined) return;
    this.#isWanted = this.#waiting.some(
      (range) => range.layer === layer && range.start < end && start < range.end,
    );
    this.#replayIfDue();
  }

  #replayIfDue(): void {
    const ranges = this.#waiting;
    if (ranges === undefined || !this.#isWanted || !this.#isPrepared || this.#closing.signal.aborted) return;
    this.#waiting = undefined;
    const before = this.#work;
    this.#work = Promise.all([before, this.#replay(ranges)]).then(() => undefined);
  }

  async #replay(ranges: readonly TouchedRange[]): Promise<void> {
    const { image, layers, cacheSize, profile } = this.#parts;
    try {
      const located = await locate(layers, ranges);
      const strays = ranges.length - located.length;
      if (strays > 0 && profile !== undefined) {
        log().warn(
          { image, strays },
          `${strays} of ${ranges.length} ranges of the profile are not in the image, and were left out`,
        );
      }
      const plan = await planRanges(layers, located, Math.min(MAX_REPLAYED_BYTES, cacheSize / 2));
      log().debug({ image, requests: plan.runs.length, bytes: plan.bytes }, 'replaying what starts read');
      await fetchPlan(plan, this.#closing.signal);
    } catch (error) {
      // Whoever reads it is told, should it be for good.
      log().debug({ image, err: error }, 'what earlier starts read could not be fetched ahead');
    }
  }
}
