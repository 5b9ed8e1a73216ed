/**
 * Reads ranges of one layer's tar: from memory, else from the cache on disk, else from the source.
 *
 *   read ─► spans ─► memory ─► flight under way ─► disk (verified) ─► one request for neighbours (verified)
 *
 * A span is brought once, however many readers want it; a reader that gives up leaves at once. Every read has
 * a deadline (P8). A failure is not remembered.
 */
import { setMaxListeners } from 'node:events';
import { interruptionOf, PeelError } from '../errors.ts';
import { cacheKeyOf } from '../layer/own-index.ts';
import { log } from '../log.ts';
import { sha256 } from '../native.ts';
import type { Digest, UncompressedOffset, UncompressedRange } from '../units.ts';
import { Budget, MAX_INFLIGHT_BYTES } from './budget.ts';
import type { LayerIndex } from './decode-run.ts';
import type { MemoryCache } from './memory-cache.ts';
import { type SpanRun, spanAt, spanOf, spansOf } from './plan.ts';
import type { RangeSource } from './range-source.ts';
import { DEFAULT_READAHEAD_BYTES, Readahead } from './readahead.ts';
import { type Flight, SpanFlights, type SpanJob } from './single-flight.ts';
import type { SpanCache } from './span-cache.ts';
import { type FetchStats, SpanFetcher } from './span-fetcher.ts';

export interface ReadLimits {
  /** For each read, in milliseconds; 0 waits for ever. Default 60 s. */
  readonly deadlineMs?: number;
  /** Compressed bytes that neighbouring spans are joined up to in one request. Default 4 MiB. */
  readonly maxRequestBytes?: number;
  /** Uncompressed bytes fetched ahead of a sequential reader, at most. Default 8 MiB. */
  readonly maxReadaheadBytes?: number;
  /** Shared by all layers of a process. Default: one for this layer. */
  readonly inflight?: Budget;
}

export interface LayerReaderParts {
  readonly stored: LayerIndex;
  readonly source: RangeSource;
  /** undefined: nothing is kept on disk. */
  readonly cache: SpanCache | undefined;
  readonly memory: MemoryCache;
  readonly limits?: ReadLimits;
}

export interface ReadStats extends FetchStats {
  reads: number;
  /** Spans that a read found in memory. */
  memoryHits: number;
  /** Spans that came from the disk. */
  diskHits: number;
}

const DEFAULT_DEADLINE_MS = 60_000;
/** Twice as much: fewer requests, but a reader that stops has fetched more in vain. */
const DEFAULT_MAX_REQUEST_BYTES = 4 * 1024 * 1024;
/** One buffer of a whole layer would be too much. */
const MAX_READ_BYTES = 256 * 1024 * 1024;

export class LayerReader {
  readonly #stored: LayerIndex;
  /** What the spans are called in the memory cache, which all layers share. */
  readonly #key: Digest;
  readonly #cache: SpanCache | undefined;
  readonly #memory: MemoryCache;
  readonly #deadlineMs: number;
  readonly #maxReadaheadBytes: number;
  readonly #readahead: Readahead;
  readonly #flights = new SpanFlights();
  readonly #fetcher: SpanFetcher;
  readonly #inflight: Budget;
  readonly #jobs = new Set<Promise<void>>();
  /** Spans that were brought for later: whoever asked for them said how far reads will go. */
  readonly #brought = new Set<number>();
  readonly #counts = { reads: 0, memoryHits: 0, diskHits: 0 };
  #isClosed = false;

