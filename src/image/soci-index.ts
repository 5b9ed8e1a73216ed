/**
 * The SOCI index of an image: a manifest whose layers are ztocs, each for one layer of the image.
 *
 * Version 2: the image's manifest names it by digest, and the image index lists it beside the manifest. Whoever pinned
 * the image pinned it, too (FAULTS class C). Version 1: it refers to the image, which anybody may attach to it after the
 * fact; it is only looked for where the user allows what nothing verifies (class D).
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
const VERSION_1 = 'application/vnd.amazon.soci.index.v1+json';

export interface Ztoc {
  readonly blob: Descriptor;
  readonly verificationClass: 'C' | 'D';
}

/** By layer of the image. */
export type Ztocs = ReadonlyMap<Digest, Ztoc>;

/** Empty where the image has no such index. @throws UnusableIndex; errors of the source pass. */
export async function findZtocs(
  source: ImageSource,
  image: Pick<ResolvedImage, 'manifest' | 'manifestDocument' | 'indexDocument'>,
  allowUnverified: boolean,
  signal: AbortSignal,
): Promise<Ztocs> {
  const named = namedIndex(image);
  if (named !== undefined) return await ztocsOf(source, named, 'C', signal);
  if (!allowUnverified) return new Map();
  const { digest } = image.manifestDocument;
  const found = await source.listReferrers?.(digest, VERSION_1, signal).catch((error: unknown) => {
    if (isPeelError(error, 'ERR_IMAGE_NOT_FOUND')) return [];
    throw error;
  });
  const [first] = found ?? [];
  return first === undefined ? new Map() : await ztocsOf(source, first, 'D', signal);
}

/** Where the index lies deeper than beside the manifest, it is not found: nobody makes them so. */
function namedIndex({
  manifest,
  indexDocument,
}: Pick<ResolvedImage, 'manifest' | 'indexDocument'>): Descriptor | undefined {
  const named = manifest.annotations[INDEX_DIGEST];
  if (named === undefined || indexDocument === undefined) return undefined;
  const top = parseDocument(indexDocument.bytes, indexDocument.mediaType);
  return top.kind === 'index' ? top.manifests.find(({ digest }) => digest === named) : undefined;
}

async function ztocsOf(
  source: ImageSource,
  descriptor: Descriptor,
  verificationClass: Ztoc['verificationClass'],
  signal: AbortSignal,
): Promise<Ztocs> {
  try {
    const { bytes, mediaType } = await source.fetchDocument(descriptor, signal);
    const index = parseDocument(bytes, mediaType);
    if (index.kind !== 'manifest') throw new UnusableIndex('it is no manifest');
    const ztocs = new Map<Digest, Ztoc>();
    for (const blob of index.layers) {
      const layer = blob.annotations?.[LAYER_DIGEST];
      if (layer !== undefined && isDigest(layer)) ztocs.set(layer, { blob, verificationClass });
    }
    return ztocs;
  } catch (error) {
    if (!isPeelError(error, 'ERR_DOCUMENT_INVALID') && !isPeelError(error, 'ERR_UNSUPPORTED')) throw error;
    throw new UnusableIndex(error.message, { cause: error });
  }
}
