/**
 * Time limits by the monotonic clock, so that a clock that jumps changes nothing (F21).
 *
 * A `Deadline` covers one operation with all its tries; a `Tries` counts them and waits between them with
 * full jitter, or as long as the registry asked; a `Watch` covers one exchange: it aborts the request when
 * the caller gives up, when the deadline passes, or when what it is armed for takes too long.
 */
import { setMaxListeners } from 'node:events';
import { interruptionOf, PeelError, throwIfAborted } from '../../errors.ts';
import { type Limits, MAX_TRIES } from './options.ts';

export class Deadline {
  readonly #limitMs: number;
  readonly #what: string;
  #endsAt: number;

  /** `limitMs` 0 never ends. `what` names the operation in the message. */
  constructor(limitMs: number, what: string) {
    this.#limitMs = limitMs;
    this.#what = what;
    this.#endsAt = limitMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + limitMs;
  }

  remainingMs(): number {
    return Math.max(0, this.#endsAt - performance.now());
  }

  /** Progress was made. */
  restart(): void {
    this.#endsAt = this.#limitMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + this.#limitMs;
  }

  /** Time in which nothing was asked of the registry does not count. */
  extend(ms: number): void {
    this.#endsAt += ms;
  }

  error(): PeelError {
    return new PeelError(
      'ERR_DEADLINE',
      `${this.#what}: no answer within ${this.#limitMs / 1000} s (the deadline)`,
    );
  }
}

export class Tries {
  readonly #limits: Limits;
  readonly #deadline: Deadline;
  #made = 1;

  constructor(limits: Limits, deadline: Deadline) {
    this.#limits = limits;
    this.#deadline = deadline;
  }

  /** Progress was made: the next failure is the first again. */
  restart(): void {
    this.#made = 1;
  }

  /**
   * Waits until the next try may begin. `retryAfterMs` is what the registry asked for.
   * @throws `failure` when no try is left, or when the deadline would pass while waiting.
   */
  async wait(failure: PeelError, signal: AbortSignal | undefined, retryAfterMs?: number): Promise<void> {
    if (this.#made >= MAX_TRIES) {
      throw failure;
    }
    const bound = Math.min(this.#limits.maxBackoffMs, this.#limits.backoffMs * 2 ** (this.#made - 1));
    const backoffMs = Math.random() * bound;
    const waitMs =
      retryAfterMs === undefined
        ? backoffMs
        : Math.max(backoffMs, Math.min(retryAfterMs, this.#limits.maxRetryAfterMs));
    if (waitMs >= this.#deadline.remainingMs()) {
      throw failure;
    }
    this.#made += 1;
    await sleep(waitMs, signal);
  }
}

export class Watch {
  readonly #deadline: Deadline;
  readonly #outer: AbortSignal | undefined;
  readonly #controller = new AbortController();
  readonly #onOuterAbort: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(deadline: Deadline, outer: AbortSignal | undefined) {
    this.#deadline = deadline;
    this.#outer = outer;
    this.#onOuterAbort = () => this.abort(interruptionOf(outer, REQUEST));
    if (outer?.aborted === true) {
      this.#onOuterAbort();
    } else {
      listen(outer, this.#onOuterAbort);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Until `disarm`: after `limitMs` the exchange ends with what `late` makes, at the deadline with its error. */
  arm(limitMs: number, late: () => Error): void {
    this.disarm();
    const remainingMs = this.#deadline.remainingMs();
    const isDeadline = remainingMs <= limitMs;
    const waitMs = Math.min(remainingMs, limitMs);
    if (Number.isFinite(waitMs)) {
      this.#timer = setTimeout(() => this.abort(isDeadline ? this.#deadline.error() : late()), waitMs);
    }
  }

  disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  abort(reason: Error): void {
    this.#controller.abort(reason);
  }

  /** The exchange is over; idempotent. */
  close(): void {
    this.disarm();
    this.#outer?.removeEventListener('abort', this.#onOuterAbort);
  }
}

/** Any number of requests may share one signal; Node warns past ten. */
function listen(signal: AbortSignal | undefined, onAbort: () => void): void {
  if (signal !== undefined) {
    setMaxListeners(0, signal);
    signal.addEventListener('abort', onAbort, { once: true });
  }
}

const REQUEST = 'the request';

async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  throwIfAborted(signal, REQUEST);
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(interruptionOf(signal, REQUEST));
    };
    listen(signal, onAbort);
  });
}

/** `promise`, or the caller's interruption, whichever comes first; the work behind `promise` goes on. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) {
    return promise;
  }
  // Whoever is left to wait for it sees its failure; nobody may be left.
  promise.catch(() => {});
  throwIfAborted(signal, REQUEST);
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(interruptionOf(signal, REQUEST));
    listen(signal, onAbort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
