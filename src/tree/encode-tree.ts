/**
 * Merged tree → stored bytes (docs/TREE-FORMAT.md). Nodes are visited depth first, names in byte order, so every table
 * comes out in that order and equal trees give equal bytes. Names, targets and attributes that repeat are stored once.
 * A Debian image comes to about 90 bytes an entry, names included.
 */
import { createHash } from 'node:crypto';
import { PeelError } from '../errors.ts';
import { ByteWriter } from '../layer/byte-writer.ts';
import { type ByteString, bytesOfBuffer } from '../units.ts';
import type { Node, Tree } from './node.ts';
import { RecordTable } from './record-table.ts';
import {
  ALIGNMENT,
  DIRENT,
  HEADER,
  INODE,
  IS_IMPLIED,
  IS_SPARSE,
  KEY_BYTES,
  NUMBER,
  SECTIONS,
  type Section,
  SPARSE_PIECE,
  TREE_MAGIC,
  TREE_VERSION,
  TWO_TO_32,
  TYPE_OF_KIND,
  TYPE_SHIFT,
  XATTR_PAIR,
  XATTR_SET,
} from './tree-format.ts';

/** Five million entries with names of ordinary length take a quarter of it. */
export const MAX_TREE_BYTES = 2 * 1024 ** 3;

/** Entries of all layers and directories that they imply are fewer (MAX_ENTRIES of merge.ts). */
const MAX_INO = 2 ** 24;

/** Beyond so many, repeats are stored again: a Map of V8 holds 2^24, and hostile attributes can come to more. */
const MAX_REMEMBERED = 2 ** 23;

/**
 * @param key what the tree was made from, 32 bytes (`treeKey`).
 * @throws PeelError ERR_LIMIT_EXCEEDED for a tree of more than `MAX_TREE_BYTES`; RangeError for one that
 *   `mergeLayers` would not make.
 */
export function encodeTree(tree: Tree, key: Buffer): Buffer {
  if (key.length !== KEY_BYTES) throw new RangeError(`a key of ${key.length} bytes, want ${KEY_BYTES}`);
  if (tree.root.ino !== 1) throw new RangeError(`a root of the number ${tree.root.ino}`);
  const encoder = new Encoder(tree.inodes);
  encoder.addNodes(tree.root);
  if (encoder.inodes.count !== tree.inodes) {
    throw new RangeError(`${encoder.inodes.count} nodes in a tree of ${tree.inodes}`);
  }
  const sections: Record<Section, Buffer> = {
    inodes: encoder.inodes.written(),
    numbers: encoder.numbers.written(),
    dirents: encoder.dirents.written(),
    sparse: encoder.sparse.written(),
    xattrSets: encoder.xattrSets.written(),
    xattrPairs: encoder.xattrPairs.written(),
    strings: encoder.strings.written(),
    warnings: encodeWarnings(tree.warnings),
  };
  return assemble(sections, encoder.layers, key);
}

class Encoder {
  readonly inodes: RecordTable;
  readonly numbers = new NumberTable();
  readonly dirents: RecordTable;
  readonly sparse = new RecordTable(SPARSE_PIECE.bytes);
  readonly xattrSets = new RecordTable(XATTR_SET.bytes);
  readonly xattrPairs = new RecordTable(XATTR_PAIR.bytes);
  readonly strings = new StringTable();
  /** No node comes from this layer or a higher one. */
  layers = 0;
  /** By content. */
  readonly #setNumbers = new Map<string, number>();

  constructor(expected: number) {
    this.inodes = new RecordTable(INODE.bytes, expected);
    this.dirents = new RecordTable(DIRENT.bytes, expected);
  }

