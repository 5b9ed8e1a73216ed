/**
 * Layers that are read by an index which nothing verifies (FAULTS class D) are checked afterwards, or meanwhile: each is
 * read as a whole, and what was believed is held against it.
 *
 *   it is so   the layer is of class A: its own TOC is in the cache, and what is still read by the other has its digests
 *   it is not  nothing of the image is given out any more, and what was false leaves the cache
 */
import { isVerdict, PeelError } from '../errors.ts';
import { log } from '../log.ts';
import { type TreeStore, treeKey } from '../tree/stored-tree.ts';
import type { OpenedLayers } from './opened-layers.ts';

export interface UnverifiedParts {
  /** Of the image. */
  readonly name: string;
  readonly layers: OpenedLayers;
  readonly trees: TreeStore;
}

/**
 * Resolves when all layers that were shown are proved. `isInBackground`: reads come first, and progress is not shown.
 * @throws PeelError ERR_DIGEST_MISMATCH and other verdicts on a layer, for good; what keeps its bytes away, which may pass.
 */
export async function proveUnverified(
  { name, layers, trees }: UnverifiedParts,
  isInBackground: boolean,
): Promise<void> {
  const unproved = await layers.unverified();
  if (unproved.length === 0) return;
  // Before: what is proved has another identity.
  const identities = await layers.identities();
  for (const layer of unproved) {
    try {
      await layers.proveUnverified(layer, isInBackground);
    } catch (error) {
      if (!isVerdict(error)) throw error;
      const disproved = new PeelError(
        error.code,
        `${error.message}; it was read by an index that nothing verified: do not trust what was shown of ${name}`,
        { facts: error.facts, cause: error },
      );
      await layers.disprove(disproved);
      if (identities !== undefined) await trees.remove(treeKey(identities));
      throw disproved;
    }
    log().info({ image: name, layer }, 'an index that nothing verified is what the layer says: class A now');
  }
}
