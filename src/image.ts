/**
 * An opened image: names and bytes joined. The composition root of everything below the mount.
 *
 *   name ─► source ─► manifest, config              (openImage: at most three documents)
 *                 └─► layer blobs ─► TOCs ─► tree ─┐
 *                          └─► layer readers ──────┴─► file system      (on first use)
 *
 * A layer is indexed by whoever touches the image first; its TOC is kept in the cache under the layer's
 * digest, and the next process starts from there. Nothing is served from a layer before its digest, and its
 * diffID where the image names one, were proved (FAULTS P2, strict), or, where the image brings an index of its
 * own, before that index and the chunk were verified (class B).
 */
import path from 'node:path';
import type { CacheDir, CacheLimits } from './blob/cache-dir.ts';
import { FileSystem } from './filesystem/filesystem.ts';
import { archiveTools } from './image/archive-tools.ts';
import {
  type FindFileParts,
  type Found,
  findInImage,
  findInLayer,
  nodeAt,
  type Verify,
} from './image/find-file.ts';
import { ImageRecords } from './image/image-records.ts';
import { ImageTrees, type KnownTree } from './image/image-trees.ts';
import { openCache } from './image/open-cache.ts';
import { type ImageLayer, type IndexProgress, OpenedLayers } from './image/opened-layers.ts';
import type { OwnIndexClaim } from './image/own-index-claim.ts';
import { findPinned } from './image/pinned-index.ts';
import { locate, type OnPrefetched, type PrefetchPlan, prefetchRanges } from './image/prefetch.ts';
import { ProfileStore } from './image/profile-store.ts';
import {
  findReferring,
  IndexNotice,
  type ReferringIndex,
  referringIndexes,
} from './image/referring-index.ts';
import { findZtocs } from './image/soci-index.ts';
import { findStargzTocs } from './image/stargz-tocs.ts';
import { type StartProfile, stableRanges } from './image/start-profile.ts';
import { StartWatch } from './image/start-watch.ts';
import { storedRangeOf } from './image/stored-range.ts';
import type { CompareIndexes } from './image/toc-source.ts';
import type { Toc } from './layer/toc.ts';
import type { StoredToc } from './layer/toc-store.ts';
import { log } from './log.ts';
import type { Descriptor } from './reference/descriptor.ts';
import type { ImageConfig, Manifest } from './reference/documents.ts';
import { formatPlatform, hostPlatform, type Platform, platformRank } from './reference/platform.ts';
import { parseImageName } from './reference/transport.ts';
import { DocumentStore, withDocumentStore } from './source/document-store.ts';
import { openSource, type SourceOptions } from './source/open-source.ts';
import { type ResolvedImage, resolveImage } from './source/resolve-image.ts';
import type { ImageSource, SourceStats, StoredDocument } from './source/source.ts';
import { mergeLayers } from './tree/merge.ts';
import type { Node, Tree } from './tree/node.ts';
import { TreeStore } from './tree/stored-tree.ts';
import type { ByteString, Digest } from './units.ts';

export interface OpenImageOptions {
  /** undefined: this host's. */
  readonly platform?: Platform | undefined;
  /** So many layers, the lowest first, as if the image had no other; undefined: all. */
  readonly layers?: number | undefined;
  readonly cacheDir: string;
  readonly cacheLimits?: CacheLimits;
  /** Indexes that images bring are used also where nothing verifies them (FAULTS class D). */
  readonly allowUnverified?: boolean;
  /** Of a list of indexes that peel made (docs/INDEX-ARTIFACT.md): its layers are read by them (class C). */
  readonly indexDigest?: Digest | undefined;
  /** Answer from the cache alone. */
  readonly offline?: boolean;
  readonly source: SourceOptions;
  /** For one read, ms; default 60 s, 0 = wait for ever. */
  readonly readDeadlineMs?: number;
  readonly onProgress?: (progress: IndexProgress) => void;
  /**
   * Told the digest of a list that refers to the image in its registry, while layers are read as a whole. Nothing
   * waits for it, nor is it asked for where there is nobody to tell.
   */
  readonly onIndexBeside?: ((list: Digest) => void) | undefined;
  /** Ends the opening and all indexing. */
  readonly signal?: AbortSignal;
}

