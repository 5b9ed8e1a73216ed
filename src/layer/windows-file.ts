/**
 * The windows of a TOC, in the file beside it. Those of an index that travelled (`travelling-toc.ts`) may still be
 * where it came from: they are fetched when the first one is needed, all of them, since listing needs none.
 */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { PeelError, systemCodeOf } from '../errors.ts';
import { log } from '../log.ts';
import { readAt } from '../storage/own-file.ts';
import { replaceFile } from '../storage/replace-file.ts';
import type { Digest } from '../units.ts';
import { encodeWindowsHeader } from './encode-toc.ts';
import { unpackWindows } from './packed-windows.ts';
import type { TocIndex } from './toc.ts';
import { type SealedToc, WINDOWS_HEADER_BYTES } from './toc-format.ts';
import { UnusableIndex } from './unusable-index.ts';

export const WINDOWS_FILE = 'windows';

/** Brings a blob that holds packed windows, not verified. */
export type FetchWindows = (digest: Digest, size: number) => Promise<Buffer>;

/**
 * The windows of a TOC that travelled, out of the blob that it names.
 * @throws UnusableIndex where `packed` is not that blob, or it does not hold the windows that the TOC was made with.
 */
export async function verifiedWindows(sealed: SealedToc<TocIndex>, packed: Buffer): Promise<Buffer> {
  const want = sealed.packedWindows?.digest;
  const found = `sha256:${sha256(packed).toString('hex')}`;
  if (want !== undefined && found !== want) throw new UnusableIndex(`got ${found}, want ${want}`);
  const windows = await unpackWindows(sealed.toc, packed);
  if (!sha256(windows).equals(sealed.windowsDigest)) {
    throw new UnusableIndex('unpacked, they have another digest than the TOC says');
  }
  return windows;
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

export class WindowsFile {
  readonly #folder: string;
  readonly #sealed: SealedToc<TocIndex>;
  readonly #fetch: FetchWindows | undefined;
  #file: FileHandle | undefined;
  /** Where they cannot be kept on disk. */
  #bytes: Buffer | undefined;
  #coming: Promise<void> | undefined;

  /** `file` undefined: to be fetched. It is closed with this. */
  constructor(
    folder: string,
    sealed: SealedToc<TocIndex>,
    file: FileHandle | undefined,
    fetch?: FetchWindows,
  ) {
    this.#folder = folder;
    this.#sealed = sealed;
    this.#file = file;
    this.#fetch = fetch;
  }

  /** Not verified against the sum of the one window. @throws errors of the disk, or of what brings them. */
  async read(offset: number, length: number): Promise<Buffer> {
    if (this.#file === undefined && this.#bytes === undefined) {
      this.#coming ??= this.#bring().finally(() => {
        // Asked again, it is tried again: the registry may be back.
        this.#coming = undefined;
      });
      await this.#coming;
    }
    if (this.#bytes !== undefined) return this.#bytes.subarray(offset, offset + length);
    if (this.#file === undefined) throw new Error('they were closed');
    return await readAt(this.#file, WINDOWS_HEADER_BYTES + offset, length);
  }

  async close(): Promise<void> {
    await this.#coming?.catch(() => {});
    await this.#file?.close();
  }

  async #bring(): Promise<void> {
    const { toc, packedWindows } = this.#sealed;
    if (this.#fetch === undefined || packedWindows === undefined) throw new Error('they are not at hand');
    const { digest, size } = packedWindows;
    const packed = await this.#fetch(digest, size);
    const windows = await verifiedWindows(this.#sealed, packed).catch((error: unknown) => {
      if (!(error instanceof UnusableIndex)) throw error;
      throw new PeelError(
        'ERR_DIGEST_MISMATCH',
        `layer ${toc.digest}: the windows of its index are not the ones that the index names: ${error.message}`,
        { facts: { layer: toc.digest, digest }, cause: error },
      );
    });
    try {
      this.#file = await replaceFile(this.#folder, WINDOWS_FILE, [
        encodeWindowsHeader(this.#sealed),
        windows,
      ]);
    } catch (error) {
      log().warn(
        { layer: toc.digest, reason: systemCodeOf(error) ?? String(error) },
        'windows cannot be stored',
      );
      this.#bytes = windows;
    }
  }
}
