/**
 * The cached files of a layer as they lie on disk, for whoever looks at the whole cache (eviction, usage)
 * and knows no TOC.
 */
import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { openOwnFile, READ_ONLY, readFully } from '../storage/own-file.ts';
import { type Digest, isDigest } from '../units.ts';
import { decodeMap, type SpanMap } from './span-map.ts';

export const SPANS_FILE = 'spans';
export const MAP_FILE = 'spans.map';
/** Names of backing files begin so (backing-files.ts). */
export const BACKING_PREFIX = 'file-';
const LAYERS = 'layers';

/** A map names at most as many spans as this: 64 TiB of spans of 256 KiB would be more. */
const MAX_MAP_BYTES = 256 * 1024 * 1024;
/** st_blocks counts in these. */
const BLOCK_BYTES = 512;

export interface CachedLayer {
  readonly digest: Digest;
  readonly directory: string;
  /** Bytes on disk by file name, holes not counted. */
  readonly bytesOf: ReadonlyMap<string, number>;
  /** Those among them that are backing files. */
  readonly backingFiles: readonly CachedBackingFile[];
  readonly totalBytes: number;
  /** Newest modification of any of its files, ms since 1970. */
  readonly modifiedMs: number;
}

/** All layers below `versionDir`. What cannot be read, or vanishes meanwhile, is left out. */
export async function listCachedLayers(versionDir: string): Promise<CachedLayer[]> {
  const layers: CachedLayer[] = [];
  for (const algorithm of ['sha256', 'sha512']) {
    const folder = path.join(versionDir, LAYERS, algorithm);
    for (const name of await namesIn(folder)) {
      const digest = `${algorithm}:${name}`;
      if (isDigest(digest)) layers.push(await measure(path.join(folder, name), digest));
    }
  }
  return layers;
}

async function measure(directory: string, digest: Digest): Promise<CachedLayer> {
  const bytesOf = new Map<string, number>();
  const backingFiles: CachedBackingFile[] = [];
  let modifiedMs = 0;
  let totalBytes = 0;
  for (const name of await namesIn(directory)) {
    const found = await statOf(path.join(directory, name));
    if (found === undefined) continue;
    const bytes = found.blocks * BLOCK_BYTES;
    bytesOf.set(name, bytes);
    totalBytes += bytes;
    if (name.startsWith(BACKING_PREFIX))
      backingFiles.push({ name, bytes, lastUse: Math.floor(found.mtimeMs / 1000) });
    modifiedMs = Math.max(modifiedMs, found.mtimeMs);
  }
  return { digest, directory, bytesOf, backingFiles, totalBytes, modifiedMs };
}

/** A file of the image that lies in the cache on its own, too. */
export interface CachedBackingFile {
  readonly name: string;
  readonly bytes: number;
  /** Seconds since 1970, as in a span map. */
  readonly lastUse: number;
}

/** A file that the cache keeps of an image as a whole: its merged tree. */
export interface CachedTree {
  readonly file: string;
  readonly bytes: number;
  readonly modifiedMs: number;
}

/** The trees below `versionDir` (src/tree/stored-tree.ts writes them). */
export async function listCachedTrees(versionDir: string): Promise<CachedTree[]> {
  const trees: CachedTree[] = [];
  for (const name of await namesIn(treesDirIn(versionDir))) {
    const file = path.join(treesDirIn(versionDir), name);
    const found = await statOf(file);
    if (found?.isFile() === true)
      trees.push({ file, bytes: found.blocks * BLOCK_BYTES, modifiedMs: found.mtimeMs });
  }
  return trees;
}

export function treesDirIn(versionDir: string): string {
  return path.join(versionDir, 'trees');
}

/** The span map of a layer, or undefined where there is none that can be read. */
export async function loadMap(directory: string): Promise<SpanMap | undefined> {
  try {
    const { handle, found } = await openOwnFile(path.join(directory, MAP_FILE), READ_ONLY);
    try {
      if (found.size > MAX_MAP_BYTES) return undefined;
      const bytes = Buffer.alloc(found.size);
      const length = await readFully(handle, bytes, 0);
      return decodeMap(bytes.subarray(0, length));
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}

/** Bytes on disk of all files below a folder, as `du` counts them. */
export async function bytesBelow(folder: string): Promise<number> {
  let total = 0;
  for (const name of await namesIn(folder)) {
    const found = await statOf(path.join(folder, name));
    if (found?.isDirectory() === true) total += await bytesBelow(path.join(folder, name));
    else total += (found?.blocks ?? 0) * BLOCK_BYTES;
  }
  return total;
}

/** Names in a folder; none where it cannot be read. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch {
    return [];
  }
}

async function statOf(file: string): Promise<Stats | undefined> {
  try {
    return await lstat(file);
  } catch {
    return undefined;
  }
}
