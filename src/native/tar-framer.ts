/**
 * The framer of the addon by itself, for whoever reads the headers of a tar and skips the bodies. One pass over all of
 * its bytes is `LayerScanner` (../native.ts), in which the same framer works.
 */
import { appendFrames, type NativeFrames, type TarFrame } from '../native.ts';
import { addonPart, settled } from './addon.ts';

export interface Framed {
  /** Members whose headers are complete now. */
  readonly frames: readonly TarFrame[];
  /** Bytes that come next and that nobody looks at: the rest of a body. */
  readonly skippable: number;
  /** The end marker was there: nothing after it is looked at. */
  readonly hasEnded: boolean;
}

/** Goes through one tar, upwards. After an error it is of no use. */
export interface TarFramer {
  /**
   * Takes the next bytes, a few MiB at most; `isLast`: and there are no more.
   * @throws PeelError ERR_LAYER_INVALID or ERR_LIMIT_EXCEEDED, with the offset in the tar.
   */
  feed(bytes: Uint8Array, isLast: boolean): Promise<Framed>;
  /** Takes what is skippable as if it had been fed. */
  skip(): void;
}

declare const native: unique symbol;
type FramerHandle = object & { readonly [native]: 'framer' };

interface FramerAddon {
  createFramer(): FramerHandle;
  feedFramer(
    framer: FramerHandle,
    bytes: Uint8Array,
    last: boolean,
  ): NativeFrames & { readonly skippable: number; readonly ended: boolean };
  skipFramer(framer: FramerHandle): void;
}

export function createTarFramer(): TarFramer {
  const addon = addonPart() as FramerAddon;
  const handle = addon.createFramer();
  return {
    async feed(bytes, isLast) {
      const batch = await settled('layer', () => addon.feedFramer(handle, bytes, isLast));
      const frames: TarFrame[] = [];
      appendFrames(frames, batch);
      return { frames, skippable: batch.skippable, hasEnded: batch.ended };
    },
    skip: () => addon.skipFramer(handle),
  };
}
