/** The bytes of a layer blob on their way to the scanner: gathered into pieces and counted. */
import { PeelError } from '../errors.ts';
import type { Digest } from '../units.ts';
import { Gatherer } from './gather.ts';

/** Below it the way to the scanner's thread and back shows; above it memory grows for nothing. */
const PIECE_BYTES = 256 * 1024;

export interface ExpectedLayer {
  /** Of the blob as stored: sha256 or sha512. */
  readonly digest: Digest;
  /** Of the blob as stored, bytes. */
  readonly size: number;
  /** Of the tar: sha256. Not checked where it is absent. */
  readonly diffID?: Digest;
}

export interface BuildTocOptions {
  readonly signal?: AbortSignal;
  /** Called as bytes of the blob arrive, with how many there were so far. */
  readonly onProgress?: (compressedBytes: number) => void;
}

export class LayerInput {
  readonly #pieces: Gatherer;
  readonly #expected: ExpectedLayer;
  readonly #options: BuildTocOptions;
  #received = 0;
  #pending: Promise<Uint8Array | undefined> = Promise.resolve(undefined);

  constructor(blob: AsyncIterable<Uint8Array>, expected: ExpectedLayer, options: BuildTocOptions) {
    this.#expected = expected;
    this.#options = options;
    this.#pieces = new Gatherer(blob[Symbol.asyncIterator](), PIECE_BYTES);
  }

  /** undefined at the end. A call waits for the one before. */
  next(): Promise<Uint8Array | undefined> {
    this.#pending = this.#take();
    return this.#pending;
  }

  async #take(): Promise<Uint8Array | undefined> {
    this.#options.signal?.throwIfAborted();
    const piece = await this.#pieces.next();
    this.#options.signal?.throwIfAborted();
    if (piece === undefined) return undefined;
    this.#received += piece.length;
    if (this.#received > this.#expected.size) throw this.#sizeMismatch(`more than ${this.#expected.size}`);
    this.#options.onProgress?.(this.#received);
    return piece;
  }

  checkSize(): void {
    if (this.#received !== this.#expected.size) throw this.#sizeMismatch(String(this.#received));
  }

  #sizeMismatch(got: string): PeelError {
    const { digest, size } = this.#expected;
    return new PeelError('ERR_DIGEST_MISMATCH', `layer ${digest}: got ${got} bytes, want ${size}`, {
      facts: { layer: digest, received: this.#received, size },
    });
  }

  /** What is left, from the piece on that `next` was asked for last. @throws PeelError where the size is wrong. */
  async *rest(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let piece = await this.#pending; piece !== undefined; piece = await this.next()) yield piece;
    this.checkSize();
  }

  close(): void {
    this.#pieces.close();
  }
}
