/** The bytes of a layer blob on their way to the scanner: gathered into pieces and counted. */
import { PeelError } from '../errors.ts';
import type { Digest } from '../units.ts';
import { Gatherer } from './gather.ts';
import type { Entry } from './toc.ts';

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

/** What has come of a layer that is being indexed. Nothing of it is proved. */
export interface Passing {
  /** All entries so far. The pass goes on adding to them. */
  readonly entries: readonly Entry[];
  /** The bytes of the tar that went by with the newest ones, and where they begin. */
  readonly tar: { readonly start: number; readonly bytes: Buffer } | undefined;
}

/** Looks on while a layer is indexed. */
export interface Onlooker {
  /** Asked before each part of the pass: whether `passing` is called at all, and with the tar's bytes. */
  readonly isLooking: boolean;
  /** The pass goes on when it resolves; it does not reject. */
  passing(passing: Passing): Promise<void>;
}

export interface BuildTocOptions {
  readonly signal?: AbortSignal;
  readonly onlooker?: Onlooker;
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
