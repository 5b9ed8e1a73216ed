/** Records of one size, appended to memory that grows. Little-endian; a number that does not fit is a RangeError. */
import { TWO_TO_32 } from './tree-format.ts';

const INITIAL_RECORDS = 256;

export class RecordTable {
  readonly #recordBytes: number;
  #bytes: Buffer;
  #count = 0;
  /** Where the last record begins. */
  #at = 0;

  constructor(recordBytes: number, expected = INITIAL_RECORDS) {
    this.#recordBytes = recordBytes;
    this.#bytes = Buffer.alloc(recordBytes * expected);
  }

  get count(): number {
    return this.#count;
  }

  /** What was appended so far; valid until the next `append`. */
  written(): Buffer {
    return this.#bytes.subarray(0, this.#count * this.#recordBytes);
  }

  /** A record of zeros, which the setters then fill; its index. */
  append(): number {
    this.#at = this.#count * this.#recordBytes;
    if (this.#at + this.#recordBytes > this.#bytes.length) {
      const larger = Buffer.alloc(this.#bytes.length * 2 + this.#recordBytes);
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    this.#count += 1;
    return this.#count - 1;
  }

  uint8(field: number, value: number): void {
    this.#bytes.writeUInt8(value, this.#at + field);
  }

  uint16(field: number, value: number): void {
    this.#bytes.writeUInt16LE(value, this.#at + field);
  }

  uint32(field: number, value: number): void {
    this.#bytes.writeUInt32LE(value, this.#at + field);
  }

  /** Also for what may be negative: two's complement. */
  int64(field: number, value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`cannot store ${value}`);
    const high = Math.floor(value / TWO_TO_32);
    this.#bytes.writeUInt32LE(value - high * TWO_TO_32, this.#at + field);
    this.#bytes.writeInt32LE(high, this.#at + field + 4);
  }
}
