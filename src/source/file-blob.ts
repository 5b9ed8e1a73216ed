/** Blobs that lie in local files, served as `source.ts` asks: whole and verified, or by range. */
import { PeelError, throwIfAborted } from '../errors.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import { verifyBytes } from '../reference/digest.ts';
import type { CompressedRange, Digest } from '../units.ts';
import { type OpenFile, streamFile } from './local-file.ts';
import type { BlobSource } from './source.ts';

/**
 * The whole of a small blob; nothing is read unless the sizes agree, and nothing returned unless the digest does.
 * @param what names the blob in messages.
 * @throws PeelError ERR_LIMIT_EXCEEDED, ERR_DIGEST_MISMATCH
 */
export async function readWholeBlob(
  file: OpenFile,
  descriptor: Descriptor,
  maxSize: number,
  what: string,
): Promise<Buffer> {
  validateBlobSize(file, descriptor, what);
  const bytes = await readWhole(file, maxSize, what);
  verifyBytes(bytes, descriptor, what);
  return bytes;
}

/** All of a file that may hold at most `maxSize` bytes. @throws PeelError ERR_LIMIT_EXCEEDED */
export async function readWhole(file: OpenFile, maxSize: number, what: string): Promise<Buffer> {
  if (file.size > maxSize) {
    throw new PeelError('ERR_LIMIT_EXCEEDED', `${what} has ${file.size} bytes: at most ${maxSize} are read`, {
      facts: { size: file.size },
    });
  }
  return file.read(0, file.size);
}

/** A blob in a file that is opened at the first read, once for all reads, and closed with its source. */
export class FileBlob implements BlobSource {
  readonly digest: Digest;
  readonly size: number;
  readonly #descriptor: Descriptor;
  readonly #what: string;
  readonly #open: () => Promise<OpenFile>;
  #file: Promise<OpenFile> | undefined;

  /** @param open finds the file, or throws what a reader should see. */
  constructor(descriptor: Descriptor, what: string, open: () => Promise<OpenFile>) {
    this.digest = descriptor.digest;
    this.size = descriptor.size;
    this.#descriptor = descriptor;
    this.#what = what;
    this.#open = open;
  }

  async *fetch(range: CompressedRange, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(signal, `reading ${this.#what}`);
    if (range.start < 0 || range.end > this.size || range.start > range.end) {
      throw new RangeError(`bytes ${range.start} to ${range.end} do not lie in a blob of ${this.size}`);
    }
    const file = await this.#openOnce();
    yield* streamFile(file, range, signal);
  }

  async close(): Promise<void> {
    // A file that never opened has reported its error to whoever read it.
    const file = await this.#file?.catch(() => undefined);
    await file?.close();
  }

  #openOnce(): Promise<OpenFile> {
    this.#file ??= this.#openValid().catch((error: unknown) => {
      this.#file = undefined;
      throw error;
    });
    return this.#file;
  }

  async #openValid(): Promise<OpenFile> {
    const file = await this.#open();
    try {
      validateBlobSize(file, this.#descriptor, this.#what);
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}

function validateBlobSize(file: OpenFile, descriptor: Descriptor, what: string): void {
  if (file.size === descriptor.size) return;
  throw new PeelError(
    'ERR_DIGEST_MISMATCH',
    `${what} (${descriptor.digest}) has ${file.size} bytes, expected ${descriptor.size}`,
    { facts: { digest: descriptor.digest, size: file.size } },
  );
}
