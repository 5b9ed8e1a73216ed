/**
 * What has passed of a layer around one file: its own bytes, and so many before and after that the spans which hold
 * it are whole. For the cache, once the layer is proved, so that the file is not fetched a second time.
 *
 *   ....|--- span ---|--- span ---|--- span ---|....
 *            [= margin =][ file ][= margin =]
 */
import type { Passing } from '../layer/layer-input.ts';
import type { UncompressedRange } from '../units.ts';

type Part = NonNullable<Passing['tar']>;

/** The longest span of gzip (native/index_builder.cc); where one is longer, it is fetched when it is wanted again. */
const MARGIN_BYTES = 1024 * 1024;
/** Of a larger file nothing is kept: a second look fetches what it needs of it. */
const MAX_KEPT_BYTES = 32 * 1024 * 1024;

export class PassedBytes {
  #parts: Part[] = [];
  #length = 0;
  #file: UncompressedRange | undefined;
  #isComplete = false;

  /** No more is taken. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Parts come in order and without gaps. */
  add(part: Part): void {
    if (this.#isComplete) return;
    this.#parts.push(part);
    this.#length += part.bytes.length;
    if (this.#file === undefined) this.#dropOld();
    else this.#checkComplete(this.#file);
  }

  /** Where the file lies: not before the part that was added last. */
  setFile(range: UncompressedRange): void {
    this.#file = range;
    this.#checkComplete(range);
  }

  /** undefined for nothing. */
  take(): Part | undefined {
    const [first] = this.#parts;
    if (first === undefined || this.#file === undefined) return undefined;
    return { start: first.start, bytes: Buffer.concat(this.#parts.map(({ bytes }) => bytes)) };
  }

  /** The file may begin with the newest part. */
  #dropOld(): void {
    const newest = this.#parts.at(-1)?.bytes.length ?? 0;
    for (;;) {
      const oldest = this.#parts[0]?.bytes.length ?? 0;
      if (this.#length - newest - oldest < MARGIN_BYTES) return;
      this.#parts.shift();
      this.#length -= oldest;
    }
  }

  #checkComplete(file: UncompressedRange): void {
    const end = (this.#parts[0]?.start ?? 0) + this.#length;
    this.#isComplete = end >= file.end + MARGIN_BYTES;
    if (this.#length <= MAX_KEPT_BYTES) return;
    this.#isComplete = true;
    this.#parts = [];
  }
}
