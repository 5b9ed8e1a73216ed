/**
 * The index of peel that an image is read by: the one that the user named by digest (`--index-digest`, class C), from the
 * cache or from where the image is; else, where the user allows what nothing verifies, the first that refers to the
 * image in its registry (class D).
 */
import type { CacheDir } from '../blob/cache-dir.ts';
import { isPeelError, PeelError } from '../errors.ts';
import { DocumentStore } from '../source/document-store.ts';
import type { ImageSource } from '../source/source.ts';
import type { Digest } from '../units.ts';
import { IMAGE_INDEX_TYPE, type LayerIndexes, layerIndexesOf } from './index-artifact.ts';

/** Empty where there is none. @throws UnusableIndex where it is none; errors of the source pass. */
export async function findReferring(
  image: Digest,
  source: ImageSource,
  signal: AbortSignal,
): Promise<LayerIndexes> {
  const found = await source.listReferrers?.(image, IMAGE_INDEX_TYPE, signal).catch((error: unknown) => {
    if (isPeelError(error, 'ERR_IMAGE_NOT_FOUND')) return [];
    throw error;
  });
  const [first] = found ?? [];
  return first === undefined ? new Map() : layerIndexesOf(await source.fetchDocument(first, signal));
}

/** Empty where none was named. @throws UnusableIndex where it is none; errors of the source pass. */
export async function findPinned(
  digest: Digest | undefined,
  source: ImageSource,
  cache: CacheDir,
  signal: AbortSignal,
): Promise<LayerIndexes> {
  if (digest === undefined) return new Map();
  // Imported, it is there for archives and layouts, too.
  const bytes = await new DocumentStore(cache.versionDir).readDocument(digest);
  if (bytes !== undefined) return layerIndexesOf({ digest, bytes, mediaType: undefined });
  if (source.fetchNamed === undefined) {
    throw new PeelError(
      'ERR_IMAGE_NOT_FOUND',
      `the index ${digest} is not in the cache: import it first (peel index import)`,
      { facts: { digest } },
    );
  }
  return layerIndexesOf(await source.fetchNamed(digest, signal));
}
