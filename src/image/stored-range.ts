/** Where the bytes of a file lie in its layer. */
import type { Node } from '../tree/node.ts';
import { uncompressed } from '../units.ts';
import type { LayerRange } from './prefetch.ts';

/** Of the layer's tar (0 = lowest); undefined for what stores no bytes. */
export function storedRangeOf({ content, size }: Pick<Node, 'content' | 'size'>): LayerRange | undefined {
  if (content === undefined) return undefined;
  const { layer, dataOffset: start, sparse } = content;
  const length = sparse?.reduce((sum, piece) => sum + piece.length, 0) ?? size;
  return length === 0 ? undefined : { layer, start, end: uncompressed(start + length) };
}
