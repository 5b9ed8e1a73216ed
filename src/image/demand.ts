/** Who reads now, for work in the background that gives way to it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlobSource } from '../source/source.ts';

/**
 * A piece waits no longer, so that the work goes on below readers without end, and no server takes it for asleep: with
 * pieces of 64 KiB and four connections that is some 100 KB/s at least.
 */
const MAX_YIELD_MS = 2_000;

export class Demand {
  #count = 0;
  #waiting: (() => void)[] = [];

  /** `work` is what somebody waits for. */
  async during<Value>(work: () => Promise<Value>): Promise<Value> {
    this.#count += 1;
    try {
      return await work();
    } finally {
      this.#count -= 1;
      if (this.#count === 0) for (const go of this.#waiting.splice(0)) go();
    }
  }

  /** A blob whose bytes come while nobody waits for others. */
  yielding(blob: BlobSource): BlobSource {
    const quiet = (signal?: AbortSignal): Promise<void> => this.#quiet(signal);
    return {
      digest: blob.digest,
      size: blob.size,
      get ignoresRanges() {
        return blob.ignoresRanges === true;
      },
      async *fetch(range, signal) {
        await quiet(signal);
        for await (const chunk of blob.fetch(range, signal)) {
          yield chunk;
          // What is not taken from the connection is not sent.
          await quiet(signal);
        }
      },
    };
  }

  async #quiet(signal: AbortSignal | undefined): Promise<void> {
    if (this.#count === 0) return;
    const ending = new AbortController();
    const either = signal === undefined ? ending.signal : AbortSignal.any([signal, ending.signal]);
    const late = sleep(MAX_YIELD_MS, undefined, { signal: either, ref: false }).catch(() => undefined);
    await Promise.race([late, new Promise<void>((resolve) => this.#waiting.push(resolve))]);
    ending.abort();
  }
}
