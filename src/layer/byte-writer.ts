/** Writes the numbers and strings of a stored form into one growing buffer. Little-endian. */
import type { ByteString } from '../units.ts';

const INITIAL_BYTES = 64 * 1024;
const LONGEST_NUMBER = 8;

export class ByteWriter {
  #bytes = Buffer.allocUnsafe(INITIAL_BYTES);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** What was written so far; valid until the next write. */
  written(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  uint32(value: number): void {
    this.#reserve(4);
    this.#length = this.#bytes.writeUInt32LE(value, this.#length);
  }

  /**
   * 7 bits a byte, low ones first, the top bit set on all bytes but the last; 8 bytes at most.
   * @throws RangeError for what is no safe integer of 0 or more.
   */
  number(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`cannot store ${value}`);
    this.#reserve(LONGEST_NUMBER);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Length, then the bytes. */
  bytes(bytes: Uint8Array): void {
    this.number(bytes.length);
    this.raw(bytes);
  }

  /** Length, then the bytes. */
  text(text: ByteString): void {
    this.number(text.length);
    this.rawText(text, 0);
  }

  /** The bytes of `text` from `start` on. */
  rawText(text: string, start: number): void {
    const rest = start === 0 ? text : text.slice(start);
    this.#reserve(rest.length);
    this.#length += this.#bytes.write(rest, this.#length, 'latin1');
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, needed));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