  /** Parents before children, names in byte order. */
  addNodes(root: Node): void {
    const stack: Node[] = [root];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (this.numbers.has(node.ino)) continue; // another name of a node that is there
      this.numbers.set(node.ino, this.inodes.append() + 1);
      this.#addInode(node);
      if (node.children === undefined) continue;
      const children = [...node.children.values()];
      for (let position = children.length - 1; position >= 0; position -= 1)
        stack.push(children[position] as Node);
    }
  }

  #addInode(node: Node): void {
    const { inodes } = this;
    inodes.uint32(INODE.ino, node.ino);
    this.layers = Math.max(this.layers, node.layer + 1);
    const isSparse = node.content?.sparse !== undefined;
    inodes.uint32(INODE.mode, (TYPE_OF_KIND[node.kind] << TYPE_SHIFT) | node.mode);
    inodes.uint32(INODE.uid, node.uid);
    inodes.uint32(INODE.gid, node.gid);
    inodes.uint32(INODE.nlink, node.nlink);
    inodes.int64(INODE.size, node.size);
    inodes.int64(INODE.mtimeSec, node.mtimeSec);
    inodes.uint32(INODE.mtimeNsec, node.mtimeNsec);
    inodes.uint16(INODE.layer, node.layer);
    inodes.uint16(INODE.flags, (node.implied ? IS_IMPLIED : 0) | (isSparse ? IS_SPARSE : 0));
    if (node.xattrs !== undefined && node.xattrs.size > 0) {
      inodes.uint32(INODE.xattrs, this.#numberOfSet(node.xattrs));
    }
    switch (node.kind) {
      case 'file':
        this.#addContent(node);
        break;
      case 'dir':
        this.#addDirents(node);
        break;
      case 'symlink': {
        const target = node.target ?? ('' as ByteString);
        inodes.uint32(INODE.target, this.strings.offsetOf(target));
        inodes.uint32(INODE.targetLength, target.length);
        break;
      }
      case 'char':
      case 'block':
        inodes.uint32(INODE.major, node.rdev?.[0] ?? 0);
        inodes.uint32(INODE.minor, node.rdev?.[1] ?? 0);
        break;
      case 'fifo':
        break;
    }
  }

  #addContent({ ino, layer, content }: Node): void {
    if (content === undefined || content.layer !== layer) {
      throw new RangeError(`inode ${ino}: its bytes are not in its layer ${layer}`);
    }
    this.inodes.int64(INODE.dataOffset, content.dataOffset);
    if (content.sparse === undefined) return;
    this.inodes.uint32(INODE.sparseFirst, this.sparse.count);
    this.inodes.uint32(INODE.sparseCount, content.sparse.length);
    let stored = 0;
    for (const { offset, length } of content.sparse) {
      this.sparse.append();
      this.sparse.int64(SPARSE_PIECE.offset, offset);
      this.sparse.int64(SPARSE_PIECE.length, length);
      this.sparse.int64(SPARSE_PIECE.stored, stored);
      stored += length;
    }
  }

  #addDirents({ ino, parent, children = new Map() }: Node): void {
    this.inodes.uint32(INODE.direntFirst, this.dirents.count);
    this.inodes.uint32(INODE.direntCount, children.size);
    this.inodes.uint32(INODE.parent, parent?.ino ?? ino);
    for (const [name, child] of children) {
      this.dirents.append();
      this.dirents.uint32(DIRENT.name, this.strings.offsetOf(name));
      this.dirents.uint32(DIRENT.ino, child.ino);
      this.dirents.uint16(DIRENT.nameLength, name.length);
      this.dirents.uint8(DIRENT.type, TYPE_OF_KIND[child.kind]);
    }
  }

  /** 1 + the index of the set. Names are sorted, so that a reader finds one by halving. */
  #numberOfSet(xattrs: NonNullable<Node['xattrs']>): number {
    const pairs = [...xattrs].sort(([a], [b]) => (a < b ? -1 : 1));
    const content = pairs
      .map(([name, value]) => `${name}\0${value.length}\0${bytesOfBuffer(value)}`)
      .join('');
    const known = this.#setNumbers.get(content);
    if (known !== undefined) return known;
    const number = this.xattrSets.append() + 1;
    this.xattrSets.uint32(XATTR_SET.first, this.xattrPairs.count);
    this.xattrSets.uint32(XATTR_SET.count, pairs.length);
    for (const [name, value] of pairs) {
      this.xattrPairs.append();
      this.xattrPairs.uint32(XATTR_PAIR.name, this.strings.offsetOf(name));
      this.xattrPairs.uint16(XATTR_PAIR.nameLength, name.length);
      this.xattrPairs.uint32(XATTR_PAIR.value, this.strings.offsetOf(bytesOfBuffer(value)));
      this.xattrPairs.uint32(XATTR_PAIR.valueLength, value.length);
    }
    if (this.#setNumbers.size < MAX_REMEMBERED) this.#setNumbers.set(content, number);
    return number;
  }
}

