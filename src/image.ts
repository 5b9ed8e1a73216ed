/**
 * An opened image: names and bytes joined. The composition root of everything below the mount.
 *
 *   name ─► source ─► manifest, config              (openImage: at most three documents)
 *                 └─► layer blobs ─► TOCs ─► tree ─┐
 *                          └─► layer readers ──────┴─► file system      (on first use)
 *
 * A layer is indexed by whoever touches the image first; its TOC is kept in the cache under the layer's
 * digest, and the next process starts from there. Nothing is served from a layer before its digest and diffID
 * were proved (FAULTS P2, strict).
 */
import { setMaxListeners } from 'node:events';
import os from 'node:os';
import path from 'node:path';
import { Budget, MAX_INFLIGHT_BYTES } from './blob/budget.ts';
import { CacheDir, type CacheLimits, openCacheDir } from './blob/cache-dir.ts';
import { LayerReader } from './blob/layer-reader.ts';
import { MemoryCache } from './blob/memory-cache.ts';
import type { SpanCache } from './blob/span-cache.ts';
import { readWholeBlob } from './blob/whole-blob.ts';
import { isPeelError, PeelError } from './errors.ts';
import type { SpanWatcher } from './filesystem/contents.ts';
import { FileSystem } from './filesystem/filesystem.ts';
import { buildToc } from './layer/build-toc.ts';
import type { Entry, Toc, TocIndex } from './layer/toc.ts';
import { type StoredToc, TocStore } from './layer/toc-store.ts';
import { log } from './log.ts';
import type { Descriptor } from './reference/descriptor.ts';
import type { ImageConfig, Manifest } from './reference/documents.ts';
import type { Platform } from './reference/platform.ts';
import { parseImageName } from './reference/transport.ts';
import { DocumentStore, withDocumentStore } from './source/document-store.ts';
import { openSource, type SourceOptions } from './source/open-source.ts';
import { type ResolvedImage, resolveImage } from './source/resolve-image.ts';
import type { BlobSource, ImageSource, SourceStats, StoredDocument } from './source/source.ts';
import { mergeLayers } from './tree/merge.ts';
import type { Node, Tree } from './tree/node.ts';
import { type StoredTree, TreeStore, treeKey } from './tree/stored-tree.ts';
import { mergeUpperLayers } from './tree/upper-layers.ts';
import { type ByteString, type Digest, uncompressed } from './units.ts';

/** `filesystemFor` merges the upper layers anew for each layer that it takes on; with more entries it takes all. */
const MAX_TRIED_ENTRIES = 500_000;
/** Compressed bytes of layers that are read before it is known that they are needed. */
const MAX_SPECULATIVE_BYTES = 4 * 1024 * 1024;

/** How far the indexing of one layer has come. */
export interface IndexProgress {
  /** 0 = lowest. */
  readonly layer: number;
  readonly layerCount: number;
  readonly digest: Digest;
  /** Compressed bytes read. */
  readonly bytes: number;
  readonly size: number;
  readonly isDone: boolean;
}

export interface OpenImageOptions {
  /** undefined: this host's. */
  readonly platform?: Platform | undefined;
  readonly cacheDir: string;
  readonly cacheLimits?: CacheLimits;
  /** Answer from the cache alone. */
  readonly offline?: boolean;
  readonly source: SourceOptions;
  /** For one read, ms; default 60 s, 0 = wait for ever. */
  readonly readDeadlineMs?: number;
  readonly onProgress?: (progress: IndexProgress) => void;
  /** Ends the opening and all indexing. */
  readonly signal?: AbortSignal;
}

export interface ImageLayer {
  readonly descriptor: Descriptor;
  readonly diffID: Digest;
}

interface OpenLayer {
  readonly reader: LayerReader;
  readonly spans: SpanCache;
  readonly toc: TocIndex;
  /** Where it stands in the image: more than once where the manifest repeats it. */
  readonly indices: readonly number[];
}