/** What a mount needs that serves before all layers are known. */
export interface GrowingImage {
  readonly layers: number;
  /** Knows nothing but that there is a root. */
  readonly start: FileSystem;
  /** `trees` as file systems; at the end every layer can be read. */
  views(): AsyncGenerator<{ readonly filesystem: FileSystem; readonly isWhole: boolean }, void, undefined>;
  /** `listener` is called from now on when bytes of a layer that is being indexed have come. */
  onProgress(listener: () => void): void;
}

/** @throws PeelError for everything that can be wrong with the name, the registry or the documents. */
export async function openImage(nameText: string, options: OpenImageOptions): Promise<Image> {
  const name = parseImageName(nameText);
  const cache = await openCache(options.cacheDir, options.cacheLimits);
  const tools = archiveTools(cache, options.onProgress);
  const opened = await openSource(name, options.source, tools, options.signal);
  const source =
    name.transport === 'docker'
      ? withDocumentStore(opened, new DocumentStore(cache.versionDir), options.offline === true)
      : opened;
  try {
    const resolved = await resolveImage(source, options.platform, options.signal);
    log().info({ image: source.name, digest: resolved.manifestDocument.digest }, 'image resolved');
    if (options.platform === undefined) warnOfPlatform(source.name, resolved.config.platform);
    const image = new Image(source, resolved, cache, options);
    await new ImageRecords(cache.versionDir).note({
      name: nameAnywhere(image.name),
      digest: image.digest,
      platform: formatPlatform(image.platform),
      layers: await Promise.all(
        image.layers.map(async ({ descriptor: { digest, size } }, layer) => {
          // Whoever reads the layer is told why the index of the image could not be had.
          const ownKey = (await image.ownIndexOf(layer).catch(() => undefined))?.key;
          return { digest, size, ...(ownKey === undefined ? {} : { ownKey }) };
        }),
      ),
    });
    return image;
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** What was not asked for and cannot run here is shown all the same, as `docker run` does. */
function warnOfPlatform(name: string, platform: Platform): void {
  const host = hostPlatform();
  if (platformRank(platform, host) !== undefined) return;
  log().warn(
    { image: name },
    `${name} is for ${formatPlatform(platform)} alone, not for this host (${formatPlatform(host)})`,
  );
}

/** Standard input: what comes by it next time is another one. */
function isNowhere(name: string): boolean {
  return /^(?:oci|docker)-archive:-(?::|$)/.test(name);
}

/** With the path absolute, where the image lies in a file or folder. */
function nameAnywhere(name: string): string {
  const file = /^((?:oci|oci-archive|docker-archive):)(.*)$/s.exec(name);
  return file === null || isNowhere(name) ? name : `${file[1]}${path.resolve(file[2] ?? '')}`;
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
  readonly #opened: OpenedLayers;
  readonly #trees: ImageTrees;
  readonly #notice = new IndexNotice();
  readonly #progressListeners: (() => void)[] = [];
  readonly #findParts: FindFileParts;
  #start: StartWatch | undefined;

  constructor(source: ImageSource, resolved: ResolvedImage, cache: CacheDir, options: OpenImageOptions) {
    this.name = source.name;
    this.manifest = resolved.manifest;
    this.manifestDocument = resolved.manifestDocument;
    this.digest = resolved.manifestDocument.digest;
    this.indexDigest = resolved.indexDigest;
    this.config = resolved.config;
    this.configBytes = resolved.configBytes;
    this.layers = resolved.manifest.layers.slice(0, options.layers).map((descriptor, index) => ({
      descriptor,
      diffID: resolved.config.diffIDs[index],
    }));
    this.#source = source;
    this.#cache = cache;
    this.#opened = new OpenedLayers({
      name: this.name,
      place: isNowhere(this.name) ? undefined : nameAnywhere(this.name),
      layers: this.layers,
      openBlob: (descriptor) => source.openBlob(descriptor),
      cache,
      allowUnverified: options.allowUnverified === true,
      findZtocs: (signal) => findZtocs(source, resolved, options.allowUnverified === true, signal),
      findReferring: (ztocs, signal) => findReferring(this, ztocs, source, signal),
      findPinned: (signal) => findPinned(options.indexDigest, source, cache, signal),
      findStargzTocs: (signal) => findStargzTocs(source, signal),
      readDeadlineMs: options.readDeadlineMs,
      onProgress: (progress) => {
        if (options.onIndexBeside !== undefined) {
          this.#notice.ask(this.digest, source, options.onIndexBeside);
        }
        options.onProgress?.(progress);
        for (const listener of this.#progressListeners) listener();
      },
      signal: options.signal,
    });
    this.#trees = new ImageTrees(this.name, this.#opened, new TreeStore(cache.treesDir));
    this.#findParts = {
      name: this.name,
      layers: this.#opened,
      sizes: this.layers.map(({ descriptor }) => descriptor.size),
      isIndexed: () => this.#trees.isStored(),
      filesystem: (layer) => (layer === undefined ? this.filesystem() : this.layerFilesystem(layer)),
    };
  }

  get platform(): Platform {
    return this.config.platform;
  }

  /** Of the manifest. */
  get manifestDescriptor(): Descriptor {
    const { digest, bytes, mediaType } = this.manifestDocument;
    return { mediaType: mediaType ?? this.manifest.mediaType, digest, size: bytes.length };
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
  tree(): Promise<Tree> {
    return this.#trees.whole();
  }

  /** The same, as it becomes known (`ImageTrees.known`). */
  trees(): AsyncGenerator<KnownTree, void, undefined> {
    return this.#trees.known();
  }

  /** undefined where nothing needs to be indexed: `filesystem` has its answer at once. */
  async growing(): Promise<GrowingImage | undefined> {
    if (await this.#trees.isAtHand()) return undefined;
    return {
      layers: this.layers.length,
      start: this.#filesystemOver(mergeLayers([])),
      views: () => this.#views(),
      onProgress: (listener) => this.#progressListeners.push(listener),
    };
  }

  async *#views(): ReturnType<GrowingImage['views']> {
    for await (const { tree, isWhole } of this.trees()) {
      yield { filesystem: this.#filesystemOver(tree), isWhole };
    }
    await this.prepareReads();
  }

  /** The file system over the merged view. */
  async filesystem(): Promise<FileSystem> {
    return this.#filesystemOver(await this.tree());
  }

  /**
   * A file system that says of one path what the whole image says, links followed or not; it may know of nothing else.
   * All layers are indexed, the upper ones first, until that is certain; of a folder, which lower layers add to, it is
   * when all are.
   */
  async filesystemAt(name: ByteString): Promise<FileSystem> {
    for await (const { tree } of this.trees()) {
      const files = this.#filesystemOver(tree);
      const node = nodeAt(files, name);
      if (node?.kind === 'dir') break;
      if (node !== undefined) return files;
    }
    return this.filesystem();
  }

  /**
   * What the image has at a path, links followed. Where it is not indexed yet, layers are read from the top until the
   * answer is certain; `progressive`: and a file is read while its layer passes.
   */
  find(name: ByteString, verify: Verify): Promise<Found> {
    return findInImage(this.#findParts, name, verify);
  }

  /** The same of one layer alone, as if the image had no other (0 = lowest). */
  findInLayer(layer: number, name: ByteString, verify: Verify): Promise<Found> {
    return findInLayer(this.#findParts, layer, name, verify);
  }

  /** One layer alone, as if the image had no other (0 = lowest). */
  async layerFilesystem(layer: number): Promise<FileSystem> {
    const { entries } = await this.layerToc(layer);
    const below = this.layers.slice(0, layer).map(() => []);
    return this.#filesystemOver(mergeLayers([...below, entries]));
  }

  layerToc(layer: number): Promise<Toc> {
    return this.#opened.toc(layer);
  }

  /** The TOC as it is stored, with its windows: for another machine. It is closed with the image. */
  storedLayer(layer: number): Promise<StoredToc> {
    return this.#opened.storedLayer(layer);
  }

  /** Reads a layer as a whole and keeps its TOC (class A). `compare` is given what was at hand before. */
  prove(layer: number, compare: CompareIndexes): Promise<void> {
    return this.#opened.prove(layer, compare);
  }

  /**
   * Checks the layers that were read by an index which nothing verifies, as a whole; they are as good as class A after it.
   * @throws PeelError ERR_DIGEST_MISMATCH where what was shown is false: nothing of the image can be read any more. What
   * keeps the bytes away, after which it can be tried again.
   */
  proveUnverified(isInBackground: boolean): Promise<void> {
    return this.#trees.proveUnverified(isInBackground);
  }

  /** The TOC where the cache has it: never indexes. */
  storedLayerToc(layer: number): Promise<Toc | undefined> {
    return this.#opened.storedToc(layer);
  }

  /** What the manifest says about an index inside a layer. */
  ownIndexOf(layer: number): Promise<OwnIndexClaim | undefined> {
    return this.#opened.ownIndexOf(layer);
  }

  /** The indexes of peel that lie beside the image in its registry; undefined where it is in none. */
  referringIndexes(signal: AbortSignal): Promise<readonly ReferringIndex[] | undefined> {
    return referringIndexes(this, this.#source, signal);
  }

  /** Bytes of a file's stored content that are in the cache. */
  async cachedBytes(node: Node): Promise<number> {
    const range = storedRangeOf(node);
    return range === undefined ? 0 : this.#opened.cachedBytes(range.layer, range);
  }

  /** Brings the content of files into the cache (`prefetchRanges`). */
  prefetch(nodes: Iterable<Node>, signal: AbortSignal, onProgress: OnPrefetched): Promise<PrefetchPlan> {
    const ranges = [...nodes].map(storedRangeOf).filter((range) => range !== undefined);
    return prefetchRanges(this.#opened, ranges, signal, onProgress);
  }

  /** The same of what most starts read. Ranges that the image does not have are left out, and counted. */
  async prefetchProfile(
    profile: StartProfile,
    signal: AbortSignal,
    onProgress: OnPrefetched,
  ): Promise<PrefetchPlan & { readonly strays: number }> {
    const ranges = stableRanges(profile);
    const located = await locate(this.#opened, ranges);
    const plan = await prefetchRanges(this.#opened, located, signal, onProgress);
    return { ...plan, strays: ranges.length - located.length };
  }

  /** For an image that stays open: every layer can be read, and what only the merge needed is let go of. */
  async prepareReads(): Promise<void> {
    await this.#opened.prepareReads();
    this.#start?.prepared();
  }

  /**
   * For an image that is mounted: notes what its next start reads, and fetches ahead what earlier starts read, or those
   * that `profile` tells of.
   */
  watchStart(profile?: StartProfile): void {
    this.#start ??= new StartWatch({
      image: this.digest,
      layers: this.#opened,
      store: this.profiles,
      profile,
      cacheSize: this.#cache.maxSize,
    });
  }

  /** What starts of images read. */
  get profiles(): ProfileStore {
    return new ProfileStore(this.#cache.versionDir);
  }

  /** Ends what is under way, closes files and connections. Idempotent. */
  async close(): Promise<void> {
    await this.#notice.close();
    const noted = this.#start?.close();
    await this.#opened.close();
    await noted;
    await this.#source.close();
    await this.#cache.close();
  }

  #filesystemOver(tree: Tree): FileSystem {
    return new FileSystem(tree, this.#opened.contents);
  }
}
