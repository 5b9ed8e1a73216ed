/**
 * A compressed archive, read by position as if it were not: treated as one layer is.
 *
 *   file ─► sha256 ─► TOC in the cache? ── no ──► one pass: the tar is checked, restart points and spans noted
 *                           └─ yes ─► reads go to the spans that hold them, decompressed from the point before
 *
 * Each opening hashes the file; its digest names the TOC, so that a file that changed is never read with the index of
 * another. Spans are verified as those of a layer. Gzip restarts anywhere, and what is read of it goes to the layers'
 * own cache alone; zstd, xz and bzip2 restart at frames or streams, of which an archive often has one: their spans are
 * kept on disk too, so that a file deep inside does not cost all before it each time.
 */
import { createHash } from 'node:crypto';
import type { CacheDir } from '../blob/cache-dir.ts';
import { LayerReader } from '../blob/layer-reader.ts';
import { MemoryCache } from '../blob/memory-cache.ts';
import type { RangeSource } from '../blob/range-source.ts';
import type { SpanCache } from '../blob/span-cache.ts';
import { isPeelError, PeelError } from '../errors.ts';
import { buildToc } from '../layer/build-toc.ts';
import { type StoredToc, TocStore } from '../layer/toc-store.ts';
import { type OpenFile, streamFile } from '../source/local-file.ts';
import { type CompressedRange, compressed, type Digest, uncompressed } from '../units.ts';

/** A layer of the archive is read forward: a few spans are enough. */
const MEMORY_BYTES = 16 * 1024 * 1024;
/** A broken layer; whatever else goes wrong says itself what it is. */
const ARCHIVE_FAULTS: ReadonlySet<string> = new Set(['ERR_LAYER_INVALID', 'ERR_UNSUPPORTED']);

export interface UnpackOptions {
  readonly cache: CacheDir;
  /** Names the file in messages. */
  readonly path: string;
  readonly signal: AbortSignal | undefined;
  /** Called with the bytes of the file that were read for its index; not where it is in the cache. */
  readonly onProgress: (bytes: number) => void;
}

/** Closing it closes `file`, which is closed where this fails. @throws PeelError as ArchiveTools.unpack */
export async function openUnpacked(file: OpenFile, options: UnpackOptions): Promise<OpenFile> {
  const { cache, signal } = options;
  try {
    const digest = await hashOf(file, signal);
    const store = new TocStore((layer) => cache.layerDir(layer));
    const stored = (await store.load(digest)) ?? (await index(file, digest, store, options));
    const isKept = stored.toc.compression !== 'gzip';
    return new UnpackedFile(file, stored, isKept ? cache.openSpanCache(stored.toc) : undefined);
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function hashOf(file: OpenFile, signal: AbortSignal | undefined): Promise<Digest> {
  const hash = createHash('sha256');
  for await (const chunk of streamFile(file, wholeOf(file), signal)) hash.update(chunk);
  return `sha256:${hash.digest('hex')}` as Digest;
}

async function index(
  file: OpenFile,
  digest: Digest,
  store: TocStore,
  { path, signal, onProgress }: UnpackOptions,
): Promise<StoredToc> {
  try {
    const built = await buildToc(
      streamFile(file, wholeOf(file), signal),
      { digest, size: file.size },
      { onProgress, ...(signal === undefined ? {} : { signal }) },
    );
    return await store.save(built.toc, built.windows);
  } catch (error) {
    if (!isPeelError(error) || !ARCHIVE_FAULTS.has(error.code)) throw error;
    const { cause } = error;
    const why = cause instanceof Error ? cause.message : error.message;
    // At its very beginning it is not a broken tar, but something else.
    const isOther = error.facts['offset'] === 0 && error.code === 'ERR_LAYER_INVALID';
    throw new PeelError(
      isOther
        ? 'ERR_IMAGE_NOT_FOUND'
        : error.code === 'ERR_UNSUPPORTED'
          ? error.code
          : 'ERR_DOCUMENT_INVALID',
      `${path} ${isOther ? 'is not an image archive' : 'cannot be unpacked'}: ${why.replace(/^layer: /, '')}`,
      { facts: error.facts, cause: error },
    );
  }
}

function wholeOf(file: OpenFile): CompressedRange {
  return { start: compressed(0), end: compressed(file.size) };
}

class UnpackedFile implements OpenFile {
  readonly size: number;
  readonly #file: OpenFile;
  readonly #stored: StoredToc;
  readonly #spans: SpanCache | undefined;
  readonly #reader: LayerReader;
  #closing: Promise<void> | undefined;

  constructor(file: OpenFile, stored: StoredToc, spans: SpanCache | undefined) {
    const { toc } = stored;
    const source: RangeSource = {
      digest: toc.digest,
      size: toc.compressedSize,
      fetch: (range, signal) => streamFile(file, range, signal),
    };
    this.size = toc.uncompressedSize;
    this.#file = file;
    this.#stored = stored;
    this.#spans = spans;
    // No deadline: whoever reads a layer of the archive has one.
    const limits = { deadlineMs: 0 };
    this.#reader = new LayerReader({
      stored,
      source,
      cache: spans,
      memory: new MemoryCache(MEMORY_BYTES),
      limits,
    });
  }

  async read(position: number, length: number): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    return this.#reader.read({ start: uncompressed(position), end: uncompressed(position + length) });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#reader.close();
    await this.#spans?.close();
    await this.#stored.close();
    await this.#file.close();
  }
}
