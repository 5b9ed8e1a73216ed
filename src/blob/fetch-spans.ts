/** From the bytes of a `RangeSource` to the spans of a layer, as a stream: never more than one span in memory. */
import type { CompressedRange } from '../units.ts';
import { BadSpan, type DecodedSpan, type Run } from './decode-run.ts';
import type { RangeSource } from './range-source.ts';

/**
 * Makes one request for the bytes from where `run` stands to `range.end`, and gives the spans that come out,
 * up to `last`, in order. They are not verified. The run stays usable when the source fails.
 *
 * @throws BadSpan where the bytes are too few or do not decompress; the source's own errors.
 */
export async function* fetchSpans(
  source: RangeSource,
  run: Run,
  range: CompressedRange,
  last: number,
  signal: AbortSignal,
  onBytes: (count: number) => void,
): AsyncGenerator<DecodedSpan> {
  if (range.start < range.end) {
    for await (const chunk of source.fetch(range, signal)) {
      signal.throwIfAborted();
      onBytes(chunk.length);
      // A source that gives more than it was asked for is not followed there.
      yield* run.feed(chunk.subarray(0, range.end - run.fedTo), last);
      signal.throwIfAborted();
      if (run.fedTo >= range.end) break;
    }
  }
  if (run.fedTo < range.end) {
    const got = run.fedTo - range.start;
    throw new BadSpan(run.nextSpan, `the source gave ${got} of ${range.end - range.start} bytes`);
  }
  yield* run.drain(last);
  if (run.nextSpan <= last) {
    throw new BadSpan(run.nextSpan, `the compressed bytes up to ${range.end} do not complete it`);
  }
}
