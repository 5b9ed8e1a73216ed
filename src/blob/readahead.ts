/**
 * How much to fetch beyond a read. A reader that goes on where it stopped gets as much ahead as it has read
 * in a row so far, up to a cap: requests double, and never more is fetched in vain than was used. Any other
 * read gets nothing ahead.
 *
 *   read    |---|---|---|---|---|
 *   ahead       >   >>  >>>  ...          random reads: none
 *
 * Several readers of one layer are told apart by where each stopped.
 */
import type { UncompressedRange } from '../units.ts';

/** Readers told apart; more of them forget the one that has been still for longest. */
const MAX_STREAMS = 32;
/** Reading on after a gap up to this is still in a row: tar headers and padding lie between files, and the
 *  kernel's own readahead does not come in strict order. */
const MAX_GAP_BYTES = 64 * 1024;
export const DEFAULT_READAHEAD_BYTES = 8 * 1024 * 1024;

interface Stream {
  end: number;
  inARow: number;
}

export class Readahead {
  readonly #maxBytes: number;
  /** Longest still first. */
  readonly #streams: Stream[] = [];

  constructor(maxBytes: number = DEFAULT_READAHEAD_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Takes note of a read; answers how many uncompressed bytes beyond its end are worth having. */
  note(range: UncompressedRange): number {
    const index = this.#streams.findIndex(
      ({ end }) => range.start >= end && range.start - end <= MAX_GAP_BYTES,
    );
    const length = range.end - range.start;
    if (index === -1) {
      this.#streams.push({ end: range.end, inARow: length });
      if (this.#streams.length > MAX_STREAMS) this.#streams.shift();
      return 0;
    }
    const [stream] = this.#streams.splice(index, 1);
    if (stream === undefined) return 0;
    stream.inARow += length;
    stream.end = range.end;
    this.#streams.push(stream);
    return Math.min(stream.inARow, this.#maxBytes);
  }
}