/** Where the record of each inode number is: 1 + its index, 0 for numbers that the tree does not have. */
class NumberTable {
  #places = Buffer.alloc(0);
  #highest = 0;

  has(ino: number): boolean {
    return ino <= this.#highest && this.#places.readUInt32LE((ino - 1) * NUMBER.bytes) !== 0;
  }

  set(ino: number, place: number): void {
    if (!(ino <= MAX_INO)) throw new RangeError(`inode number ${ino} is out of range`);
    if (ino * NUMBER.bytes > this.#places.length) {
      const larger = Buffer.alloc(ino * NUMBER.bytes * 2);
      this.#places.copy(larger);
      this.#places = larger;
    }
    this.#places.writeUInt32LE(place, (ino - 1) * NUMBER.bytes);
    this.#highest = Math.max(this.#highest, ino);
  }

  written(): Buffer {
    return this.#places.subarray(0, this.#highest * NUMBER.bytes);
  }
}

/** Each string once, back to back, found by where it begins. */
class StringTable {
  readonly #writer = new ByteWriter();
  readonly #offsets = new Map<ByteString, number>();

  offsetOf(text: ByteString): number {
    let offset = this.#offsets.get(text);
    if (offset === undefined) {
      offset = this.#writer.length;
      if (offset + text.length > MAX_TREE_BYTES) throw tooLarge();
      this.#writer.rawText(text, 0);
      if (this.#offsets.size < MAX_REMEMBERED) this.#offsets.set(text, offset);
    }
    return offset;
  }

  written(): Buffer {
    return this.#writer.written();
  }
}

function encodeWarnings(warnings: readonly string[]): Buffer {
  const writer = new ByteWriter();
  for (const warning of warnings) {
    const bytes = Buffer.from(warning, 'utf8');
    writer.uint32(bytes.length);
    writer.raw(bytes);
  }
  return writer.written();
}

function assemble(sections: Readonly<Record<Section, Buffer>>, layers: number, key: Buffer): Buffer {
  const offsets: number[] = [];
  let size: number = HEADER.size;
  for (const name of SECTIONS) {
    const offset = Math.ceil(size / ALIGNMENT) * ALIGNMENT;
    offsets.push(offset);
    size = offset + sections[name].length;
  }
  if (size > MAX_TREE_BYTES) throw tooLarge();
  // Memory of its own, so that records lie aligned; zeroed, so that the gaps are.
  const file = Buffer.alloc(size);
  file.write(TREE_MAGIC, 0, 'latin1');
  file.writeUInt32LE(TREE_VERSION, HEADER.version);
  file.writeUInt32LE(HEADER.size, HEADER.headerBytes);
  writeUInt64(file, size, HEADER.fileBytes);
  file.writeUInt32LE(layers, HEADER.layers);
  file.set(key, HEADER.key);
  for (const [index, name] of SECTIONS.entries()) {
    const offset = offsets[index] as number;
    writeUInt64(file, offset, HEADER.sections + 16 * index);
    writeUInt64(file, sections[name].length, HEADER.sections + 16 * index + 8);
    file.set(sections[name], offset);
  }
  file.set(sha256(file.subarray(HEADER.size)), HEADER.bodySum);
  file.set(sha256(file.subarray(0, HEADER.headerSum)), HEADER.headerSum);
  return file;
}

function writeUInt64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % TWO_TO_32, at);
  bytes.writeUInt32LE(Math.floor(value / TWO_TO_32), at + 4);
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function tooLarge(): PeelError {
  return new PeelError(
    'ERR_LIMIT_EXCEEDED',
    `the names and attributes of the image take more than ${MAX_TREE_BYTES} bytes`,
    { facts: { limit: MAX_TREE_BYTES } },
  );
}
