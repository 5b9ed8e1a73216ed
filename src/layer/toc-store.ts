/**
 * TOCs on disk, two files a layer: `toc` (docs/TOC-FORMAT.md), read at once, and `windows`, of which a reader
 * takes the one window it needs. Both are replaced whole, by rename after fsync (FAULTS X1): at any moment a
 * reader finds the old pair, the new pair, or two files that do not belong together, which it notices by the
 * digest in both.
 *
 * Whatever is damaged, of another version or not ours counts as absent, and the layer is indexed again. A cache
 * that cannot be written costs the next process an indexing pass, never this one its image (P12).
 */
import { type FileHandle, lstat, rm } from 'node:fs/promises';
import path from 'node:path';
import { isPeelError, PeelError, systemCodeOf } from '../errors.ts';
import { log } from '../log.ts';
import { openOwnFile, READ_ONLY, readAt, readOwnFile } from '../storage/own-file.ts';
import { prepareFolder, replaceFile, syncFolder } from '../storage/replace-file.ts';
import type { Digest } from '../units.ts';
import { StoredFormError } from './byte-reader.ts';
import { decodeToc, decodeTocIndex } from './decode-toc.ts';
import { encodeToc, encodeWindowsHeader, sealToc, windowSumOf } from './encode-toc.ts';
import { LearnedSums } from './learned-sums.ts';
import { cacheKeyOf, learnsSums } from './own-index.ts';
import type { Toc, TocIndex } from './toc.ts';
import { type SealedToc, WINDOWS_HEADER_BYTES } from './toc-format.ts';
import { type FetchWindows, WINDOWS_FILE, WindowsFile } from './windows-file.ts';

/** Its name in a layer's folder of the cache. */
export const TOC_FILE = 'toc';

/** Five million entries with long names stay below; a larger file is not read to find out what it is. */
const MAX_TOC_BYTES = 1024 ** 3;

/** A TOC, or its index alone, with its windows at hand. */
export interface StoredToc<Part extends TocIndex = Toc> {
  readonly toc: Part;
  /**
   * The packed window of a checkpoint, verified; undefined for a checkpoint without one.
   * @throws PeelError ERR_CACHE where the file lost or changed it: the layer is then indexed again by the next
   * process that opens it.
   */
  readWindow(checkpoint: number): Promise<Buffer | undefined>;
  /** Keeps what the uncompressed bytes of a span were found to be, where the index of the TOC does not say it. */
  learn(span: number, sum: Buffer): Promise<void>;
  /** Idempotent. Windows cannot be read after it. */
  close(): Promise<void>;
}

export class TocStore {
  readonly #directoryOf: (key: Digest) => string;
  readonly #fetchWindows: FetchWindows | undefined;

  /** `directoryOf` names a layer's folder in the cache; it need not exist. `fetchWindows`: of an index that travelled. */
  constructor(directoryOf: (key: Digest) => string, fetchWindows?: FetchWindows) {
    this.#directoryOf = directoryOf;
    this.#fetchWindows = fetchWindows;
  }

  /** By its key (`cacheKeyOf`). undefined where there is none that can be used; never fails. */
  load(key: Digest): Promise<StoredToc | undefined> {
    return this.#load(key, decodeToc);
  }

