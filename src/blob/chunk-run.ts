/**
 * Decompression of a layer whose TOC was made from an index of its own (`src/layer/own-index.ts`): each checkpoint is
 * the start of a gzip member or zstd frame, and what a member decompresses to beyond its chunks is not known. So each
 * begins with a decoder of its own, and one request still serves many.
 *
 *   request    |---- member 4 ----|- member 5 -|(not ours)|-- member 6 --|
 *   decoders   [------------------][----------]            [------------]
 */
import type { TocIndex } from '../layer/toc.ts';
import { createSpanDecoder } from '../native.ts';
import { type CompressedOffset, compressed } from '../units.ts';
import { BadSpan, type DecodedSpan, DecodeRun, type Run } from './decode-run.ts';
import { spanAt, spanOf } from './plan.ts';

export class ChunkRun implements Run {
  readonly #toc: TocIndex;
  #fedTo: CompressedOffset;
  #nextSpan: number;
  /** The member that `#nextSpan` lies in, once a byte of it came. */
  #member: DecodeRun | undefined;
  #memberLast = -1;

  constructor(toc: TocIndex, checkpoint: number) {
    this.#toc = toc;
    const at = checkpointOf(toc, checkpoint);
    this.#fedTo = at.compressedOffset;
    this.#nextSpan = spanAt(toc.spans, at.uncompressedOffset);
  }

  get fedTo(): CompressedOffset {
    return this.#fedTo;
  }

  get nextSpan(): number {
    return this.#nextSpan;
  }

  async *feed(chunk: Uint8Array, last: number): AsyncGenerator<DecodedSpan> {
    let rest = chunk;
    const take = (length: number): Uint8Array => {
      const part = rest.subarray(0, Math.max(0, length));
      rest = rest.subarray(part.length);
      this.#fedTo = compressed(this.#fedTo + part.length);
      return part;
    };
    for (;;) {
      // All chunks of the member came out before its last bytes were there: what is left of it is dropped below.
      if (this.#nextSpan > this.#memberLast) this.close();
      const span = this.#toc.spans[this.#nextSpan];
      if (span === undefined) {
        take(rest.length);
        return;
      }
      if (this.#member === undefined) {
        take(checkpointOf(this.#toc, span.checkpoint).compressedOffset - this.#fedTo);
        if (rest.length === 0) return;
        this.#member = this.#openMember();
      }
      const member = this.#member;
      const until = Math.min(last, this.#memberLast);
      yield* this.#noting(member.feed(take(span.compressedEnd - this.#fedTo), until));
      if (this.#fedTo < span.compressedEnd) return;
      yield* this.drain(until);
      if (this.#nextSpan <= until) {
        throw new BadSpan(
          this.#nextSpan,
          `the compressed bytes up to ${span.compressedEnd} do not complete it`,
        );
      }
      if (this.#nextSpan <= this.#memberLast) return;
    }
  }

  async *drain(last: number): AsyncGenerator<DecodedSpan> {
    if (this.#member !== undefined) yield* this.#noting(this.#member.drain(Math.min(last, this.#memberLast)));
  }

  close(): void {
    this.#member?.close();
    this.#member = undefined;
  }

  #openMember(): DecodeRun {
    const { spans } = this.#toc;
    const { checkpoint } = spanOf(spans, this.#nextSpan);
    this.#memberLast = this.#nextSpan;
    while (spans[this.#memberLast + 1]?.checkpoint === checkpoint) this.#memberLast += 1;
    const decoder = createSpanDecoder({ compression: this.#toc.compression, atHeader: true });
    return new DecodeRun(this.#toc, checkpointOf(this.#toc, checkpoint), decoder);
  }

  async *#noting(decoded: AsyncGenerator<DecodedSpan>): AsyncGenerator<DecodedSpan> {
    for await (const each of decoded) {
      this.#nextSpan = each.span + 1;
      yield each;
    }
  }
}

function checkpointOf(toc: TocIndex, index: number): TocIndex['checkpoints'][number] {
  const checkpoint = toc.checkpoints[index];
  if (checkpoint === undefined) throw new RangeError(`no checkpoint ${index} of ${toc.digest}`);
  return checkpoint;
}
