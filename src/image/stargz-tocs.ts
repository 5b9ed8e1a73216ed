/**
 * The TOCs of eStargz layers that do not hold them: they lie in an image of their own, whose layers are TOCs and say of
 * which layer each is. It stands in the same repository, under the image's tag with `-esgztoc` behind it.
 *
 * Nothing names that image: it is no more than a place to look. What is found there is believed where it has the
 * digest that the manifest names (class B), as if it had lain in the layer.
 *
 * Source: stargz-snapshotter docs/smaller-estargz.md.
 */
import { isPeelError } from '../errors.ts';
import { UnusableIndex } from '../layer/unusable-index.ts';
import { parseDocument } from '../reference/parse-document.ts';
import type { ImageSource } from '../source/source.ts';
import { isDigest } from '../units.ts';
import type { LayerIndexes } from './index-artifact.ts';

const SUFFIX = '-esgztoc';
const LAYER_DIGEST = 'containerd.io/snapshot/stargz/layer.digest';

/** By layer: where its TOC is; never empty. @throws UnusableIndex; errors of the source pass. */
export async function findStargzTocs(
  source: Pick<ImageSource, 'resolveBeside'>,
  signal: AbortSignal,
): Promise<LayerIndexes> {
  const found = await source.resolveBeside?.(SUFFIX, signal);
  if (found === undefined) {
    throw new UnusableIndex(`the image was not named by a tag, behind which ${SUFFIX} would lead to it`);
  }
  try {
    const image = parseDocument(found.bytes, found.mediaType);
    const layers = image.kind === 'manifest' ? image.layers : [];
    const tocs = layers.flatMap((toc) => {
      const layer = toc.annotations?.[LAYER_DIGEST];
      return layer !== undefined && isDigest(layer) ? [[layer, toc] as const] : [];
    });
    if (tocs.length > 0) return new Map(tocs);
  } catch (error) {
    if (!isPeelError(error, 'ERR_DOCUMENT_INVALID') && !isPeelError(error, 'ERR_UNSUPPORTED')) throw error;
    throw new UnusableIndex(error.message, { cause: error });
  }
  throw new UnusableIndex(`${found.digest} is no manifest that says which layers its TOCs are of`);
}
