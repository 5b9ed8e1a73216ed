/**
 * One fetch per span, however many ask (F23). A job brings several spans; each of them is a flight that any
 * number of readers can wait for. A reader whose signal aborts leaves at once; the job is cancelled when
 * the last reader left before it got what it waited for. Nothing is remembered: a flight that has landed or
 * failed is gone, so the next read after a failure tries again.
 *
 *   reader A ──┐
 *   reader B ──┼─► flight of span 7 ─┐
 *   reader C ──┼─► flight of span 8 ─┴─ job (one AbortSignal)
 */
import { setMaxListeners } from 'node:events';
import { PeelError } from '../errors.ts';

export class SpanFlights {
  readonly #flights = new Map<number, Flight>();

  /** The flight that brings this span, where one is under way. */
  find(span: number): Flight | undefined {
    return this.#flights.get(span);
  }

  /** Starts a job for spans that are not in flight yet. */
  begin(spans: readonly number[]): SpanJob {
    const job = new SpanJob(this.#flights);
    for (const span of spans) job.adopt(span);
    return job;
  }

  /** Hands the verified bytes of a span to whoever waits for them, whichever job was to bring them. */
  land(span: number, bytes: Buffer): void {
    this.#flights.get(span)?.job.land(span, bytes);
  }

  /** Ends all jobs; their readers get `reason`. */
  cancelAll(reason: PeelError): void {
    for (const flight of this.#flights.values()) flight.job.cancel(reason);
  }
}

export class SpanJob {
  readonly #flights: Map<number, Flight>;
  readonly #own = new Map<number, Flight>();
  readonly #controller = new AbortController();
  #waiters = 0;

  constructor(flights: Map<number, Flight>) {
    this.#flights = flights;
    // A job makes many requests, and each of them listens.
    setMaxListeners(0, this.#controller.signal);
  }

  /** Aborts when nobody waits any more, or on `cancel`. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Takes on one more span, if no other job brings it already. */
  adopt(span: number): void {
    if (this.signal.aborted || this.#flights.has(span)) return;
    const flight = new Flight(this);
    this.#flights.set(span, flight);
    this.#own.set(span, flight);
  }

  /** Whether the span is still to be brought. */
  isPending(span: number): boolean {
    return this.#own.has(span);
  }

  /** Whether a reader waits for one of the spans from `first` to `last`: if not, they are fetched ahead of any. */
  isWaitedFor(first: number, last: number): boolean {
    for (let span = first; span <= last; span += 1) {
      if (this.#own.get(span)?.hasWaiters === true) return true;
    }
    return false;
  }

  land(span: number, bytes: Buffer): void {
    this.#remove(span)?.land(bytes);
  }

  fail(span: number, error: unknown): void {
    this.#remove(span)?.fail(error);
  }

  /** Ends the job: what has not landed fails with `error`. */
  end(error: unknown): void {
    for (const span of this.#own.keys()) this.fail(span, error);
  }

  cancel(reason: PeelError): void {
    if (this.signal.aborted) return;
    this.#controller.abort(reason);
    this.end(reason);
  }

  enter(): void {
    this.#waiters += 1;
  }

  leave(abandoned: boolean): void {
    this.#waiters -= 1;
    if (abandoned && this.#waiters === 0) {
      this.cancel(
        new PeelError('ERR_INTERRUPTED', 'fetch of spans cancelled: no reader waits for it any more'),
      );
    }
  }

  #remove(span: number): Flight | undefined {
    const flight = this.#own.get(span);
    if (flight === undefined) return undefined;
    this.#own.delete(span);
    this.#flights.delete(span);
    return flight;
  }
}

class Flight {
  readonly job: SpanJob;
  readonly #waiting = new Set<{ land(bytes: Buffer): void; fail(error: unknown): void }>();

  constructor(job: SpanJob) {
    this.job = job;
  }

  get hasWaiters(): boolean {
    return this.#waiting.size > 0;
  }

  /** The span's bytes, verified. Rejects with the job's error, or at once with `signal`'s reason. */
  wait(signal: AbortSignal): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const waiter = {
        land: (bytes: Buffer): void => {
          signal.removeEventListener('abort', abandon);
          resolve(bytes);
        },
        fail: (error: unknown): void => {
          signal.removeEventListener('abort', abandon);
          reject(error);
        },
      };
      const abandon = (): void => {
        this.#waiting.delete(waiter);
        reject(signal.reason as Error);
        this.job.leave(true);
      };
      signal.addEventListener('abort', abandon, { once: true });
      this.#waiting.add(waiter);
      this.job.enter();
    });
  }

  land(bytes: Buffer): void {
    for (const waiter of this.#take()) waiter.land(bytes);
  }

  fail(error: unknown): void {
    for (const waiter of this.#take()) waiter.fail(error);
  }

  #take() {
    const waiters = [...this.#waiting];
    this.#waiting.clear();
    for (const _ of waiters) this.job.leave(false);
    return waiters;
  }
}

export type { Flight };
