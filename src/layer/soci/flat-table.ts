/**
 * FlatBuffers, as much of them as a SOCI index takes: tables with strings, vectors and numbers, read where they lie.
 * Every offset comes from a stranger and is held against the buffer; a field that is not there has its default. Offsets
 * may lead to the same part again and again: what is taken altogether is bounded by the length of the buffer.
 *
 *   table: i32 back to its vtable, fields …     vtable: u16 its size, u16 size of the table, u16 offset of each field
 *   vector, string: u32 length, elements
 */
import { UnusableIndex } from '../unusable-index.ts';

/** Of the buffer's length. Read once, its parts are less than all of it; writers may share short strings. */
const MOST_TAKEN = 2;

/** Bytes that may still be taken out of a buffer, by all its tables. */
interface Allowance {
  left: number;
}

export class FlatTable {
  readonly #bytes: Buffer;
  readonly #allowance: Allowance;
  readonly #at: number;
  readonly #vtable: number;
  readonly #vtableSize: number;

  private constructor(bytes: Buffer, at: number, allowance: Allowance) {
    this.#bytes = bytes;
    this.#allowance = allowance;
    this.#take(4);
    this.#at = at;
    this.#vtable = at - inside(bytes, at, 4).readInt32LE(at);
    this.#vtableSize = inside(bytes, this.#vtable, 4).readUInt16LE(this.#vtable);
  }

  /** The table that the buffer is of. @throws UnusableIndex */
  static root(bytes: Buffer): FlatTable {
    return new FlatTable(bytes, inside(bytes, 0, 4).readUInt32LE(0), {
      left: MOST_TAKEN * bytes.length,
    });
  }

  /** An integer of 64 bits, 0 to 2^53 - 1. */
  size(field: number): number {
    const at = this.#field(field, 8);
    const value = at === undefined ? 0 : Number(this.#bytes.readBigInt64LE(at));
    if (!Number.isSafeInteger(value) || value < 0) throw new UnusableIndex(`a number of ${value} in it`);
    return value;
  }

  uint32(field: number): number {
    const at = this.#field(field, 4);
    return at === undefined ? 0 : this.#bytes.readUInt32LE(at);
  }

  byte(field: number, otherwise: number): number {
    const at = this.#field(field, 1);
    return at === undefined ? otherwise : this.#bytes.readUInt8(at);
  }

  table(field: number): FlatTable | undefined {
    const at = this.#target(field);
    return at === undefined ? undefined : new FlatTable(this.#bytes, at, this.#allowance);
  }

  /** A vector of bytes, or a string; a view. */
  bytes(field: number): Buffer {
    const at = this.#target(field);
    return at === undefined ? Buffer.alloc(0) : this.#bytesAt(at);
  }

  /** A string, one character a byte. */
  text(field: number): string {
    return this.bytes(field).toString('latin1');
  }

  *tables(field: number): Generator<FlatTable, void, undefined> {
    for (const at of this.#elements(field)) yield new FlatTable(this.#bytes, at, this.#allowance);
  }

  *texts(field: number): Generator<string, void, undefined> {
    for (const at of this.#elements(field)) yield this.#bytesAt(at).toString('latin1');
  }

  /** Where the elements of a vector of offsets lie. */
  *#elements(field: number): Generator<number, void, undefined> {
    const vector = this.#target(field);
    if (vector === undefined) return;
    const count = inside(this.#bytes, vector, 4).readUInt32LE(vector);
    inside(this.#bytes, vector + 4, 4 * count);
    for (let index = 0; index < count; index += 1) {
      const at = vector + 4 + 4 * index;
      yield at + this.#bytes.readUInt32LE(at);
    }
  }

  #target(field: number): number | undefined {
    const at = this.#field(field, 4);
    return at === undefined ? undefined : at + this.#bytes.readUInt32LE(at);
  }

  #field(field: number, length: number): number | undefined {
    const entry = 4 + 2 * field;
    if (entry + 2 > this.#vtableSize) return undefined;
    const offset = inside(this.#bytes, this.#vtable + entry, 2).readUInt16LE(this.#vtable + entry);
    if (offset === 0) return undefined;
    inside(this.#bytes, this.#at + offset, length);
    return this.#at + offset;
  }

  #bytesAt(at: number): Buffer {
    const length = inside(this.#bytes, at, 4).readUInt32LE(at);
    inside(this.#bytes, at + 4, length);
    this.#take(4 + length);
    return this.#bytes.subarray(at + 4, at + 4 + length);
  }

  #take(length: number): void {
    this.#allowance.left -= length;
    if (this.#allowance.left < 0) throw new UnusableIndex('its parts are referred to again and again');
  }
}

function inside(bytes: Buffer, at: number, length: number): Buffer {
  if (at < 0 || at + length > bytes.length) throw new UnusableIndex('it points outside of itself');
  return bytes;
}
