/** The cache as a command uses it: one that cannot be used costs time, not the answer (P12). */
import path from 'node:path';
import { CacheDir, type CacheLimits, openCacheDir } from '../blob/cache-dir.ts';
import { isPeelError } from '../errors.ts';
import { log } from '../log.ts';

/** @throws PeelError ERR_CACHE for a cache that others could tamper with. */
export async function openCache(folder: string, limits?: CacheLimits): Promise<CacheDir> {
  try {
    return await openCacheDir(folder, limits);
  } catch (error) {
    if (!isPeelError(error, 'ERR_CACHE') || error.facts['reason'] !== 'unusable') throw error;
    log().warn({ err: error }, `${error.message}; going on without a cache`);
    return new CacheDir(path.resolve(folder), limits);
  }
}
