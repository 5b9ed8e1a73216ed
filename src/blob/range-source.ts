/**
 * What `blob` needs from wherever a layer's bytes lie: the bytes of a range, in order. `source` satisfies
 * it without knowing this file; `image.ts` joins the two.
 */
import type { CompressedRange, Digest } from '../units.ts';

export interface RangeSource {
  /** Of the whole blob. */
  readonly digest: Digest;
  /** Of the whole blob, bytes. */
  readonly size: number;
  /** Was seen to read each range from the beginning of the blob: parts are no cheaper than the whole. */
  readonly ignoresRanges?: boolean;
  /**
   * Streams the bytes of `range`, which lies inside the blob and is not empty. Exactly `end - start` bytes
   * come, or the iteration throws a PeelError; the bytes are not verified. Ending the iteration early or
   * aborting `signal` ends the request. The source retries and resumes by itself within its deadline.
   */
  fetch(range: CompressedRange, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}
