/**
 * Bounds how many bytes are on their way at once: who would pass the bound waits, first come first served.
 * One for a process, shared by all layers.
 */

/** FAULTS section 7: in-flight fetch. */
const DEFAULT_INFLIGHT_BYTES = 64 * 1024 * 1024;

interface Waiter {
  readonly bytes: number;
  readonly admit: () => void;
}

export class ByteBudget {
  readonly #total: number;
  #free: number;
  readonly #queue: Waiter[] = [];

  constructor(totalBytes: number = DEFAULT_INFLIGHT_BYTES) {
    this.#total = totalBytes;
    this.#free = totalBytes;
  }

  /**
   * Resolves once `bytes` fit; call the result to give them back (idempotent). A request larger than the
   * whole budget gets all of it. Rejects with the signal's reason when it aborts first.
   */
  async acquire(bytes: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const share = Math.min(bytes, this.#total);
    if (this.#queue.length > 0 || share > this.#free) {
      await new Promise<void>((resolve, reject) => {
        const leave = (): void => {
          const index = this.#queue.indexOf(waiter);
          if (index !== -1) this.#queue.splice(index, 1);
          reject(signal.reason as Error);
          this.#admit();
        };
        const waiter: Waiter = {
          bytes: share,
          admit: () => {
            signal.removeEventListener('abort', leave);
            resolve();
          },
        };
        signal.addEventListener('abort', leave, { once: true });
        this.#queue.push(waiter);
      });
    } else {
      this.#free -= share;
    }
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#free += share;
      this.#admit();
    };
  }

  #admit(): void {
    for (let next = this.#queue[0]; next !== undefined && next.bytes <= this.#free; next = this.#queue[0]) {
      this.#queue.shift();
      this.#free -= next.bytes;
      next.admit();
    }
  }
}
