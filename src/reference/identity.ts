/** Names that follow from content: image-spec config.md, "Layer ChainID". */
import type { Digest } from '../units.ts';
import { digestOf } from './digest.ts';

/**
 * The name of a stack of layers by what it unpacks to; `diffIDs` lowest first.
 * @throws RangeError for no layers: an empty stack has no chainID.
 */
export function chainID(diffIDs: readonly Digest[]): Digest {
  const [lowest, ...uppers] = diffIDs;
  if (lowest === undefined) throw new RangeError('an empty stack of layers has no chainID');
  return uppers.reduce((chain, diffID) => digestOf(Buffer.from(`${chain} ${diffID}`)), lowest);
}
