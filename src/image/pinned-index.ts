/** The index of peel that the user named by digest (`--index-digest`, class C): from the cache, or from where the image is. */
import type { CacheDir } from '../blob/cache-dir.ts';
import { PeelError } from '../errors.ts';
import { DocumentStore } from '../source/document-store.ts';
import type { ImageSource } from '../source/source.ts';
import type { Digest } from '../units.ts';
import { type LayerIndexes, layerIndexesOf } from './index-artifact.ts';

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
