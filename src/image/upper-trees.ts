/**
 * The merged view of an image as it becomes known: from the top layer down, a tree each time that another layer is
 * known and the layers so far say something by themselves.
 *
 *   layer 3 ─► tree of 3 ─► layer 2 ─► tree of 2 and 3 ─► ... ─► nothing more: the whole image is the caller's
 *
 * Which paths such a tree may speak of is the rule of `src/tree/upper-layers.ts`; here is the order.
 */
import type { Entry } from '../layer/toc.ts';
import type { Tree } from '../tree/node.ts';
import { mergeUpperLayers } from '../tree/upper-layers.ts';

/** Each tree is merged anew; layers that together made so many entries be merged are left to the whole image. */
const MAX_MERGED_ENTRIES = 500_000;

export interface LayersFromTop {
  readonly count: number;
  /**
   * 0 = lowest. Asked from the top down, each when the ones above are known: `known` has their entries, and none for
   * the others. undefined: nothing more is wanted.
   */
  entries(layer: number, known: readonly (readonly Entry[])[]): Promise<readonly Entry[] | undefined>;
  /** True where a layer's entries are at hand: a tree without it would be out of date at once. */
  isAtHand(layer: number): boolean;
}

export interface UpperTree {
  /** Each path in it is what the whole image has there, but that directories may have more children. */
  readonly tree: Tree;
  /** The lowest of the layers in it, never 0. */
  readonly lowest: number;
}

/** Ends where only the whole image can say more. Rejects as `entries` does. */
export async function* upperTrees(layers: LayersFromTop): AsyncGenerator<UpperTree, void, undefined> {
  const known: (readonly Entry[])[] = Array.from({ length: layers.count }, () => []);
  /** Layers that were passed by since the last tree, the deepest first. */
  let passed: number[] = [];
  let merged = 0;
  const treeFrom = (lowest: number): Tree | undefined => {
    for (const entries of known.slice(lowest)) merged += entries.length;
    return merged > MAX_MERGED_ENTRIES ? undefined : mergeUpperLayers(known, lowest);
  };
  for (let lowest = layers.count - 1; lowest >= 0; lowest -= 1) {
    const own = await layers.entries(lowest, known);
    if (own === undefined) return;
    known[lowest] = own;
    passed.unshift(lowest);
    if (lowest === 0 || layers.isAtHand(lowest - 1)) continue;
    // The deepest says most, but it may say nothing, where those above it by themselves would.
    for (const layer of passed) {
      const tree = treeFrom(layer);
      if (tree === undefined) continue;
      yield { tree, lowest: layer };
      break;
    }
    passed = [];
  }
}
