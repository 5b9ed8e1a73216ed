/**
 * The records of a stored tree, read where they lie. No object outlives a call, so that the heap does not grow with
 * the tree. Accessors trust the bytes (`validateTree` has seen them) and stay inside them all the same: a DataView
 * throws RangeError at its end.
 */
import type { SparsePiece } from '../layer/toc.ts';
import type { ByteString } from '../units.ts';
import {
  ALIGNMENT,
  DIRENT,
  HEADER,
  INODE,
  NUMBER,
  SECTIONS,
  type Section,
  SPARSE_PIECE,
  TREE_MAGIC,
  TREE_VERSION,
  TWO_TO_32,
  XATTR_PAIR,
  XATTR_SET,
} from './tree-format.ts';

export class TreeRecords {
  readonly inodeCount: number;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #start: Readonly<Record<Section, number>>;
  readonly #warningsEnd: number;

  /** @throws TypeError for bytes that no validator can have passed. */
  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const magic = this.#bytes.toString('latin1', 0, TREE_MAGIC.length);
    if (magic !== TREE_MAGIC || this.#uint32(HEADER.version) !== TREE_VERSION) {
      throw new TypeError('not a stored tree of this version');
    }
    const places = SECTIONS.map((name, index) => [name, this.#number(HEADER.sections + 16 * index)]);
    this.#start = Object.fromEntries(places) as Record<Section, number>;
    const lengthOf = (section: Section): number =>
      this.#number(HEADER.sections + 16 * SECTIONS.indexOf(section) + ALIGNMENT);
    this.inodeCount = lengthOf('inodes') / INODE.bytes;
    this.#warningsEnd = this.#start.warnings + lengthOf('warnings');
  }

  /** A field of 32 bits of an inode. */
  inode(ino: number, field: number): number {
    return this.#uint32(this.#inodeAt(ino) + field);
  }

  inode16(ino: number, field: number): number {
    return this.#view.getUint16(this.#inodeAt(ino) + field, true);
  }

  inode64(ino: number, field: number): number {
    return this.#number(this.#inodeAt(ino) + field);
  }

  target(ino: number): ByteString {
    return this.#string(this.inode(ino, INODE.target), this.inode(ino, INODE.targetLength));
  }

  /** `index` counts through the whole table. */
  direntName(index: number): ByteString {
    const at = this.#direntAt(index);
    return this.#string(this.#uint32(at + DIRENT.name), this.#view.getUint16(at + DIRENT.nameLength, true));
  }

  direntIno(index: number): number {
    return this.#uint32(this.#direntAt(index) + DIRENT.ino);
  }

  /** The ino under a name in the directory entries `[first, first + count)`; 0 for none. O(log count). */
  lookup(first: number, count: number, name: ByteString): number {
    let low = first;
    let high = first + count;
    while (low < high) {
      const middle = low + ((high - low) >>> 1);
      const order = this.#compareName(middle, name);
      if (order === 0) return this.direntIno(middle);
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return 0;
  }

  sparsePieces(first: number, count: number): SparsePiece[] {
    return Array.from({ length: count }, (_, index) => {
      const at = this.#start.sparse + (first + index) * SPARSE_PIECE.bytes;
      return {
        offset: this.#number(at + SPARSE_PIECE.offset),
        length: this.#number(at + SPARSE_PIECE.length),
      };
    });
  }

  /** `number` is what an inode's record has; 0 gives undefined. Values are copies: nobody can write to a mapping. */
  xattrs(number: number): ReadonlyMap<ByteString, Buffer> | undefined {
    if (number === 0) return undefined;
    const set = this.#start.xattrSets + (number - 1) * XATTR_SET.bytes;
    const first = this.#uint32(set + XATTR_SET.first);
    const count = this.#uint32(set + XATTR_SET.count);
    const xattrs = new Map<ByteString, Buffer>();
    for (let index = first; index < first + count; index += 1) {
      const at = this.#start.xattrPairs + index * XATTR_PAIR.bytes;
      const nameLength = this.#view.getUint16(at + XATTR_PAIR.nameLength, true);
      const value = this.#start.strings + this.#uint32(at + XATTR_PAIR.value);
      xattrs.set(
        this.#string(this.#uint32(at + XATTR_PAIR.name), nameLength),
        Buffer.from(this.#bytes.subarray(value, value + this.#uint32(at + XATTR_PAIR.valueLength))),
      );
    }
    return xattrs;
  }

  warnings(): string[] {
    const warnings: string[] = [];
    for (let at = this.#start.warnings; at < this.#warningsEnd; ) {
      const end = at + 4 + this.#uint32(at);
      warnings.push(this.#bytes.toString('utf8', at + 4, end));
      at = end;
    }
    return warnings;
  }

  /** Negative where the name of the entry comes before `name`. Characters of a ByteString are bytes. */
  #compareName(index: number, name: ByteString): number {
    const dirent = this.#direntAt(index);
    const at = this.#start.strings + this.#uint32(dirent + DIRENT.name);
    const length = this.#view.getUint16(dirent + DIRENT.nameLength, true);
    const shared = Math.min(length, name.length);
    for (let position = 0; position < shared; position += 1) {
      const order = this.#view.getUint8(at + position) - name.charCodeAt(position);
      if (order !== 0) return order;
    }
    return length - name.length;
  }

  #string(offset: number, length: number): ByteString {
    const at = this.#start.strings + offset;
    return this.#bytes.toString('latin1', at, at + length) as ByteString;
  }

  #inodeAt(ino: number): number {
    const place = this.#uint32(this.#start.numbers + (ino - 1) * NUMBER.bytes);
    return this.#start.inodes + (place - 1) * INODE.bytes;
  }

  #direntAt(index: number): number {
    return this.#start.dirents + index * DIRENT.bytes;
  }

  #uint32(at: number): number {
    return this.#view.getUint32(at, true);
  }

  /** 64 bits, signed; within 2^53 on either side. */
  #number(at: number): number {
    return this.#view.getInt32(at + 4, true) * TWO_TO_32 + this.#view.getUint32(at, true);
  }
}
