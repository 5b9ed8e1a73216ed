/** What the file system needs to read bytes: `image.ts` joins it with the readers of `src/blob/`. */
import type { UncompressedOffset, UncompressedRange } from '../units.ts';

export interface Contents {
  /**
   * The bytes of a range of a layer's tar (0 = lowest layer), verified. `range` is not empty and lies inside the layer.
   * `willReadTo`: the reader means to go on up to there, and no further; undefined where it did not say.
   * @throws PeelError when they cannot be had before the deadline or do not match their digest.
   */
  read(
    layer: number,
    range: UncompressedRange,
    signal?: AbortSignal,
    willReadTo?: UncompressedOffset,
  ): Promise<Buffer>;
}
