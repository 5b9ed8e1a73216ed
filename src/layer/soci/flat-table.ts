/**
 * FlatBuffers, as much of them as a SOCI index takes: tables with strings, vectors and numbers, read where they lie.
 * Every offset comes from a stranger and is held against the buffer; a field that is not there has its default.
 *
 *   table: i32 back to its vtable, fields …     vtable: u16 its size, u16 size of the table, u16 offset of each field
 *   vector, string: u32 length, elements
 */
import { UnusableIndex } from '../unusable-index.ts';

export class FlatTable {
  readonly #bytes: Buffer;
  readonly #at: number;
  readonly #vtable: number;
  readonly #vtableSize: number;

  private constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#at = at;
    this.#vtable = at - inside(bytes, at, 4).readInt32LE(at);
    this.#vtableSize = inside(bytes, this.#vtable, 4).readUInt16LE(this.#vtable);
  }

  /** The table that the buffer is of. @throws UnusableIndex */
  static root(bytes: Buffer): FlatTable {
    return new FlatTable(bytes, inside(bytes, 0, 4).readUInt32LE(0));
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
    return at === undefined ? undefined : new FlatTable(this.#bytes, at);
  }

  /** A vector of bytes, or a string; a view. */
  bytes(field: number): Buffer {
    const at = this.#target(field);
    return at === undefined ? Buffer.alloc(0) : bytesAt(this.#bytes, at);
  }

  /** A string, one character a byte. */
  text(field: number): string {
    return this.bytes(field).toString('latin1');
  }

  *tables(field: number): Generator<FlatTable, void, undefined> {
    for (const at of this.#elements(field)) yield new FlatTable(this.#bytes, at);
  }

  *texts(field: number): Generator<string, void, undefined> {
    for (const at of this.#elements(field)) yield bytesAt(this.#bytes, at).toString('latin1');
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
}

function bytesAt(bytes: Buffer, at: number): Buffer {
  const length = inside(bytes, at, 4).readUInt32LE(at);
  inside(bytes, at + 4, length);
  return bytes.subarray(at + 4, at + 4 + length);
}

function inside(bytes: Buffer, at: number, length: number): Buffer {
  if (at < 0 || at + length > bytes.length) throw new UnusableIndex('it points outside of itself');
  return bytes;
}
