/**
 * The SOCI index of an image, version 2: the image's manifest names it by digest, and the image index lists it beside
 * the manifest. It is a manifest whose layers are ztocs, each for one layer of the image. Whoever pinned the image pinned
 * it, too (FAULTS class C). Indexes of version 1, which anybody may attach to an image, are not looked for.
 */
import { isPeelError } from '../errors.ts';
import { UnusableIndex } from '../layer/unusable-index.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import { parseDocument } from '../reference/parse-document.ts';
import type { ResolvedImage } from '../source/resolve-image.ts';
import type { ImageSource } from '../source/source.ts';
import { type Digest, isDigest } from '../units.ts';

const INDEX_DIGEST = 'com.amazon.soci.index-digest';
const LAYER_DIGEST = 'com.amazon.soci.image-layer-digest';

/** By layer of the image. */
export type Ztocs = ReadonlyMap<Digest, Descriptor>;

/** Empty where the image has no such index. @throws UnusableIndex; errors of the source pass. */
export async function findZtocs(
  source: ImageSource,
  { manifest, indexDocument }: Pick<ResolvedImage, 'manifest' | 'indexDocument'>,
  signal: AbortSignal,
): Promise<Ztocs> {
  const named = manifest.annotations[INDEX_DIGEST];
  if (named === undefined || indexDocument === undefined) return new Map();
  const top = parseDocument(indexDocument.bytes, indexDocument.mediaType);
  const descriptor = top.kind === 'index' ? top.manifests.find(({ digest }) => digest === named) : undefined;
  // Also where the index lies deeper: nobody makes them so.
  if (descriptor === undefined) return new Map();
  try {
    const { bytes, mediaType } = await source.fetchDocument(descriptor, signal);
    const index = parseDocument(bytes, mediaType);
    if (index.kind !== 'manifest') throw new UnusableIndex('the SOCI index is no manifest');
    const ztocs = new Map<Digest, Descriptor>();
    for (const ztoc of index.layers) {
      const layer = ztoc.annotations?.[LAYER_DIGEST];
      if (layer !== undefined && isDigest(layer)) ztocs.set(layer, ztoc);
    }
    return ztocs;
  } catch (error) {
    if (!isPeelError(error, 'ERR_DOCUMENT_INVALID') && !isPeelError(error, 'ERR_UNSUPPORTED')) throw error;
    throw new UnusableIndex(`the SOCI index cannot be read (${error.message})`, { cause: error });
  }
}
