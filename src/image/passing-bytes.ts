/**
 * The bytes of one range of a layer's tar, taken while the layer is indexed and given to one reader who reads
 * upwards.
 *
 *   pass ──take──► [ ........ buffered ........ ] ──read──► reader
 *          waits while the buffer is full and nobody reads
 *
 * They are not proved before the pass has ended.
 */
import { interruptionOf } from '../errors.ts';
import type { Passing } from '../layer/layer-input.ts';
import type { UncompressedRange } from '../units.ts';

/** Ahead of the reader: as much as it asks for at once, and some more for it to find when it comes back. */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;

interface Waiting {
  readonly range: UncompressedRange;
  readonly settle: (bytes: Buffer | undefined, error?: unknown) => void;
}

export class PassingBytes {
  readonly #range: UncompressedRange;
  /** Back to back, from `#front` to `#back`. */
  #chunks: Buffer[] = [];
  #front: number;
  #back: number;
  #waiting: Waiting | undefined;
  #resume: (() => void) | undefined;
  #isOver = false;
  #error: unknown;

  constructor(range: UncompressedRange) {
    this.#range = range;
    this.#front = range.start;
    this.#back = range.start;
  }

  /** No more is taken. */
  get isOver(): boolean {
    return this.#isOver || this.#back === this.#range.end;
  }

  /** What passes by, in order. Resolves when the pass may go on. */
  async take(tar: NonNullable<Passing['tar']>): Promise<void> {
    const end = Math.min(tar.start + tar.bytes.length, this.#range.end);
    if (this.isOver || end <= this.#back || tar.start > this.#back) return;
    this.#chunks.push(tar.bytes.subarray(this.#back - tar.start, end - tar.start));
    this.#back = end;
    this.#serve();
    if (this.#back - this.#front <= MAX_BUFFERED_BYTES || this.#waiting !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
    });
  }

  /** undefined: they have passed, or will not; the proved layer has them. One call at a time. */
  read(range: UncompressedRange, signal: AbortSignal | undefined): Promise<Buffer | undefined> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.#settle(undefined, interruptionOf(signal, 'reading'));
      const settle = (bytes: Buffer | undefined, error?: unknown): void => {
        signal?.removeEventListener('abort', onAbort);
        if (error === undefined) resolve(bytes);
        else reject(error);
      };
      if (signal?.aborted === true) return settle(undefined, interruptionOf(signal, 'reading'));
      if (this.#error !== undefined) return settle(undefined, this.#error);
      if (range.start < this.#front || this.#waiting !== undefined) {
        // Whoever reads otherwise waits for the pass, which must not wait for it.
        this.end();
        return settle(undefined);
      }
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting = { range, settle };
      this.#serve();
      if (this.#isOver) this.#settle(undefined);
      this.#go();
    });
  }

  /** The pass has ended, with or without success, or nobody reads any more. */
  end(error?: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#error = error;
    this.#settle(undefined, error);
    this.#go();
  }

  /** What is before the reader goes; what it waits for is given once it is there. */
  #serve(): void {
    if (this.#waiting === undefined) return;
    const { start, end } = this.#waiting.range;
    this.#drop(Math.min(start, this.#back));
    if (end > this.#back) return;
    const bytes = Buffer.concat(this.#chunks, end - start);
    this.#drop(end);
    this.#settle(bytes);
  }

  #drop(until: number): void {
    while (this.#front < until) {
      const [chunk] = this.#chunks;
      if (chunk === undefined) throw new Error(`no bytes at ${this.#front}`);
      const taken = Math.min(chunk.length, until - this.#front);
      if (taken === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(taken);
      this.#front += taken;
    }
  }

  #settle(bytes: Buffer | undefined, error?: unknown): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.settle(bytes, error);
  }

  #go(): void {
    this.#resume?.();
    this.#resume = undefined;
  }
}
