/**
 * A read-only file system over a merged tree and the bytes of its layers, without FUSE: what the transports
 * of `src/fuse/`, `ls`, `cat` and the tests ask. POSIX meaning, names as bytes, no state besides the tree.
 *
 *   path --resolve--> Node --attributes, readdir, readlink, xattr--> answers from memory
 *                      |
 *                      +--read, stream--> Contents (may fetch; verified)
 *
 * Every failure is a PeelError; `src/fuse/errno.ts` says which errno it becomes. Nothing here writes, so
 * nothing here answers EROFS: the mount is read-only before a request arrives.
 */
import { PeelError } from '../errors.ts';
import type { Node, Tree } from '../tree/node.ts';
import type { ByteString } from '../units.ts';
import { type Attributes, attributesOf } from './attributes.ts';
import type { Contents } from './contents.ts';
import { readContent, streamContent } from './read.ts';
import {
  containTarget,
  directoryOf,
  lookupName,
  type ResolveOptions,
  resolvePath,
  shown,
} from './resolve.ts';
import { type FileSystemStatistics, statisticsOf } from './statistics.ts';

export type SymlinkPolicy = 'raw' | 'contain';

export interface FileSystemOptions {
  /**
   * `raw` (default): targets as they stand in the image, for root file systems. `contain`: a target that would
   * leave the tree is answered as a relative one that stays inside, so that browsing a mount never leaves it.
   */
  readonly symlinks?: SymlinkPolicy;
}

export interface DirectoryEntry {
  readonly name: ByteString;
  readonly node: Node;
}

export class FileSystem {
  readonly tree: Tree;
  readonly contents: Contents;
  readonly symlinks: SymlinkPolicy;
  #statistics: FileSystemStatistics | undefined;

  constructor(tree: Tree, contents: Contents, options: FileSystemOptions = {}) {
    this.tree = tree;
    this.contents = contents;
    this.symlinks = options.symlinks ?? 'raw';
  }

  get root(): Node {
    return this.tree.root;
  }

  /** The same tree and bytes under another policy for symbolic links. */
  withSymlinks(symlinks: SymlinkPolicy): FileSystem {
    return new FileSystem(this.tree, this.contents, { symlinks });
  }

  /**
   * The child `name` of a directory; `.` and `..` are understood, `..` of the root is the root.
   * @throws PeelError ERR_NOT_A_DIRECTORY, ERR_NAME_TOO_LONG (255 bytes), ERR_PATH_NOT_FOUND.
   */
  lookup(directory: Node, name: ByteString): Node {
    return lookupName(directory, name);
  }

  /**
   * The node that a path leads to, absolute or relative to the root. Symbolic links on the way are followed
   * inside the tree, the last one only with `follow` (or a trailing slash); at most 40.
   * @throws PeelError as `lookup`, and ERR_SYMLINK_LOOP.
   */
  resolve(path: ByteString, options: ResolveOptions): Node {
    return resolvePath(this.root, path, options);
  }

  /** What stat(2) says. `directory` is where the node was found: a contained link's size depends on it. */
  attributes(node: Node, directory?: Node): Attributes {
    const attributes = attributesOf(node);
    if (node.kind !== 'symlink' || this.symlinks === 'raw' || directory === undefined) return attributes;
    return { ...attributes, size: this.readlink(node, directory).length };
  }

  /** The entries of a directory in byte order, without `.` and `..`. O(1): the tree's own map is walked. */
  *readdir(node: Node): Generator<DirectoryEntry, void, undefined> {
    for (const [name, child] of directoryOf(node)) yield { name, node: child };
  }

  /** The target of a symbolic link. `directory` holds the link; it matters for the policy `contain` only. */
  readlink(node: Node, directory?: Node): ByteString {
    if (node.kind !== 'symlink' || node.target === undefined) {
      throw new PeelError('ERR_NOT_A_SYMLINK', `reading a link: inode ${node.ino} is a ${node.kind}`);
    }
    if (this.symlinks === 'raw') return node.target;
    return containTarget(this.root, node.target, directory ?? this.root);
  }

  /**
   * `length` bytes of a file from `offset` on, fewer at its end, none past it. Holes are zeros and fetch nothing.
   * The whole answer is one buffer, so the caller keeps `length` small; `stream` is for much.
   */
  read(node: Node, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    return readContent(this.contents, node, offset, length, signal);
  }

  /** The bytes `[offset, end)` of a file in pieces, cut at its end; the next piece is read while one is used. */
  stream(
    node: Node,
    offset = 0,
    end = node.size,
    signal?: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    return streamContent(this.contents, node, offset, end, signal);
  }

  xattrNames(node: Node): ByteString[] {
    return [...(node.xattrs?.keys() ?? [])];
  }

  /** @throws PeelError ERR_NO_XATTR */
  xattr(node: Node, name: ByteString): Buffer {
    const value = node.xattrs?.get(name);
    if (value === undefined) {
      throw new PeelError('ERR_NO_XATTR', `inode ${node.ino} has no extended attribute ${shown(name)}`);
    }
    return value;
  }

  /** What statfs(2) says. Walks the tree once, at the first call. */
  statfs(): FileSystemStatistics {
    this.#statistics ??= statisticsOf(this.tree);
    return this.#statistics;
  }
}
