/** Who reads now, for work in the background that gives way to it. */
import type { BlobSource } from '../source/source.ts';

/**
 * A piece waits no longer, so that the work goes on below readers without end, and no server takes it for asleep: with
 * pieces of 64 KiB and four connections that is some 100 KB/s at least.
 */
const MAX_YIELD_MS = 2_000;

export class Demand {
  #count = 0;
  readonly #waiting = new Set<() => void>();

  /** `work` is what somebody waits for. */
  async during<Value>(work: () => Promise<Value>): Promise<Value> {
    this.#count += 1;
    try {
      return await work();
    } finally {
      this.#count -= 1;
      if (this.#count === 0) for (const go of this.#waiting) go();
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
    await new Promise<void>((resolve) => {
      const go = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', go);
        this.#waiting.delete(go);
        resolve();
      };
      const timer = setTimeout(go, MAX_YIELD_MS);
      timer.unref();
      signal?.addEventListener('abort', go, { once: true });
      this.#waiting.add(go);
    });
  }
}
