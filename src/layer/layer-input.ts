/** The bytes of a layer blob on their way to the scanner: gathered into pieces, counted and hashed. */
import { createHash } from 'node:crypto';
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
  readonly #hash: ReturnType<typeof createHash>;
  #received = 0;
  #count = 0;
  #pending: Promise<Uint8Array | undefined> = Promise.resolve(undefined);

  constructor(blob: AsyncIterable<Uint8Array>, expected: ExpectedLayer, options: BuildTocOptions) {
    const [algorithm = ''] = expected.digest.split(':');
    if (algorithm !== 'sha256' && algorithm !== 'sha512') {
      throw new PeelError(
        'ERR_UNSUPPORTED',
        `layer ${expected.digest}: no way to verify a ${algorithm} digest`,
      );
    }
    if (expected.diffID !== undefined && !expected.diffID.startsWith('sha256:')) {
      throw new PeelError(
        'ERR_UNSUPPORTED',
        `layer ${expected.digest}: its diffID is ${expected.diffID}, want one by sha256`,
      );
    }
    this.#expected = expected;
    this.#options = options;
    // The scanner hashes as well, but it stops at the first broken byte, and a layer that does not decompress
    // is either broken or not the layer: only the digest of all its bytes tells which.
    this.#hash = createHash(algorithm);
    this.#pieces = new Gatherer(blob[Symbol.asyncIterator](), PIECE_BYTES);
  }

  /** Whether the latest piece that came was the first. */
  get isFirst(): boolean {
    return this.#count === 1;
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
    this.#count++;
    this.#received += piece.length;
    if (this.#received > this.#expected.size) throw this.#sizeMismatch(`more than ${this.#expected.size}`);
    this.#hash.update(piece);
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

  /** Reads what is left, and says what the whole blob hashes to. Call once, after nothing else is wanted. */
  async digestOfAll(): Promise<Digest> {
    let piece = await this.#pending;
    while (piece !== undefined) piece = await this.next();
    this.checkSize();
    return this.digestSoFar();
  }

  digestSoFar(): Digest {
    const [algorithm = ''] = this.#expected.digest.split(':');
    return `${algorithm}:${this.#hash.digest('hex')}` as Digest;
  }

  close(): void {
    this.#pieces.close();
  }
}
