/**
 * A stored tree as a `Tree`: nodes are views, made when they are asked for and forgotten when nobody holds them, so
 * that everything above works on either kind and the heap does not grow with the image.
 *
 * Two views of one inode are two objects: nodes are told apart by `ino`. The root alone is one object, so that a walk
 * up ends where `parent` is the node itself.
 */
import type { SparsePiece } from '../layer/toc.ts';
import { type ByteString, type UncompressedOffset, uncompressed } from '../units.ts';
import type { Content, Node, NodeKind, Tree } from './node.ts';
import { INODE, IS_IMPLIED, IS_SPARSE, PERMISSIONS, TYPE_OF_KIND, TYPE_SHIFT } from './tree-format.ts';
import { TreeRecords } from './tree-records.ts';

const ROOT_INO = 1;
const KIND_OF_TYPE: ReadonlyMap<number, NodeKind> = new Map(
  Object.entries(TYPE_OF_KIND).map(([kind, type]) => [type, kind as NodeKind]),
);
/** Maps of sparse files are long and read again and again; one has at most 65,536 pieces. */
const MAX_KEPT_CONTENTS = 4;

/**
 * `bytes` were passed by `validateTree`, and stay as they are for as long as the tree or any of its nodes is in use.
 * O(1).
 */
export function openMappedTree(bytes: Uint8Array): NumberedTree {
  return new MappedTree(new TreeRecords(bytes), bytes);
}

/** A tree whose nodes are found by number. */
export interface NumberedTree extends Tree {
  /** The node of an ino that the tree has. */
  node(ino: number): Node;
}

class MappedTree implements NumberedTree {
  readonly root: Node;
  readonly inodes: number;
  readonly stored: Uint8Array;
  readonly records: TreeRecords;
  /** Of sparse files, by ino, the one used last at the end. */
  readonly #contents = new Map<number, Content>();

  constructor(records: TreeRecords, stored: Uint8Array) {
    this.records = records;
    this.stored = stored;
    this.inodes = records.inodeCount;
    this.root = new MappedNode(this, ROOT_INO);
  }

  get warnings(): readonly string[] {
    return this.records.warnings();
  }

  node(ino: number): Node {
    return ino === ROOT_INO ? this.root : new MappedNode(this, ino);
  }

  sparseContent(ino: number, make: () => Content): Content {
    const content = this.#contents.get(ino) ?? make();
    this.#contents.delete(ino);
    this.#contents.set(ino, content);
    for (const oldest of this.#contents.keys()) {
      if (this.#contents.size <= MAX_KEPT_CONTENTS) break;
      this.#contents.delete(oldest);
    }
    return content;
  }
}

class MappedNode implements Node {
  readonly ino: number;
  readonly #tree: MappedTree;

  constructor(tree: MappedTree, ino: number) {
    this.#tree = tree;
    this.ino = ino;
  }

  get kind(): NodeKind {
    const kind = KIND_OF_TYPE.get(this.#field(INODE.mode) >>> TYPE_SHIFT);
    if (kind === undefined) throw new TypeError(`inode ${this.ino} of a stored tree is of no kind`);
    return kind;
  }

  get mode(): number {
    return this.#field(INODE.mode) & PERMISSIONS;
  }

  get uid(): number {
    return this.#field(INODE.uid);
  }

  get gid(): number {
    return this.#field(INODE.gid);
  }

  get nlink(): number {
    return this.#field(INODE.nlink);
  }

  get size(): number {
    return this.#tree.records.inode64(this.ino, INODE.size);
  }

  get mtimeSec(): number {
    return this.#tree.records.inode64(this.ino, INODE.mtimeSec);
  }

  get mtimeNsec(): number {
    return this.#field(INODE.mtimeNsec);
  }

  get layer(): number {
    return this.#tree.records.inode16(this.ino, INODE.layer);
  }

  get implied(): boolean {
    return (this.#flags & IS_IMPLIED) !== 0;
  }

  get rdev(): readonly [number, number] | undefined {
    const { kind } = this;
    if (kind !== 'char' && kind !== 'block') return undefined;
    return [this.#field(INODE.major), this.#field(INODE.minor)];
  }

  get target(): ByteString | undefined {
    return this.kind === 'symlink' ? this.#tree.records.target(this.ino) : undefined;
  }

  get xattrs(): ReadonlyMap<ByteString, Buffer> | undefined {
    return this.#tree.records.xattrs(this.#field(INODE.xattrs));
  }

  get content(): Content | undefined {
    if (this.kind !== 'file') return undefined;
    const dataOffset = uncompressed(this.#tree.records.inode64(this.ino, INODE.dataOffset));
    if ((this.#flags & IS_SPARSE) === 0) return { layer: this.layer, dataOffset, sparse: undefined };
    return this.#tree.sparseContent(this.ino, () => this.#sparseContent(dataOffset));
  }

  get children(): ReadonlyMap<ByteString, Node> | undefined {
    if (this.kind !== 'dir') return undefined;
    return new MappedChildren(this.#tree, this.#field(INODE.direntFirst), this.#field(INODE.direntCount));
  }

  get parent(): Node | undefined {
    return this.kind === 'dir' ? this.#tree.node(this.#field(INODE.parent)) : undefined;
  }

  get #flags(): number {
    return this.#tree.records.inode16(this.ino, INODE.flags);
  }

  #field(field: number): number {
    return this.#tree.records.inode(this.ino, field);
  }

  #sparseContent(dataOffset: UncompressedOffset): Content {
    const sparse: readonly SparsePiece[] = this.#tree.records.sparsePieces(
      this.#field(INODE.sparseFirst),
      this.#field(INODE.sparseCount),
    );
    return { layer: this.layer, dataOffset, sparse };
  }
}

/** The directory entries `[first, first + size)`: a Map that holds nothing. */
class MappedChildren implements ReadonlyMap<ByteString, Node> {
  readonly size: number;
  readonly #tree: MappedTree;
  readonly #first: number;

  constructor(tree: MappedTree, first: number, size: number) {
    this.#tree = tree;
    this.#first = first;
    this.size = size;
  }

  get(name: ByteString): Node | undefined {
    const ino = this.#tree.records.lookup(this.#first, this.size, name);
    return ino === 0 ? undefined : this.#tree.node(ino);
  }

  has(name: ByteString): boolean {
    return this.#tree.records.lookup(this.#first, this.size, name) !== 0;
  }

  forEach(visit: (node: Node, name: ByteString, children: ReadonlyMap<ByteString, Node>) => void): void {
    for (const [name, node] of this.entries()) visit(node, name, this);
  }

  *keys(): MapIterator<ByteString> {
    for (let index = 0; index < this.size; index += 1) yield this.#name(index);
  }

  *values(): MapIterator<Node> {
    for (let index = 0; index < this.size; index += 1) yield this.#node(index);
  }

  *entries(): MapIterator<[ByteString, Node]> {
    for (let index = 0; index < this.size; index += 1) yield [this.#name(index), this.#node(index)];
  }

  [Symbol.iterator](): MapIterator<[ByteString, Node]> {
    return this.entries();
  }

  #name(index: number): ByteString {
    return this.#tree.records.direntName(this.#first + index);
  }

  #node(index: number): Node {
    return this.#tree.node(this.#tree.records.direntIno(this.#first + index));
  }
}
