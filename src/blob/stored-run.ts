/**
 * Decompression of a layer by a SOCI index (`src/layer/soci/`), which has a digest of each span as it is stored: all
 * stored bytes of a span are gathered and verified before the first of them is decompressed. Neighbours share the byte
 * that one block ends and the next begins in.
 */
import { createHash } from 'node:crypto';
import type { StoredDigests } from '../layer/own-index.ts';
import { beginsAsTar, dataStarts } from '../layer/soci/first-span.ts';
import { createSpanDecoder } from '../native.ts';
import { type CompressedOffset, compressed } from '../units.ts';
import { BadSpan, type DecodedSpan, DecodeRun, type LayerIndex, type Run } from './decode-run.ts';
import { spanOf } from './plan.ts';

export class StoredRun implements Run {
  readonly #index: LayerIndex;
  readonly #stored: StoredDigests;
  #fedTo: CompressedOffset;
  /** Each span has a checkpoint of its own, with the same number. */
  #nextSpan: number;
  /** Of the next span, from its checkpoint to `#fedTo`. */
  #gathered: Uint8Array[] = [];

  constructor(index: LayerIndex, stored: StoredDigests, checkpoint: number) {
    this.#index = index;
    this.#stored = stored;
    this.#nextSpan = checkpoint;
    this.#fedTo = compressed(this.#startOf(checkpoint));
  }

  get fedTo(): CompressedOffset {
    return this.#fedTo;
  }

  get nextSpan(): number {
    return this.#nextSpan;
  }

  async *feed(chunk: Uint8Array, last: number): AsyncGenerator<DecodedSpan> {
    let rest = chunk;
    while (rest.length > 0 && this.#nextSpan <= last) {
      const { compressedEnd } = spanOf(this.#index.toc.spans, this.#nextSpan);
      const part = rest.subarray(0, Math.max(0, compressedEnd - this.#fedTo));
      rest = rest.subarray(part.length);
      this.#fedTo = compressed(this.#fedTo + part.length);
      this.#gathered.push(part);
      if (this.#fedTo < compressedEnd) return;
      yield await this.#complete();
    }
  }

  /** Nothing comes out that was not complete before. */
  async *drain(): AsyncGenerator<DecodedSpan> {}

  close(): void {
    this.#gathered = [];
  }

  async #complete(): Promise<DecodedSpan> {
    const span = this.#nextSpan;
    const bytes = Buffer.concat(this.#gathered);
    const sum = createHash('sha256').update(bytes).digest();
    if (this.#stored.digests[span]?.equals(sum) !== true) {
      throw new BadSpan(span, 'its stored bytes do not have the sha256 that the index names');
    }
    const decoded = await this.#decode(span, bytes);
    this.#nextSpan += 1;
    const isShared = this.#startOf(this.#nextSpan) < this.#fedTo;
    this.#gathered = isShared ? [bytes.subarray(this.#startOf(this.#nextSpan) - this.#fedTo)] : [];
    return decoded;
  }

  async #decode(span: number, bytes: Buffer): Promise<DecodedSpan> {
    const { toc } = this.#index;
    if (span > 0 || toc.compression !== 'gzip') return this.#decodeFrom(span, bytes);
    for (const start of dataStarts(bytes, this.#startOf(0))) {
      const decoded = await this.#decodeFrom(span, bytes.subarray(start)).catch((error: unknown) => {
        if (error instanceof BadSpan) return undefined;
        throw error;
      });
      if (decoded !== undefined && beginsAsTar(decoded.bytes)) return decoded;
    }
    throw new BadSpan(span, 'its stored bytes do not decompress to the beginning of a tar');
  }

  async #decodeFrom(span: number, bytes: Buffer): Promise<DecodedSpan> {
    const { toc } = this.#index;
    const at = toc.checkpoints[span];
    if (at === undefined) throw new RangeError(`no checkpoint ${span} of ${toc.digest}`);
    const window = at.windowLength > 0 ? await this.#index.readWindow(span) : undefined;
    const decoder = createSpanDecoder({
      compression: toc.compression,
      bits: at.bits,
      ...(window === undefined ? {} : { window }),
    });
    const run = new DecodeRun(toc, at, decoder);
    try {
      for await (const decoded of run.feed(bytes, span)) return decoded;
      for await (const decoded of run.drain(span)) return decoded;
    } finally {
      run.close();
    }
    throw new BadSpan(span, 'its stored bytes do not complete it');
  }

  #startOf(checkpoint: number): number {
    return this.#index.toc.checkpoints[checkpoint]?.compressedOffset ?? Number.POSITIVE_INFINITY;
  }
}
