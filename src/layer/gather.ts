/**
 * Network chunks come in any size, often 16 KiB; the scanner takes them over a thread, which pays from some
 * hundred KiB on.
 */

/** Gathers what an iterator gives into pieces of at least `minimum` bytes (the last may be shorter). */
export class Gatherer {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #minimum: number;
  #isDone = false;

  constructor(chunks: AsyncIterator<Uint8Array>, minimum: number) {
    this.#chunks = chunks;
    this.#minimum = minimum;
  }

  /** undefined after the last byte. One call at a time. */
  async next(): Promise<Uint8Array | undefined> {
    const gathered: Uint8Array[] = [];
    let length = 0;
    while (!this.#isDone && length < this.#minimum) {
      const result = await this.#chunks.next();
      if (result.done === true) {
        this.#isDone = true;
      } else {
        gathered.push(result.value);
        length += result.value.length;
      }
    }
    if (length === 0) return undefined;
    return gathered.length === 1 ? gathered[0] : Buffer.concat(gathered, length);
  }

  /**
   * Tells the producer that no more is wanted. Not awaited: a producer that waits for the network answers
   * only when that does, and nobody needs its answer.
   */
  close(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#chunks.return?.().catch(() => undefined);
  }
}
