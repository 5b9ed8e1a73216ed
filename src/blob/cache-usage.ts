/** What lies in the cache, layer by layer, and making it smaller by hand: `peel cache du` and `prune`. */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { TOC_FILE } from '../layer/toc-store.ts';
import { WINDOWS_FILE } from '../layer/windows-file.ts';
import type { Digest } from '../units.ts';
import type { CacheDir } from './cache-dir.ts';
import {
  bytesBelow,
  type CachedLayer,
  listCachedLayers,
  loadMap,
  MAP_FILE,
  namesIn,
  SPANS_FILE,
} from './cached-layer.ts';
import { evictContentOf, evictIndexes } from './evict.ts';

/** Bytes are those on disk: holes are not counted. */
export interface LayerUsage {
  readonly digest: Digest;
  readonly tocBytes: number;
  readonly windowBytes: number;
  /** Spans with their map. */
  readonly spanBytes: number;
  /** Files that lie there on their own, too (backing-files.ts). */
  readonly backingBytes: number;
  readonly spansPresent: number;
  /** 0 where nothing of the layer but its TOC was ever kept. */
  readonly spansTotal: number;
  /** When something of the layer was used or written last. */
  readonly lastUsed: Date;
}

export interface CacheUsage {
  /** Most recently used first. */
  readonly layers: readonly LayerUsage[];
  /** All of the cache: layers, and beside them the trees and documents of images. */
  readonly totalBytes: number;
}

/** Reads every layer's map; a cache that is not there is empty. */
export async function cacheUsage(cache: CacheDir): Promise<CacheUsage> {
  const found = await listCachedLayers(cache.versionDir);
  const layers = await Promise.all(found.map(usageOf));
  layers.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
  return { layers, totalBytes: await bytesBelow(cache.versionDir) };
}

async function usageOf(layer: CachedLayer): Promise<LayerUsage> {
  const uses = (await loadMap(layer.directory))?.lastUse ?? new Uint32Array();
  const newest = uses.reduce((latest, use) => Math.max(latest, use), 0);
  return {
    digest: layer.digest,
    tocBytes: layer.bytesOf.get(TOC_FILE) ?? 0,
    windowBytes: layer.bytesOf.get(WINDOWS_FILE) ?? 0,
    spanBytes: (layer.bytesOf.get(SPANS_FILE) ?? 0) + (layer.bytesOf.get(MAP_FILE) ?? 0),
    backingBytes: layer.backingFiles.reduce((sum, { bytes }) => sum + bytes, 0),
    spansPresent: uses.reduce((count, use) => (use === 0 ? count : count + 1), 0),
    spansTotal: uses.length,
    lastUsed: new Date(Math.max(newest * 1000, layer.modifiedMs)),
  };
}

/**
 * Brings the cache down to `keepBytes`, content least recently used first, then trees, then whole layers; or drops all
 * content, so that only indexes are left; or empties it.
 * Mounts that use it go on, and fill it again. Answers how many bytes on disk were freed.
 */
export async function pruneCache(
  { versionDir }: CacheDir,
  what: { readonly keepBytes: number } | { readonly all: true } | { readonly content: true },
): Promise<number> {
  const before = await bytesBelow(versionDir);
  if ('all' in what) {
    for (const name of await namesIn(versionDir)) {
      await rm(path.join(versionDir, name), { recursive: true, force: true });
    }
  } else if ('content' in what) {
    await evictContentOf(await listCachedLayers(versionDir), Number.POSITIVE_INFINITY);
  } else {
    const excess = before - what.keepBytes;
    if (excess > 0) await evictContentOf(await listCachedLayers(versionDir), excess);
    const stillExcess = (await bytesBelow(versionDir)) - what.keepBytes;
    if (stillExcess > 0) await evictIndexes(versionDir, stillExcess);
  }
  return before - (await bytesBelow(versionDir));
}
