/**
 * Decompression from one checkpoint on, cut into spans. A run can be put aside between two pieces of input
 * and go on later: what the fetch before it got so far is not lost, which matters where one checkpoint serves
 * a whole layer (zstd with a single frame).
 */
import { PeelError } from '../errors.ts';
import type { Checkpoint, TocIndex } from '../layer/toc.ts';
import type { SpanDecoder } from '../native.ts';
import { type CompressedOffset, compressed } from '../units.ts';
import { spanAt, spanOf } from './plan.ts';

/** The TOC of a layer and the windows of its checkpoints: the `StoredToc` of src/layer/ is one. */
export interface LayerIndex {
  readonly toc: TocIndex;
  /** The packed window of a checkpoint; undefined where it has none. Rejects where it is damaged. */
  readWindow(checkpoint: number): Promise<Buffer | undefined>;
  /** Keeps the sha256 of a span's uncompressed bytes, where the TOC has it of the stored ones alone. */
  learn?(span: number, sum: Buffer): Promise<void>;
}

/** A span as it came out of the decoder: complete, not verified. */
export interface DecodedSpan {
  readonly span: number;
  readonly bytes: Buffer;
}

/** The bytes that the source gave are not those that were indexed. */
export class BadSpan extends Error {
  readonly span: number;

  constructor(span: number, found: string, cause?: unknown) {
    super(found, cause === undefined ? undefined : { cause });
    this.span = span;
  }
}

/** It came out whole, and its digest is another. */
export class WrongSpan extends BadSpan {
  constructor(span: number) {
    super(span, 'its sha256 is not the one recorded');
  }
}

/** Decompression of neighbouring spans, in order. */
export interface Run {
  /** Compressed bytes before this went in; the next to feed is this one. */
  readonly fedTo: CompressedOffset;
  /** The first span that has not come out yet. */
  readonly nextSpan: number;
  /** Takes the next compressed bytes; gives the spans up to `last` that they complete. @throws BadSpan */
  feed(chunk: Uint8Array, last: number): AsyncGenerator<DecodedSpan>;
  /** Gives the spans up to `last` that the bytes fed so far complete. @throws BadSpan */
  drain(last: number): AsyncGenerator<DecodedSpan>;
  close(): void;
}

/** FAULTS section 7: span output. Also the most that one call of the decoder gives. */
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024;
const NO_INPUT = Buffer.alloc(0);

export class DecodeRun implements Run {
  readonly #toc: TocIndex;
  readonly #decoder: SpanDecoder;
  #fedTo: CompressedOffset;
  #nextSpan: number;
  /** Bytes to drop before `#nextSpan` begins. */
  #skip: number;
  #partial: Buffer | undefined;
  /** Fed, but not decompressed yet: what a request brings behind the last span wanted (zstd's ends are coarse). */
  #backlog: Uint8Array[] = [];
  #filled = 0;

  constructor(toc: TocIndex, checkpoint: Checkpoint, decoder: SpanDecoder) {
    this.#toc = toc;
    this.#decoder = decoder;
    this.#fedTo = checkpoint.compressedOffset;
    const within = spanAt(toc.spans, checkpoint.uncompressedOffset);
    this.#nextSpan = spanOf(toc.spans, within).start < checkpoint.uncompressedOffset ? within + 1 : within;
    const from = toc.spans[this.#nextSpan]?.start ?? toc.uncompressedSize;
    this.#skip = from - checkpoint.uncompressedOffset + gapBefore(toc, this.#nextSpan);
  }

  get fedTo(): CompressedOffset {
    return this.#fedTo;
  }

  get nextSpan(): number {
    return this.#nextSpan;
  }

  async *feed(chunk: Uint8Array, last: number): AsyncGenerator<DecodedSpan> {
    this.#fedTo = compressed(this.#fedTo + chunk.length);
    if (this.#nextSpan > last) {
      this.#backlog.push(chunk);
      return;
    }
    yield* this.#decode(chunk, last, false);
  }

  async *drain(last: number): AsyncGenerator<DecodedSpan> {
    if (this.#nextSpan <= last) yield* this.#decode(NO_INPUT, last, true);
  }

  close(): void {
    this.#decoder.close();
  }

  async *#decode(chunk: Uint8Array, last: number, isDraining: boolean): AsyncGenerator<DecodedSpan> {
    let input = chunk;
    if (this.#backlog.length > 0) {
      input = Buffer.concat([...this.#backlog, chunk]);
      this.#backlog = [];
    }
    while (this.#nextSpan <= last) {
      const { start, end } = spanOf(this.#toc.spans, this.#nextSpan);
      const length = end - start;
      if (length > MAX_OUTPUT_BYTES)
        throw new BadSpan(this.#nextSpan, `a span of ${length} bytes is too long`);
      const wanted = this.#skip > 0 ? Math.min(this.#skip, MAX_OUTPUT_BYTES) : length - this.#filled;
      const output = await this.#write(input, wanted);
      input = NO_INPUT;
      if (output.length === 0) return;
      if (this.#skip > 0) {
        this.#skip -= output.length;
      } else if (this.#filled === 0 && output.length === length) {
        yield { span: this.#pass(), bytes: output };
      } else {
        this.#partial ??= Buffer.allocUnsafeSlow(length);
        output.copy(this.#partial, this.#filled);
        this.#filled += output.length;
        if (this.#filled === length) {
          const bytes = this.#partial;
          this.#partial = undefined;
          this.#filled = 0;
          yield { span: this.#pass(), bytes };
        }
      }
      // Less than wanted: the input is used up. Only at the very end is it worth asking again.
      if (output.length < wanted && !isDraining) return;
    }
  }

  /** The span that is complete; goes on to the next one. */
  #pass(): number {
    const passed = this.#nextSpan;
    this.#nextSpan += 1;
    this.#skip = gapBefore(this.#toc, this.#nextSpan);
    return passed;
  }

  async #write(input: Uint8Array, wanted: number): Promise<Buffer> {
    try {
      return await this.#decoder.write(input, wanted);
    } catch (error) {
      // Closed under our feet, or no memory: says nothing about the bytes.
      if (!(error instanceof PeelError) || error.code === 'ERR_INTERRUPTED' || error.code === 'ERR_IO')
        throw error;
      throw new BadSpan(this.#nextSpan, `decompression failed (${error.message})`, error);
    }
  }
}

/** Bytes of output in front of a span that belong to none. */
function gapBefore(toc: TocIndex, span: number): number {
  return toc.own?.gaps?.[span] ?? 0;
}
