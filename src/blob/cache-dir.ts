/**
 * The cache directory: one for a user, shared by all images, mounts and processes, named by content alone (P3).
 *
 *   <cache>/v1/layers/sha256/<hex>/   toc, windows   (src/layer/toc-store.ts)
 *                                     spans          uncompressed bytes, sparse, each at its own offset
 *                                     spans.map      which spans are there (span-map.ts)
 *                                     file-…         large files on their own (backing-files.ts)
 *   <cache>/v1/trees/<key>            (src/tree/stored-tree.ts)
 *   <cache>/v1/documents, names     (src/source/document-store.ts)
 *   <cache>/v1/images/<key>         (src/image/image-records.ts)
 *   <cache>/v1/profiles/<manifest>  (src/image/profile-store.ts)
 *   <cache>/v1/spool/                 (src/image/standard-input.ts); its files have no name
 *   <cache>/v1/evict.lock             (evict-lock.ts)
 *
 * The folder `v1` is raised when a stored form changes in a way that old programs would misread.
 */
import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { isPeelError, PeelError, systemCodeOf } from '../errors.ts';
import { cacheKeyOf } from '../layer/own-index.ts';
import type { Toc } from '../layer/toc.ts';
import { log } from '../log.ts';
import { makeFolders } from '../storage/make-folders.ts';
import { type Digest, isDigest } from '../units.ts';
import { BackingFiles, type BackingFilesParts } from './backing-files.ts';
import { treesDirIn } from './cached-layer.ts';
import { Evictor } from './evict.ts';
import { checkFoldersAbove, checkOwnFolder } from './safe-path.ts';
import { SpanCache } from './span-cache.ts';

const VERSION = 'v1';

const DEFAULT_MAX_CACHE_BYTES = 10 * 1024 ** 3;
const DEFAULT_MIN_FREE_SHARE = 0.05;

export interface CacheLimits {
  /** Bytes on disk that the cache may take; default 10 GiB. */
  readonly maxSize?: number;
  /** Share of the file system that stays free: 0 to 1; default 0.05. */
  readonly minFreeShare?: number;
}

export class CacheDir {
  /** As the user named it, absolute. */
  readonly path: string;
  /** Bytes on disk that the cache may take. */
  readonly maxSize: number;
  readonly #evictor: Evictor;

  constructor(folder: string, limits: CacheLimits = {}) {
    this.path = folder;
    this.maxSize = limits.maxSize ?? DEFAULT_MAX_CACHE_BYTES;
    this.#evictor = new Evictor(this.versionDir, {
      maxSize: this.maxSize,
      minFreeShare: limits.minFreeShare ?? DEFAULT_MIN_FREE_SHARE,
    });
  }

  /** The folder that everything of this version lies in. */
  get versionDir(): string {
    return path.join(this.path, VERSION);
  }

  /** Where the files of a TOC lie, by its key (`cacheKeyOf`). The folder need not exist. */
  layerDir(layer: Digest): string {
    return layerDirIn(this.versionDir, layer);
  }

  /** What lies under a key turned out to be false: index and spans go. Never fails. */
  async removeLayer(key: Digest): Promise<void> {
    await rm(this.layerDir(key), { recursive: true, force: true }).catch((error: unknown) => {
      log().warn({ layer: key, err: error }, 'what is false of a layer cannot be removed from the cache');
    });
  }

  /** Where the merged trees of images lie. The folder need not exist. */
  get treesDir(): string {
    return treesDirIn(this.versionDir);
  }

  /** The spans of a layer. Never fails: where the disk does, the cache holds nothing. */
  openSpanCache(toc: Pick<Toc, 'digest' | 'own' | 'spans'>): SpanCache {
    return new SpanCache(this.layerDir(cacheKeyOf(toc)), toc, this.#evictor);
  }

  /** The layer's large files on their own, made from what the reader has at hand. */
  openBackingFiles(
    toc: Pick<Toc, 'digest' | 'own' | 'spans'>,
    reader: BackingFilesParts['reader'],
  ): BackingFiles {
    const directory = this.layerDir(cacheKeyOf(toc));
    return new BackingFiles({ directory, toc, reader, evictor: this.#evictor });
  }

  /** Brings the cache below its limits; bytes freed. */
  evict(): Promise<number> {
    return this.#evictor.evict();
  }

  /** Waits for an eviction that is under way. Files are closed by the span caches. */
  async close(): Promise<void> {
    await this.#evictor.close();
  }
}

/** Built from a digest that was checked against its grammar: no name from outside becomes a path (B3). */
function layerDirIn(versionDir: string, layer: Digest): string {
  if (!isDigest(layer)) throw new RangeError(`not a digest: ${JSON.stringify(layer)}`);
  const colon = layer.indexOf(':');
  return path.join(versionDir, 'layers', layer.slice(0, colon), layer.slice(colon + 1));
}

/**
 * Opens the cache, making the folder (mode 0700) where there is none.
 *
 * @throws PeelError ERR_CACHE: facts.reason is `unsafe` where another user could tamper with it (nothing was
 * written), `unusable` where it can be neither made nor read; facts.errno names the failed call.
 */
export async function openCacheDir(folder: string, limits: CacheLimits = {}): Promise<CacheDir> {
  const absolute = path.resolve(folder);
  try {
    await prepare(absolute);
    const cache = new CacheDir(absolute, limits);
    await prepareVersion(cache.versionDir);
    return cache;
  } catch (error) {
    if (isPeelError(error)) throw error;
    const errno = systemCodeOf(error) ?? 'unknown';
    throw new PeelError(
      'ERR_CACHE',
      `cache directory ${JSON.stringify(absolute)} cannot be used (${errno}): make it writable, or choose another place with --cache-dir`,
      { facts: { path: absolute, reason: 'unusable', errno }, cause: error },
    );
  }
}

/** Nothing is created before every folder that exists on the way was found safe. */
async function prepare(folder: string): Promise<void> {
  const existing = await deepestExisting(folder);
  await checkFoldersAbove(existing);
  if (existing !== folder) {
    // The folder that we are about to make one in is on the way, too.
    await checkFoldersAbove(path.join(existing, 'x'));
    await makeFolders(folder);
    await checkFoldersAbove(folder);
  }
  await checkOwnFolder(folder);
}

async function prepareVersion(versionDir: string): Promise<void> {
  try {
    await mkdir(versionDir, { mode: 0o700 });
  } catch (error) {
    const code = systemCodeOf(error);
    // An empty cache on a read-only file system holds nothing, and that is no reason to fail.
    if (code === 'EROFS') return;
    if (code !== 'EEXIST') throw error;
  }
  await checkOwnFolder(versionDir);
  const { mode } = await lstat(versionDir);
  // The user's folder may be open to readers; what we keep in it is not.
  if ((mode & 0o077) === 0) return;
  await chmod(versionDir, 0o700).catch((error: unknown) => {
    if (systemCodeOf(error) !== 'EROFS') throw error;
  });
}

async function deepestExisting(folder: string): Promise<string> {
  for (let candidate = folder; ; candidate = path.dirname(candidate)) {
    try {
      await lstat(candidate);
      return candidate;
    } catch (error) {
      if (systemCodeOf(error) !== 'ENOENT' || candidate === '/') throw error;
    }
  }
}