/** @throws PeelError for everything that can be wrong with the name, the registry or the documents. */
export async function openImage(nameText: string, options: OpenImageOptions): Promise<Image> {
  const name = parseImageName(nameText);
  const cache = await openCache(options);
  const opened = await openSource(name, options.source, options.signal);
  const source =
    name.transport === 'docker'
      ? withDocumentStore(opened, new DocumentStore(cache.versionDir), options.offline === true)
      : opened;
  try {
    const resolved = await resolveImage(source, options.platform, options.signal);
    log().info({ image: source.name, digest: resolved.manifestDocument.digest }, 'image resolved');
    return new Image(source, resolved, cache, options);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A cache that cannot be used costs time, not the answer (P12); one that others could tamper with is refused. */
async function openCache(options: OpenImageOptions): Promise<CacheDir> {
  try {
    return await openCacheDir(options.cacheDir, options.cacheLimits);
  } catch (error) {
    if (!isPeelError(error, 'ERR_CACHE') || error.facts['reason'] !== 'unusable') throw error;
    log().warn({ err: error }, `${error.message}; going on without a cache`);
    return new CacheDir(path.resolve(options.cacheDir), options.cacheLimits);
  }
}

/** An image whose manifest and config are known. Layers are indexed when the tree is first asked for. */
export class Image {
  /** As a user would write it again. */
  readonly name: string;
  readonly manifest: Manifest;
  readonly manifestDocument: StoredDocument;
  /** Of the manifest. */
  readonly digest: Digest;
  /** Of the image index that the manifest was chosen from. */
  readonly indexDigest: Digest | undefined;
  readonly config: ImageConfig;
  readonly configBytes: Buffer;
  /** Lowest first. */
  readonly layers: readonly ImageLayer[];
  readonly #source: ImageSource;
  readonly #cache: CacheDir;
  readonly #options: OpenImageOptions;
  readonly #memory = new MemoryCache();
  readonly #inflight = new Budget(MAX_INFLIGHT_BYTES);
  readonly #tocStore: TocStore;
  readonly #closing = new AbortController();
  /** By digest: a layer that stands twice in the manifest is one layer (E147). */
  readonly #tocs = new Map<Digest, Promise<StoredToc>>();
  /** What readers work with: without entries, where it comes from the disk. */
  readonly #indexes = new Map<Digest, Promise<StoredToc<TocIndex>>>();
  readonly #readers = new Map<Digest, Promise<OpenLayer>>();
  /** The readers that have come about. */
  readonly #opened: OpenLayer[] = [];
  readonly #watchers: SpanWatcher[] = [];
  /** Of layers that are indexed at once. */
  readonly #slots = new Budget(Math.min(os.availableParallelism(), 4));
  readonly #treeStore: TreeStore;
  readonly #treeKey: string;
  #loadedTree: Promise<StoredTree | undefined> | undefined;
  #tree: Promise<StoredTree> | undefined;

  constructor(source: ImageSource, resolved: ResolvedImage, cache: CacheDir, options: OpenImageOptions) {
    this.name = source.name;
    this.manifest = resolved.manifest;
    this.manifestDocument = resolved.manifestDocument;
    this.digest = resolved.manifestDocument.digest;
    this.indexDigest = resolved.indexDigest;
    this.config = resolved.config;
    this.configBytes = resolved.configBytes;
    this.layers = resolved.manifest.layers.map((descriptor, index) => ({
      descriptor,
      diffID: resolved.config.diffIDs[index] as Digest, // as many as layers: checkConfig
    }));
    this.#source = source;
    this.#cache = cache;
    this.#options = options;
    this.#tocStore = new TocStore((digest) => cache.layerDir(digest));
    this.#treeKey = treeKey(
      this.layers.map(({ descriptor, diffID }) => `${descriptor.digest} ${diffID} ${descriptor.size}`),
    );
    this.#treeStore = new TreeStore(cache.treesDir);
    // Every layer that waits for its turn listens.
    setMaxListeners(0, this.#closing.signal);
  }

  get platform(): Platform {
    return this.config.platform;
  }

  get cacheDir(): string {
    return this.#cache.path;
  }

  /** What was asked of the registry since the image was opened, the opening included. */
  stats(): SourceStats {
    return this.#source.stats;
  }

  /** Reads credentials and host configuration again. */
  async reload(): Promise<void> {
    await this.#source.reload?.();
  }

  /** The merged view of all layers. Indexes those that have no TOC in the cache. */
  async tree(): Promise<Tree> {
    return (await this.#openTree()).tree;
  }

  /** The file system over the merged view. */
  async filesystem(): Promise<FileSystem> {
    return this.#filesystemOver(await this.tree());
  }

  /**
   * A file system in which `name`, links followed, is what the whole image has there; it may know of nothing
   * else. Where the image is not indexed yet, layers are read from the top until the answer is certain.
   */
  async filesystemFor(name: ByteString): Promise<FileSystem> {
    return (await this.#upperFilesystemFor(name)) ?? this.filesystem();
  }

  /** One layer alone, as if the image had no other (0 = lowest). */
  async layerFilesystem(layer: number): Promise<FileSystem> {
    const { entries } = await this.layerToc(layer);
    const below = this.layers.slice(0, layer).map(() => []);
    return this.#filesystemOver(mergeLayers([...below, entries]));
  }

  async layerToc(layer: number): Promise<Toc> {
    return (await this.#openToc(layer)).toc;
  }

  /** The TOC where the cache has it: never indexes. */
  async storedLayerToc(layer: number): Promise<Toc | undefined> {
    const { digest } = this.#layerAt(layer).descriptor;
    const pending = this.#tocs.get(digest);
    if (pending !== undefined) return (await pending).toc;
    const stored = await this.#tocStore.load(digest);
    await stored?.close();
    return stored?.toc;
  }

  /** Bytes of a file's stored content that are in the cache. */
  async cachedBytes(node: Node): Promise<number> {
    const { content } = node;
    if (content === undefined) return 0;
    const length = content.sparse?.reduce((sum, piece) => sum + piece.length, 0) ?? node.size;
    if (length === 0) return 0;
    const { spans } = await this.#openReader(content.layer);
    return spans.cachedBytes({ start: content.dataOffset, end: uncompressed(content.dataOffset + length) });
  }

  /**
   * For an image that stays open: sees to it that every layer can be read (its TOC may have been evicted while the
   * tree was kept), and lets go of what only the merge needed. Where tree and TOCs are in the cache, the heap then
   * does not grow with the entries of the image.
   */
  async prepareReads(): Promise<void> {
    await Promise.all(this.layers.map((_, layer) => this.#openIndex(layer)));
    for (const [digest, pending] of this.#tocs) {
      const toc = await pending;
      if ((await this.#indexes.get(digest)) === toc) continue;
      this.#tocs.delete(digest);
      await toc.close();
    }
  }

  /** Ends what is under way, closes files and connections. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new PeelError('ERR_INTERRUPTED', `${this.name} was closed`));
    const readers = await Promise.allSettled(this.#readers.values());
    for (const opened of readers) {
      if (opened.status === 'rejected') continue;
      await opened.value.reader.close();
      await opened.value.spans.close();
    }
    const tocs = await Promise.allSettled([...this.#tocs.values(), ...this.#indexes.values()]);
    for (const toc of tocs) if (toc.status === 'fulfilled') await toc.value.close();
    this.#readers.clear();
    this.#tocs.clear();
    this.#indexes.clear();
    await this.#source.close();
    await this.#cache.close();
  }

  async #upperFilesystemFor(name: ByteString): Promise<FileSystem | undefined> {
    if ((await this.#loadTree()) !== undefined) return undefined;
    const entries: (readonly Entry[])[] = this.layers.map(() => []);
    let merged = 0;
    for (let lowest = this.layers.length - 1; lowest > 0; lowest -= 1) {
      this.#startIndexing(lowest);
      entries[lowest] = (await this.layerToc(lowest)).entries;
      merged += entries.reduce((sum, list) => sum + list.length, 0);
      if (merged > MAX_TRIED_ENTRIES) return undefined;
      const tree = mergeUpperLayers(entries, lowest);
      if (tree === undefined) continue;
      const filesystem = this.#filesystemOver(tree);
      if (resolves(filesystem, name)) return filesystem;
    }
    return undefined;
  }

  /** Layer `highest` and, as long as that is little, those below: the answer may lie in the first. */
  #startIndexing(highest: number): void {
    let bytes = 0;
    for (let layer = highest; layer >= 0; layer -= 1) {
      bytes += this.#layerAt(layer).descriptor.size;
      if (layer < highest && bytes > MAX_SPECULATIVE_BYTES) return;
      // A failure is told to whoever asks for the layer.
      this.#openToc(layer).catch(() => {});
    }
  }

  #openTree(): Promise<StoredTree> {
    this.#tree ??= this.#loadOrMerge().catch((error: unknown) => {
      // Asked again, it is tried again: the registry may be back.
      this.#tree = undefined;
      throw error;
    });
    return this.#tree;
  }

  /** The tree where the cache has it. */
  #loadTree(): Promise<StoredTree | undefined> {
    this.#loadedTree ??= this.#treeStore.load(this.#treeKey);
    return this.#loadedTree;
  }

  async #loadOrMerge(): Promise<StoredTree> {
    const stored =
      (await this.#loadTree()) ?? (await this.#treeStore.save(this.#treeKey, await this.#merge()));
    for (const warning of stored.tree.warnings) log().warn({ image: this.name }, warning);
    return stored;
  }

  async #merge(): Promise<Tree> {
    // One layer that fails ends it: nobody waits for the download of the others, which `close` interrupts.
    const tocs = await Promise.all(this.layers.map((_, layer) => this.layerToc(layer)));
    return mergeLayers(tocs.map((toc) => toc.entries));
  }

  #filesystemOver(tree: Tree): FileSystem {
    return new FileSystem(tree, {
      read: async (layer, range, signal, willReadTo) =>
        (await this.#openReader(layer)).reader.read(range, signal, willReadTo),
      watch: (watcher) => {
        this.#watchers.push(watcher);
        for (const opened of this.#opened) tell(watcher, opened);
      },
      noteUse: (layer, span) => {
        void this.#opened.find(({ indices }) => indices.includes(layer))?.reader.noteUse(span);
      },
    });
  }

  async #openReader(layer: number): Promise<OpenLayer> {
    this.#closing.signal.throwIfAborted();
    return once(this.#readers, this.#layerAt(layer).descriptor.digest, async () => {
      const stored = await this.#openIndex(layer);
      const spans = this.#cache.openSpanCache(stored.toc);
      const { readDeadlineMs } = this.#options;
      const reader = new LayerReader({
        stored,
        source: this.#openBlob(layer),
        cache: spans,
        memory: this.#memory,
        limits: {
          inflight: this.#inflight,
          ...(readDeadlineMs === undefined ? {} : { deadlineMs: readDeadlineMs }),
        },
      });
      const opened = { reader, spans, indices: this.#indicesOf(stored.toc.digest), toc: stored.toc };
      this.#opened.push(opened);
      for (const watcher of this.#watchers) tell(watcher, opened);
      return opened;
    });
  }

  /** From the cache, or by indexing. */
  #openToc(layer: number): Promise<StoredToc> {
    const { digest } = this.#layerAt(layer).descriptor;
    return this.#openOf(
      this.#tocs,
      layer,
      async () => (await this.#tocStore.load(digest)) ?? this.#indexLayer(layer),
    );
  }

  /** The same without entries where the cache has it. */
  #openIndex(layer: number): Promise<StoredToc<TocIndex>> {
    const { digest } = this.#layerAt(layer).descriptor;
    return this.#openOf(
      this.#indexes,
      layer,
      async () => (await this.#tocStore.loadIndex(digest)) ?? this.#openToc(layer),
    );
  }

  /** Opened once. It must be of this very image: same size, same diffID (E144, E145). */
  async #openOf<Part extends TocIndex>(
    opened: Map<Digest, Promise<StoredToc<Part>>>,
    layer: number,
    open: () => Promise<StoredToc<Part>>,
  ): Promise<StoredToc<Part>> {
    this.#closing.signal.throwIfAborted();
    const { descriptor, diffID } = this.#layerAt(layer);
    const stored = await once(opened, descriptor.digest, open);
    const { toc } = stored;
    if (toc.diffID === diffID && toc.compressedSize === descriptor.size) return stored;
    throw new PeelError(
      'ERR_DIGEST_MISMATCH',
      `layer ${layer} (${descriptor.digest}) of ${this.name}: has diffID ${toc.diffID} and ${toc.compressedSize} bytes, the image says ${diffID} and ${descriptor.size} bytes`,
      { facts: { layer, digest: descriptor.digest } },
    );
  }

  /** The one pass over a layer, a few layers at a time. */
  async #indexLayer(layer: number): Promise<StoredToc> {
    const { descriptor, diffID } = this.#layerAt(layer);
    const { digest, size } = descriptor;
    const report = (bytes: number, isDone: boolean): void =>
      this.#options.onProgress?.({ layer, layerCount: this.layers.length, digest, bytes, size, isDone });
    const signal = anySignal(this.#closing.signal, this.#options.signal);
    const release = await this.#slots.acquire(1, signal);
    try {
      const started = performance.now();
      report(0, false);
      const blob = readWholeBlob(this.#openBlob(layer), signal);
      const onProgress = (bytes: number): void => report(bytes, false);
      const built = await buildToc(blob, { digest, size, diffID }, { signal, onProgress });
      for (const warning of built.toc.warnings) log().warn({ image: this.name, layer: digest }, warning);
      const stored = await this.#tocStore.save(built.toc, built.windows);
      log().info({ layer: digest, ms: Math.round(performance.now() - started) }, 'layer indexed');
      report(size, true);
      return stored;
    } finally {
      release();
    }
  }

  #indicesOf(digest: Digest): number[] {
    return this.layers.flatMap(({ descriptor }, index) => (descriptor.digest === digest ? [index] : []));
  }

  #openBlob(layer: number): BlobSource {
    return this.#source.openBlob(this.#layerAt(layer).descriptor);
  }

  #layerAt(layer: number): ImageLayer {
    const found = this.layers[layer];
    if (found === undefined) {
      throw new PeelError(
        'ERR_USAGE',
        `${this.name} has ${this.layers.length} layers, 0 the lowest: there is no layer ${layer}`,
      );
    }
    return found;
  }
}

