/**
 * Brings missing spans of a layer from its source: request, decompress, verify, hand over, keep.
 *
 * No byte is handed over or kept before the sha256 of its span was compared. A span that is wrong is fetched
 * once more; wrong again, it fails for those who wait, and nothing is remembered of it (F14).
 *
 * Where one checkpoint serves several spans, decompression passes over those before the wanted one. They
 * are verified and kept too, one after the other, and such fetches take turns: the next goes on where the
 * one before stopped, so that a layer of one zstd frame is fetched once, however it is read.
 *
 * What a reader waits for is asked of the source before what is only fetched ahead of one (budget.ts).
 */
import { PeelError } from '../errors.ts';
import { isKnown } from '../layer/learned-sums.ts';
import { cacheKeyOf } from '../layer/own-index.ts';
import { log } from '../log.ts';
import { sha256 } from '../native.ts';
import type { CompressedRange } from '../units.ts';
import { Budget } from './budget.ts';
import { BadSpan, type DecodedSpan, type LayerIndex, type Run, WrongSpan } from './decode-run.ts';
import { fetchSpans } from './fetch-spans.ts';
import type { MemoryCache } from './memory-cache.ts';
import { openRun } from './open-run.ts';
import { planRequests, type SpanRun, spanOf } from './plan.ts';
import type { RangeSource } from './range-source.ts';
import type { SpanFlights, SpanJob } from './single-flight.ts';
import type { SpanCache } from './span-cache.ts';

/** A run put aside holds its decoder's memory (zstd: its window); after so long without use it is let go. */
const PARK_MS = 30_000;

export interface FetchStats {
  /** Requests made to the source. */
  requests: number;
  /** Compressed bytes that came. */
  fetchedBytes: number;
  fetchedSpans: number;
  /** Spans whose bytes were not the ones indexed. */
  badSpans: number;
}

export interface FetcherParts {
  readonly index: LayerIndex;
  readonly source: RangeSource;
  readonly cache: SpanCache | undefined;
  readonly memory: MemoryCache;
  readonly flights: SpanFlights;
  readonly inflight: Budget;
  readonly maxRequestBytes: number;
}

export class SpanFetcher {
  readonly stats: FetchStats = { requests: 0, fetchedBytes: 0, fetchedSpans: 0, badSpans: 0 };
  readonly #parts: FetcherParts;
  /** One turn at a time for each checkpoint that serves several spans. */
  readonly #turns = new Map<number, Budget>();
  #parked: { run: Run; timer: NodeJS.Timeout } | undefined;
  #isClosed = false;

  constructor(parts: FetcherParts) {
    this.#parts = parts;
  }