  constructor({ stored, source, cache, memory, limits = {} }: LayerReaderParts) {
    this.#stored = stored;
    this.#key = cacheKeyOf(stored.toc);
    this.#cache = cache;
    this.#memory = memory;
    this.#deadlineMs = limits.deadlineMs ?? DEFAULT_DEADLINE_MS;
    // What is read ahead must still be in memory when the reader comes to it.
    const ahead = limits.maxReadaheadBytes ?? DEFAULT_READAHEAD_BYTES;
    this.#maxReadaheadBytes = Math.min(ahead, memory.maxBytes / 4);
    this.#readahead = new Readahead(this.#maxReadaheadBytes);
    this.#inflight = limits.inflight ?? new Budget(MAX_INFLIGHT_BYTES);
    this.#fetcher = new SpanFetcher({
      index: stored,
      source,
      cache,
      memory,
      flights: this.#flights,
      inflight: this.#inflight,
      maxRequestBytes: limits.maxRequestBytes ?? DEFAULT_MAX_REQUEST_BYTES,
    });
  }

  get stats(): Readonly<ReadStats> {
    return { ...this.#counts, ...this.#fetcher.stats };
  }

  /**
   * The bytes of a range, verified. Not to be written into: they may be those of the cache. `willReadTo`:
   * the reader says that it will want everything up to there (and nothing beyond), in reads that follow; without
   * it, reading ahead is guessed from the reads so far.
   *
   * @throws RangeError for a range that is empty or leaves the layer; PeelError ERR_DEADLINE,
   * ERR_DIGEST_MISMATCH, ERR_INTERRUPTED (signal or close), or what the source throws.
   */
  async read(
    range: UncompressedRange,
    signal?: AbortSignal,
    willReadTo?: UncompressedOffset,
  ): Promise<Buffer> {
    if (this.#isClosed) throw this.#interrupted('the layer was closed');
    if (signal?.aborted === true) throw this.#reasonOf(signal);
    const { toc } = this.#stored;
    const { first, last } = spansOf(toc.spans, range);
    if (range.end - range.start > MAX_READ_BYTES) {
      throw new RangeError(`reading ${range.end - range.start} bytes at once: stream them`);
    }
    this.#counts.reads += 1;

    const atHand = new Map<number, Buffer>();
    const missing: number[] = [];
    for (let span = first; span <= last; span += 1) {
      const bytes = this.#memory.read(this.#key, span);
      if (bytes !== undefined) atHand.set(span, bytes);
      else if (this.#flights.find(span) === undefined) missing.push(span);
    }
    this.#counts.memoryHits += atHand.size;
    const ahead = this.#spansAhead(range, last, willReadTo);
    if (missing.length > 0 || ahead.isDue) void this.#begin([...missing, ...ahead.missing]);

    const only = first === last ? atHand.get(first) : undefined;
    if (only !== undefined) {
      const { start } = spanOf(toc.spans, first);
      return only.subarray(range.start - start, range.end - start);
    }
    const result = Buffer.allocUnsafeSlow(range.end - range.start);
    const place = (span: number, bytes: Buffer): void => {
      const { start, end } = spanOf(toc.spans, span);
      const from = Math.max(range.start, start);
      bytes.copy(result, from - range.start, from - start, Math.min(range.end, end) - start);
    };
    for (const [span, bytes] of atHand) place(span, bytes);
    if (atHand.size <= last - first) await this.#await(range, first, last, atHand, place, signal);
    return result;
  }

  /**
   * A watcher of the cache has read a span from the disk by itself: reading ahead goes on as if it had been read
   * here, and eviction learns of the use.
   */
  async noteUse(span: number): Promise<void> {
    const cache = this.#cache;
    const range = this.#stored.toc.spans[span];
    if (this.#isClosed || cache === undefined || range === undefined) return;
    if (!this.#brought.has(span)) {
      const ahead = this.#spansAhead(range, span, undefined);
      const missing = ahead.missing.filter((each) => !cache.isWatched(each));
      if (ahead.isDue && missing.length > 0) void this.#begin(missing);
    }
    const [lastUse] = await cache.lastUses(span, span);
    if (lastUse !== undefined && lastUse !== 0) await cache.touch(span, lastUse);
  }

  /** Bytes of the tar that somebody has anyway: spans that lie in them as a whole are verified and cached. */
  async keep(start: UncompressedOffset, bytes: Buffer): Promise<void> {
    const { spans } = this.#stored.toc;
    const end = start + bytes.length;
    for (let span = spanAt(spans, start); span < spans.length; span += 1) {
      const range = spanOf(spans, span);
      if (range.end > end) return;
      if (range.start < start) continue;
      const piece = bytes.subarray(range.start - start, range.end - start);
      if ((await sha256(piece)).equals(range.sha256)) await this.#cache?.store(span, piece);
    }
  }

  /** Whether every span from `first` to `last` can be had without fetching, as far as is known. */
  async areAtHand(first: number, last: number): Promise<boolean> {
    const spans = Array.from({ length: last - first + 1 }, (_, index) => first + index);
    return (await this.missingOf(spans)).length === 0;
  }

  /** Of `spans` (rising), those that are neither in memory nor on disk, as far as is known. */
  async missingOf(spans: readonly number[]): Promise<number[]> {
    const [first] = spans;
    if (first === undefined) return [];
    // What was read a moment ago may still be on its way to the disk.
    await this.#cache?.flush();
    const uses = await this.#cache?.lastUses(first, spans.at(-1) ?? first);
    return spans.filter((span) => (uses?.[span - first] ?? 0) === 0 && !this.#memory.has(this.#key, span));
  }

  /**
   * Brings the spans of a run for whoever reads them later, behind all that a reader waits for. Resolves when they are
   * there or failed: who reads them is told why. Never rejects.
   */
  async bring({ first, last }: SpanRun): Promise<void> {
    if (this.#isClosed) return;
    const spans: number[] = [];
    for (let span = first; span <= last; span += 1) {
      if (!this.#memory.has(this.#key, span) && this.#flights.find(span) === undefined) spans.push(span);
    }
    for (const span of spans) this.#brought.add(span);
    if (spans.length > 0) await this.#begin(spans);
  }

  /** The verified bytes of a span, from memory or the disk; undefined where it would have to be fetched. */
  async readAtHand(span: number): Promise<Buffer | undefined> {
    return this.#memory.read(this.#key, span) ?? (await this.#readDisk(span));
  }

  /** Ends reads and fetches under way; the index and the cache stay open: whoever opened them closes them. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#flights.cancelAll(this.#interrupted('the layer was closed'));
    this.#fetcher.close();
    await Promise.all(this.#jobs);
  }

  /** Waits for the spans that are not at hand, within the deadline. */
  async #await(
    range: UncompressedRange,
    first: number,
    last: number,
    atHand: ReadonlyMap<number, Buffer>,
    place: (span: number, bytes: Buffer) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const leaving = new AbortController();
    setMaxListeners(0, leaving.signal);
    const onAbort = (): void => leaving.abort(signal && this.#reasonOf(signal));
    if (signal !== undefined) {
      // One signal may stand for many reads at once.
      setMaxListeners(0, signal);
      signal.addEventListener('abort', onAbort, { once: true });
    }
    const timer =
      this.#deadlineMs > 0
        ? setTimeout(() => leaving.abort(this.#tooLate(range, first, last)), this.#deadlineMs)
        : undefined;
    try {
      const flights: [number, Flight][] = [];
      for (let span = first; span <= last; span += 1) {
        if (atHand.has(span)) continue;
        const flight = this.#flights.find(span);
        if (flight === undefined)
          throw new Error(`span ${span} of ${this.#stored.toc.digest} is not under way`);
        flights.push([span, flight]);
      }
      const waits = flights.map(async ([span, flight]) => place(span, await flight.wait(leaving.signal)));
      // One that was fetched ahead, and has not been asked for yet, is wanted from now on.
      this.#inflight.reconsider();
      await Promise.all(waits);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      // One span failed: the others are not waited for either.
      leaving.abort(this.#interrupted('another span of the read failed'));
    }
  }

  /** Spans worth having beyond a read; due when there is work before half of them are used up. */
  #spansAhead(
    range: UncompressedRange,
    last: number,
    willReadTo: UncompressedOffset | undefined,
  ): { missing: number[]; isDue: boolean } {
    const { spans } = this.#stored.toc;
    const length =
      willReadTo === undefined
        ? this.#readahead.note(range)
        : Math.min(willReadTo - range.end, this.#maxReadaheadBytes);
    const missing: number[] = [];
    let isDue = false;
    for (let span = last + 1; span < spans.length; span += 1) {
      const { start, end } = spanOf(spans, span);
      // A span that would be used in part only is left out, unless the reader said that it wants that part.
      if (willReadTo === undefined ? end > range.end + length : start >= range.end + length) break;
      if (this.#memory.has(this.#key, span) || this.#flights.find(span) !== undefined) continue;
      missing.push(span);
      if (start < range.end + length / 2) isDue = true;
    }
    return { missing, isDue };
  }

  /** Starts to bring spans that are neither in memory nor under way. Resolves at the end of that; never rejects. */
  #begin(spans: readonly number[]): Promise<void> {
    const job = this.#flights.begin(spans);
    const work = this.#bring(spans, job)
      .then(
        () => job.end(new Error('a span was neither brought nor failed')),
        (error: unknown) => job.end(error),
      )
      .finally(() => this.#jobs.delete(work));
    this.#jobs.add(work);
    return work;
  }

  async #bring(spans: readonly number[], job: SpanJob): Promise<void> {
    const first = spans[0] ?? 0;
    const uses = await this.#cache?.lastUses(first, spans.at(-1) ?? first);
    const useOf = (span: number): number => uses?.[span - first] ?? 0;
    const loadAll = async (): Promise<void> => {
      const cached = spans.filter((span) => useOf(span) !== 0);
      const isLoaded = await Promise.all(cached.map((span) => this.#load(span, useOf(span))));
      await this.#fetcher.fetch(
        cached.filter((_, index) => isLoaded[index] !== true),
        job,
      );
    };
    const absent = spans.filter((span) => useOf(span) === 0);
    await Promise.all([this.#fetcher.fetch(absent, job), loadAll()]);
  }

  /** What lies there is a hint: the sha256 decides, each time. */
  async #readDisk(span: number): Promise<Buffer | undefined> {
    const bytes = await this.#cache?.read(span);
    if (bytes === undefined) return undefined;
    if ((await sha256(bytes)).equals(spanOf(this.#stored.toc.spans, span).sha256)) {
      this.#cache?.confirm(span);
      return bytes;
    }
    await this.#cache?.forget(span);
    return undefined;
  }

  async #load(span: number, lastUse: number): Promise<boolean> {
    const bytes = await this.#readDisk(span);
    if (bytes === undefined) return false;
    this.#counts.diskHits += 1;
    this.#memory.keep(this.#key, span, bytes);
    this.#flights.land(span, bytes);
    await this.#cache?.touch(span, lastUse);
    return true;
  }

  #tooLate(range: UncompressedRange, first: number, last: number): PeelError {
    const { digest } = this.#stored.toc;
    log().debug({ layer: digest, first, last }, 'deadline of a read passed');
    return new PeelError(
      'ERR_DEADLINE',
      `reading bytes ${range.start} to ${range.end} of the tar of layer ${digest}: not there after ${this.#deadlineMs} ms`,
      { facts: { layer: digest, span: first, offset: range.start, timeoutMs: this.#deadlineMs } },
    );
  }

  #reasonOf(signal: AbortSignal): PeelError {
    return interruptionOf(signal, `reading layer ${this.#stored.toc.digest}`);
  }

  #interrupted(why: string): PeelError {
    const { digest } = this.#stored.toc;
    return new PeelError('ERR_INTERRUPTED', `reading layer ${digest}: ${why}`, { facts: { layer: digest } });
  }
}
