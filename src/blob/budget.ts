/**
 * Bounds how much goes on at once: bytes in flight, layers being indexed, or one turn after the other. Who would
 * pass the bound waits. What somebody waits for goes first, first come first served; what is only done ahead goes when
 * nothing of that kind is waiting, and leaves room for it: a reader never waits for what another may want later.
 *
 *   waiting   [ahead][now][ahead][now]      next: the first `now`, whatever came before it
 */

/** FAULTS section 7: in-flight fetch, for all layers of a process. */
export const MAX_INFLIGHT_BYTES = 64 * 1024 * 1024;

/** Of the connections to a registry (`MAX_CONNECTIONS_PER_HOST`), half are left for readers who wait. */
const MAX_AHEAD = 4;

/** Asked whenever there is room: whether somebody waits for it by now. */
export type IsWanted = () => boolean;

interface Waiter {
  readonly share: number;
  readonly isWanted: IsWanted;
  readonly admit: (isAhead: boolean) => void;
}

export class Budget {
  readonly #total: number;
  #free: number;
  /** Of what was admitted ahead: how many, and what they hold. */
  #ahead = { count: 0, share: 0 };
  readonly #queue: Waiter[] = [];

  constructor(total: number) {
    this.#total = total;
    this.#free = total;
  }

  /** Whether anybody waits for it. */
  get hasWaiting(): boolean {
    return this.#queue.length > 0;
  }

  /**
   * Resolves once `amount` fits; call the result to give them back (idempotent). A request larger than the
   * whole budget gets all of it. Rejects with the signal's reason when it aborts first. When what `isWanted`
   * says turns true meanwhile, `reconsider` has to be called.
   */
  async acquire(amount: number, signal: AbortSignal, isWanted: IsWanted = () => true): Promise<() => void> {
    signal.throwIfAborted();
    const share = Math.min(amount, this.#total);
    const isAhead = await new Promise<boolean>((resolve, reject) => {
      const leave = (): void => {
        const index = this.#queue.indexOf(waiter);
        if (index !== -1) this.#queue.splice(index, 1);
        reject(signal.reason as Error);
        this.reconsider();
      };
      const waiter: Waiter = {
        share,
        isWanted,
        admit: (ahead) => {
          signal.removeEventListener('abort', leave);
          resolve(ahead);
        },
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#queue.push(waiter);
      this.reconsider();
    });
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#take(-share, isAhead ? -1 : 0);
      this.reconsider();
    };
  }

  /** Admits who may go on now. */
  reconsider(): void {
    for (;;) {
      const wanted = this.#queue.findIndex(({ isWanted }) => isWanted());
      const index = wanted === -1 ? 0 : wanted;
      const next = this.#queue[index];
      const isAhead = wanted === -1;
      if (next === undefined || next.share > this.#free || (isAhead && !this.#hasRoomAhead(next.share))) {
        return;
      }
      this.#queue.splice(index, 1);
      this.#take(next.share, isAhead ? 1 : 0);
      next.admit(isAhead);
    }
  }

  #hasRoomAhead(share: number): boolean {
    const { count, share: held } = this.#ahead;
    // One that is larger than its half goes alone.
    return count === 0 || (count < MAX_AHEAD && held + share <= this.#total / 2);
  }

  #take(share: number, aheadCount: number): void {
    this.#free -= share;
    if (aheadCount === 0) return;
    this.#ahead = { count: this.#ahead.count + aheadCount, share: this.#ahead.share + share };
  }
}