  /** Brings `spans` (rising), as the job's own. Never rejects: what cannot be had fails in the job. */
  async fetch(spans: readonly number[], job: SpanJob): Promise<void> {
    const runs = planRequests(this.#parts.index.toc, spans, this.#parts.maxRequestBytes);
    await Promise.all(runs.map((run) => this.#fetchInTurn(run, job)));
  }

  close(): void {
    this.#isClosed = true;
    this.#unpark()?.close();
  }

  async #fetchInTurn(run: SpanRun, job: SpanJob): Promise<void> {
    // All queued for at the same moment: who comes first is first in each queue, so no two wait for each other.
    const queued = [...this.#turnsOf(run)].map((turn) => turn.acquire(1, job.signal));
    // Who has the turn may stand in line ahead of any reader: with us behind it, it is wanted.
    this.#parts.inflight.reconsider();
    const turns = await Promise.allSettled(queued);
    try {
      job.signal.throwIfAborted();
      await this.#fetchRun(run, job);
    } catch (error) {
      for (let span = run.first; span <= run.last; span += 1) job.fail(span, error);
    } finally {
      for (const turn of turns) if (turn.status === 'fulfilled') turn.value();
    }
  }

  async #fetchRun({ first, last }: SpanRun, job: SpanJob): Promise<void> {
    const isRefetched = new Set<number>();
    let next = first;
    let end = last;
    for (;;) {
      // Another job may have passed over some of them meanwhile.
      while (next <= end && !job.isPending(next)) next += 1;
      while (end >= next && !job.isPending(end)) end -= 1;
      if (next > end) return;
      try {
        await this.#fetchFrom(next, end, job);
        return;
      } catch (error) {
        if (!(error instanceof BadSpan)) throw error;
        this.stats.badSpans += 1;
        log().warn({ layer: this.#digest, span: error.span, found: error.message }, 'a span came out wrong');
        if (isRefetched.has(error.span)) next = this.#giveUp(error, next, last, job);
        isRefetched.add(error.span);
      }
    }
  }

  /** One request: from the checkpoint of `next`, or from where an earlier run stopped, to the end of `last`. */
  async #fetchFrom(next: number, last: number, job: SpanJob): Promise<void> {
    const { index, source, inflight, cache } = this.#parts;
    const run = this.#resume(next) ?? (await openRun(index, spanOf(index.toc.spans, next).checkpoint));
    let isUsable = true;
    try {
      const passed = { first: run.nextSpan, last: next - 1 };
      const uses = passed.first <= passed.last ? await cache?.lastUses(passed.first, passed.last) : undefined;
      const isKept = (span: number): boolean => span < next && (uses?.[span - passed.first] ?? 0) !== 0;
      const isOfChunks = index.toc.own?.gaps !== undefined;
      for (let span = passed.first; span <= passed.last; span += 1)
        if (!isKept(span) && !isOfChunks) job.adopt(span);

      const range: CompressedRange = { start: run.fedTo, end: spanOf(index.toc.spans, last).compressedEnd };
      const turns = [...this.#turnsOf({ first: next, last })];
      const isWanted = (): boolean =>
        job.isWaitedFor(Math.min(passed.first, next), last) || turns.some((turn) => turn.hasWaiting);
      const release = await inflight.acquire(Math.max(1, range.end - range.start), job.signal, isWanted);
      try {
        if (range.start < range.end) this.stats.requests += 1;
        const onBytes = (count: number): void => {
          this.stats.fetchedBytes += count;
        };
        for await (const decoded of fetchSpans(source, run, range, last, job.signal, onBytes)) {
          if (isKept(decoded.span) && this.#parts.flights.find(decoded.span) === undefined) continue;
          await this.#accept(decoded, decoded.span >= next);
        }
      } finally {
        release();
      }
    } catch (error) {
      isUsable = !(error instanceof BadSpan);
      if (isUsable) for (let span = run.nextSpan; span < next; span += 1) job.fail(span, error);
      throw error;
    } finally {
      if (isUsable) this.#park(run);
      else run.close();
    }
  }

  /** Verifies; only then hands over and keeps. Spans that were only passed over do not fill the memory. */
  async #accept({ span, bytes }: DecodedSpan, isWanted: boolean): Promise<void> {
    const { index, flights, memory, cache } = this.#parts;
    const sum = await sha256(bytes);
    // What was decompressed was verified as it is stored: that is what the index has a digest of.
    // Of headers alone there is nothing to verify the first bytes with; later ones have to be the same.
    if (index.toc.own?.stored !== undefined || this.#isNews(span)) {
      await index.learn?.(span, sum);
    } else if (!sum.equals(spanOf(index.toc.spans, span).sha256)) {
      // A chunk that lies on the way is another file's: an index can be wrong about that one alone (E133).
      if (!isWanted && index.toc.own?.gaps !== undefined) return;
      throw new WrongSpan(span);
    }
    this.stats.fetchedSpans += 1;
    if (isWanted || flights.find(span)?.hasWaiters === true) memory.keep(this.#key, span, bytes);
    flights.land(span, bytes);
    await cache?.store(span, bytes);
  }

  /** Whether nothing is known of the bytes of a span. */
  #isNews(span: number): boolean {
    const { own, spans } = this.#parts.index.toc;
    return own?.format === 'headers' && !isKnown(spanOf(spans, span).sha256);
  }

  /** Fails the bad span and all that cannot be decompressed without passing over it; the span to go on with. */
  #giveUp(bad: BadSpan, next: number, last: number, job: SpanJob): number {
    const { toc } = this.#parts.index;
    const { start, end, checkpoint } = spanOf(toc.spans, bad.span);
    const named =
      toc.own === undefined
        ? 'the layer had when it was verified'
        : toc.own.format === 'headers'
          ? 'it gave before'
          : 'the index of the layer names';
    const error = new PeelError(
      'ERR_DIGEST_MISMATCH',
      `span ${bad.span} of layer ${this.#digest} (uncompressed bytes ${start} to ${end}): ${bad.message}, in two fetches; ` +
        `the source does not give the bytes that ${named}`,
      {
        facts: {
          layer: this.#digest,
          span: bad.span,
          offset: start,
          compressedOffset: toc.checkpoints[checkpoint]?.compressedOffset ?? 0,
        },
        cause: bad,
      },
    );
    let span = bad.span;
    const passesOverIt = (other: number): boolean => {
      // `next` did, whatever its checkpoint: the fetch began where it had to.
      if (other <= next) return true;
      // It came out, and only its digest is wrong: what follows it has digests of the same index.
      if (toc.own !== undefined && bad instanceof WrongSpan) return false;
      const from = toc.checkpoints[spanOf(toc.spans, other).checkpoint]?.uncompressedOffset ?? 0;
      return from < end;
    };
    while (span <= last && passesOverIt(span)) {
      job.fail(span, error);
      span += 1;
    }
    return span;
  }

  get #digest() {
    return this.#parts.index.toc.digest;
  }

  get #key() {
    return cacheKeyOf(this.#parts.index.toc);
  }

  /**
   * A run waits for the one that passes over its first span, and keeps those waiting that could go on after
   * its last.
   */
  #turnsOf({ first, last }: SpanRun): Set<Budget> {
    const turns = new Set<Budget>();
    const { spans } = this.#parts.index.toc;
    for (const span of [first, last]) {
      const { checkpoint } = spanOf(spans, span);
      if (spans[span - 1]?.checkpoint !== checkpoint && spans[span + 1]?.checkpoint !== checkpoint) continue;
      const turn = this.#turns.get(checkpoint) ?? new Budget(1);
      this.#turns.set(checkpoint, turn);
      turns.add(turn);
    }
    return turns;
  }

  /** Keeps a run for later where going on with it would be cheaper than beginning at a checkpoint. */
  #park(run: Run): void {
    const { toc } = this.#parts.index;
    const following = toc.spans[run.nextSpan];
    const from = following === undefined ? undefined : toc.checkpoints[following.checkpoint];
    const isAhead =
      following !== undefined && from !== undefined && from.uncompressedOffset < following.start;
    if (!isAhead || this.#isClosed) {
      run.close();
      return;
    }
    this.#unpark()?.close();
    const timer = setTimeout(() => this.#unpark()?.close(), PARK_MS);
    timer.unref();
    this.#parked = { run, timer };
  }

  #resume(span: number): Run | undefined {
    const { toc } = this.#parts.index;
    const parked = this.#parked?.run;
    if (parked === undefined || parked.nextSpan > span) return undefined;
    const from = toc.checkpoints[spanOf(toc.spans, span).checkpoint]?.uncompressedOffset ?? 0;
    return spanOf(toc.spans, parked.nextSpan).start > from ? this.#unpark() : undefined;
  }

  #unpark(): Run | undefined {
    const parked = this.#parked;
    this.#parked = undefined;
    clearTimeout(parked?.timer);
    return parked?.run;
  }
}
