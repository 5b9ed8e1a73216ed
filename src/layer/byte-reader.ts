/**
 * Reads back what `ByteWriter` wrote, and trusts none of it: every length and count is held against the bytes
 * that are there, so that a damaged file costs no memory and no time.
 */
import type { ByteString } from '../units.ts';

/** The stored bytes are not what a writer of this version makes. Never leaves this folder. */
export class StoredFormError extends Error {
  override readonly name = 'StoredFormError';
}

const LONGEST_NUMBER = 8;
/** Of anything: each becomes an object many times its stored size. FAULTS section 7: entries of a layer. */
const MOST_RECORDS = 5_000_000;

export class ByteReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  byte(): number {
    const value = this.#bytes[this.#at];
    if (value === undefined || this.#at >= this.#end) throw new StoredFormError('cut short');
    this.#at++;
    return value;
  }

  uint32(): number {
    return this.raw(4).readUInt32LE(0);
  }

  number(): number {
    const first = this.byte();
    if (first < 0x80) return first;
    let value = first - 0x80;
    let scale = 0x80;
    for (let count = 1; count < LONGEST_NUMBER; count++) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 || !Number.isSafeInteger(value)) break;
        return value;
      }
      scale *= 0x80;
    }
    throw new StoredFormError('a number in no form that is written');
  }

  /** How many records follow, each of at least `smallest` bytes. */
  count(smallest: number): number {
    const count = this.number();
    if (count > MOST_RECORDS) throw new StoredFormError(`${count} records, at most ${MOST_RECORDS} are read`);
    if (count * smallest > this.left) throw new StoredFormError(`${count} records in ${this.left} bytes`);
    return count;
  }

  /** A view. */
  raw(length: number): Buffer {
    if (length > this.left) throw new StoredFormError(`${length} bytes wanted, ${this.left} left`);
    const start = this.#at;
    this.#at += length;
    return this.#bytes.subarray(start, this.#at);
  }

  /** A view. */
  bytes(): Buffer {
    return this.raw(this.number());
  }

  text(): ByteString {
    return this.rawText(this.number());
  }

  rawText(length: number): ByteString {
    if (length > this.left) throw new StoredFormError(`${length} bytes wanted, ${this.left} left`);
    const start = this.#at;
    this.#at += length;
    return this.#bytes.toString('latin1', start, this.#at) as ByteString;
  }

  /** @throws StoredFormError where something is left over. */
  end(): void {
    if (this.left !== 0) throw new StoredFormError(`${this.left} bytes left over`);
  }
}
