/**
 * Bounds how much goes on at once: bytes in flight, layers being indexed, or one turn after the other. Who would
 * pass the bound waits, first come first served.
 */

/** FAULTS section 7: in-flight fetch, for all layers of a process. */
export const MAX_INFLIGHT_BYTES = 64 * 1024 * 1024;

interface Waiter {
  readonly share: number;
  readonly admit: () => void;
}

export class Budget {
  readonly #total: number;
  #free: number;
  readonly #queue: Waiter[] = [];

  constructor(total: number) {
    this.#total = total;
    this.#free = total;
  }

  /**
   * Resolves once `amount` fits; call the result to give them back (idempotent). A request larger than the
   * whole budget gets all of it. Rejects with the signal's reason when it aborts first.
   */
  async acquire(amount: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const share = Math.min(amount, this.#total);
    if (this.#queue.length > 0 || share > this.#free) {
      await new Promise<void>((resolve, reject) => {
        const leave = (): void => {
          const index = this.#queue.indexOf(waiter);
          if (index !== -1) this.#queue.splice(index, 1);
          reject(signal.reason as Error);
          this.#admit();
        };
        const waiter: Waiter = {
          share,
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
    for (let next = this.#queue[0]; next !== undefined && next.share <= this.#free; next = this.#queue[0]) {
      this.#queue.shift();
      this.#free -= next.share;
      next.admit();
    }
  }
}
