/** Names that follow from content: image-spec config.md, "Layer ChainID". */
import type { Digest } from '../units.ts';
import { digestOf } from './digest.ts';

/**
 * For each layer, the name of the stack from the lowest up to it by what it unpacks to; `diffIDs` lowest first.
 * undefined from the first layer on whose diffID is not known.
 */
export function chainIDs(diffIDs: readonly (Digest | undefined)[]): (Digest | undefined)[] {
  const chains: (Digest | undefined)[] = [];
  for (const [at, diffID] of diffIDs.entries()) {
    const below = chains[at - 1];
    if (at === 0 || diffID === undefined) chains.push(diffID);
    else chains.push(below === undefined ? undefined : digestOf(Buffer.from(`${below} ${diffID}`)));
  }
  return chains;
}