  /** Whether there is one, by its name alone: it may still be one that cannot be used. */
  async has(key: Digest): Promise<boolean> {
    try {
      return (await lstat(path.join(this.#directoryOf(key), TOC_FILE))).isFile();
    } catch {
      return false;
    }
  }

  /** The same without the entries: a mount keeps it for as long as it lives. */
  loadIndex(key: Digest): Promise<StoredToc<TocIndex> | undefined> {
    return this.#load(key, decodeTocIndex);
  }

  async #load<Part extends TocIndex>(
    key: Digest,
    decode: (file: Buffer) => SealedToc<Part>,
  ): Promise<StoredToc<Part> | undefined> {
    const folder = this.#directoryOf(key);
    try {
      const sealed = await loadToc(path.join(folder, TOC_FILE), key, decode);
      if (sealed === undefined) return undefined;
      const file = await openWindows(path.join(folder, WINDOWS_FILE), sealed);
      return await this.#onDisk(sealed, folder, file);
    } catch (error) {
      log().warn(
        { layer: key, reason: reasonOf(error) },
        'stored TOC cannot be used, the layer is indexed again',
      );
      return undefined;
    }
  }

  /** Never fails for reasons of the disk: the windows stay in memory then. */
  async save(toc: Toc, windows: Buffer): Promise<StoredToc> {
    const sealed = sealToc(toc, windows);
    return (await this.#save(sealed, windows)) ?? new TocInMemory(sealed, windows);
  }

  /** The same of an index that travelled, whose windows come when they are needed. */
  async saveWithoutWindows(sealed: SealedToc): Promise<StoredToc> {
    const stored = await this.#save(sealed, undefined);
    const folder = this.#directoryOf(cacheKeyOf(sealed.toc));
    return stored ?? this.#onDisk(sealed, folder, undefined);
  }

  /** undefined where the disk does not take it. */
  async #save(sealed: SealedToc, windows: Buffer | undefined): Promise<StoredToc | undefined> {
    const { toc } = sealed;
    const tocBytes = encodeToc(sealed);
    const folder = this.#directoryOf(cacheKeyOf(toc));
    let file: FileHandle | undefined;
    try {
      await prepareFolder(folder);
      if (windows !== undefined) {
        file = await replaceFile(folder, WINDOWS_FILE, [encodeWindowsHeader(sealed), windows]);
      }
      const tocFile = await replaceFile(folder, TOC_FILE, [tocBytes]);
      await tocFile.close();
      await syncFolder(folder);
      return await this.#onDisk(sealed, folder, file);
    } catch (error) {
      await file?.close();
      log().warn(
        { layer: toc.digest, reason: reasonOf(error) },
        'TOC cannot be stored, the next run indexes the layer again',
      );
      return undefined;
    }
  }

  async #onDisk<Part extends TocIndex>(
    sealed: SealedToc<Part>,
    folder: string,
    file: FileHandle | undefined,
  ): Promise<StoredToc<Part>> {
    const windows = new WindowsFile(folder, sealed, file, this.#fetchWindows);
    return new TocOnDisk(sealed, windows, folder, await openSums(sealed, folder));
  }
}

async function loadToc<Part extends TocIndex>(
  file: string,
  key: Digest,
  decode: (file: Buffer) => SealedToc<Part>,
): Promise<SealedToc<Part> | undefined> {
  const bytes = await readOwnFile(file, MAX_TOC_BYTES);
  if (bytes === undefined) return undefined;
  const sealed = decode(bytes);
  if (cacheKeyOf(sealed.toc) !== key) throw new StoredFormError(`the TOC of layer ${sealed.toc.digest}`);
  return sealed;
}

async function openSums({ toc }: SealedToc<TocIndex>, folder: string): Promise<LearnedSums | undefined> {
  return learnsSums(toc.own) ? await LearnedSums.open(folder, toc.spans) : undefined;
}

/** Only the header is read: listing an image takes no window. undefined where they are still to come. */
async function openWindows(file: string, sealed: SealedToc<TocIndex>): Promise<FileHandle | undefined> {
  if (sealed.toc.own?.format === 'peel' && !(await isThere(file))) return undefined;
  const { handle, found } = await openOwnFile(file, READ_ONLY);
  try {
    const header = await readAt(handle, 0, WINDOWS_HEADER_BYTES);
    if (!header.equals(encodeWindowsHeader(sealed)))
      throw new StoredFormError('the windows beside it are not its own');
    for (const { windowOffset, windowLength } of sealed.toc.checkpoints) {
      if (WINDOWS_HEADER_BYTES + windowOffset + windowLength > found.size) {
        throw new StoredFormError('the windows beside it are cut short');
      }
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function isThere(file: string): Promise<boolean> {
  return await lstat(file).then(
    () => true,
    () => false,
  );
}

class TocOnDisk<Part extends TocIndex> implements StoredToc<Part> {
  readonly toc: Part;
  readonly #windowSums: SealedToc['windowSums'];
  readonly #windows: WindowsFile;
  readonly #folder: string;
  readonly #sums: LearnedSums | undefined;
  #closing: Promise<void> | undefined;

  constructor(sealed: SealedToc<Part>, windows: WindowsFile, folder: string, sums: LearnedSums | undefined) {
    this.toc = sealed.toc;
    this.#windowSums = sealed.windowSums;
    this.#windows = windows;
    this.#folder = folder;
    this.#sums = sums;
  }

  async learn(span: number, sum: Buffer): Promise<void> {
    await this.#sums?.learn(span, sum);
  }

  async readWindow(checkpoint: number): Promise<Buffer | undefined> {
    const { windowOffset, windowLength } = checkpointOf(this.toc, checkpoint);
    if (windowLength === 0) return undefined;
    if (this.#closing !== undefined) {
      throw new PeelError(
        'ERR_CACHE',
        `layer ${this.toc.digest}: a window was asked for after the TOC was closed`,
      );
    }
    let problem: string;
    try {
      const window = await this.#windows.read(windowOffset, windowLength);
      if (isWhole(window, this.#windowSums[checkpoint])) return window;
      problem = window.length < windowLength ? 'is cut short' : 'does not have its digest';
    } catch (error) {
      // What came of fetching them says nothing about the cache.
      if (isPeelError(error)) throw error;
      problem = `cannot be read (${reasonOf(error)})`;
    }
    await this.#forget();
    throw new PeelError(
      'ERR_CACHE',
      `layer ${this.toc.digest}: window ${checkpoint} of its stored TOC ${problem}; the layer is indexed again when the image is next opened`,
      { facts: { layer: this.toc.digest, checkpoint } },
    );
  }

  /** The next process builds the TOC anew. */
  async #forget(): Promise<void> {
    for (const name of [TOC_FILE, WINDOWS_FILE]) {
      await rm(path.join(this.#folder, name), { force: true }).catch(() => undefined);
    }
  }

  close(): Promise<void> {
    this.#closing ??= Promise.all([this.#windows.close(), this.#sums?.close()]).then(() => {});
    return this.#closing;
  }
}

class TocInMemory implements StoredToc {
  readonly toc: Toc;
  readonly #sums: LearnedSums;
  #windows: Buffer;

  constructor(sealed: SealedToc, windows: Buffer) {
    this.toc = sealed.toc;
    this.#windows = windows;
    this.#sums = LearnedSums.inMemory(sealed.toc.spans);
  }

  learn(span: number, sum: Buffer): Promise<void> {
    return this.#sums.learn(span, sum);
  }

  async readWindow(checkpoint: number): Promise<Buffer | undefined> {
    const { windowOffset, windowLength } = checkpointOf(this.toc, checkpoint);
    if (windowLength === 0) return undefined;
    return this.#windows.subarray(windowOffset, windowOffset + windowLength);
  }

  async close(): Promise<void> {
    this.#windows = Buffer.alloc(0);
  }
}

function checkpointOf(toc: TocIndex, index: number) {
  const checkpoint = toc.checkpoints[index];
  if (checkpoint === undefined) throw new RangeError(`no checkpoint ${index} of ${toc.checkpoints.length}`);
  return checkpoint;
}

function isWhole(window: Buffer, sum: Buffer | undefined): boolean {
  return sum !== undefined && windowSumOf(window).equals(sum);
}

function reasonOf(error: unknown): string {
  return systemCodeOf(error) ?? (error instanceof Error ? error.message : String(error));
}