/** Tells a watcher where the spans of an opened layer lie, and of each that is verified. */
function tell(watcher: SpanWatcher, { indices, spans, toc }: OpenLayer): void {
  const ends = Float64Array.from(toc.spans, ({ end }) => end);
  for (const index of indices) {
    watcher.layerOpened(index, { spansPath: spans.paths.spans, mapPath: spans.paths.map, ends });
    spans.watch((span) => watcher.spanStored(index, span));
  }
}

function resolves(filesystem: FileSystem, name: ByteString): boolean {
  try {
    filesystem.resolve(name, { follow: true });
    return true;
  } catch (error) {
    // Not there, as far as these layers know.
    if (isPeelError(error)) return false;
    throw error;
  }
}

/** The value under `key`, made on first use; a failure is forgotten, so that the next use tries again. */
function once<Value>(
  made: Map<Digest, Promise<Value>>,
  key: Digest,
  make: () => Promise<Value>,
): Promise<Value> {
  let value = made.get(key);
  if (value === undefined) {
    value = make().catch((error: unknown) => {
      made.delete(key);
      throw error;
    });
    made.set(key, value);
  }
  return value;
}

function anySignal(first: AbortSignal, second: AbortSignal | undefined): AbortSignal {
  return second === undefined ? first : AbortSignal.any([first, second]);
}
