/**
 * Merged trees on disk, one file an image: written once, then mapped by every process that opens the image, so that
 * a second mount parses nothing (docs/TREE-FORMAT.md).
 *
 *   layers' digests ─► key ─► <folder>/<key in hex> ─► mapped ─► validated ─► nodes that are views
 *                                     └─ none, damaged, of another version: merged anew and replaced
 *
 * The mapping stays good however long it lives: a stored tree is never written to under its name, only replaced by
 * rename or removed, and a mapping keeps the file that it was made from. Nobody else can reach the file: it is 0600
 * in a folder of the cache, which is ours alone.
 */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { lstat, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { isPeelError, PeelError, systemCodeOf } from '../errors.ts';
import { log } from '../log.ts';
import { mapFile, validateTree } from '../native/system-calls.ts';
import { openOwnFile, READ_ONLY, readAt } from '../storage/own-file.ts';
import { prepareFolder, replaceFile, syncFolder } from '../storage/replace-file.ts';
import { encodeTree, MAX_TREE_BYTES } from './encode-tree.ts';
import { openMappedTree } from './mapped-tree.ts';
import type { Tree } from './node.ts';
import { HEADER, KEY_BYTES, TREE_VERSION } from './tree-format.ts';

/** Of all trees together, those used longest ago go first: a tree costs a merge to make again, no download. */
const MAX_FOLDER_BYTES = 512 * 1024 ** 2;
const KEY = /^[0-9a-f]{64}$/;

export interface StoredTree {
  /** undefined where the cache cannot be written: the bytes are in memory then. */
  readonly path: string | undefined;
  /** Validated. Read-only memory: a write to it ends the process. */
  readonly bytes: Uint8Array;
  readonly tree: Tree;
}

/**
 * What a stored tree is found by: the layers in their order, lowest first, and how they are merged. Each is
 * named by all that was verified before it was merged, so that an image that says something else of the same
 * layer finds no tree and is verified itself.
 */
export function treeKey(layers: readonly string[]): string {
  return createHash('sha256')
    .update([`peel tree ${TREE_VERSION}`, ...layers, ''].join('\n'))
    .digest('hex');
}

export class TreeStore {
  readonly #folder: string;
  readonly #maxBytes: number;

  /** `folder` need not exist. */
  constructor(folder: string, options: { readonly maxBytes?: number } = {}) {
    this.#folder = folder;
    this.#maxBytes = options.maxBytes ?? MAX_FOLDER_BYTES;
  }

  /** undefined where there is none that can be used; never fails. */
  async load(key: string): Promise<StoredTree | undefined> {
    const file = this.#fileOf(key);
    try {
      const { handle, found } = await openOwnFile(file, READ_ONLY);
      try {
        const bytes = await loadBytes(handle, found.size);
        await validateTree(bytes);
        if (keyOf(bytes) !== key) throw new PeelError('ERR_CACHE', 'the tree of another image');
        // When it was used last; where that cannot be written, nothing is removed either.
        const now = new Date();
        await handle.utimes(now, now).catch(() => undefined);
        return { path: file, bytes, tree: openMappedTree(bytes) };
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return undefined;
      log().warn({ tree: key, reason: reasonOf(error) }, 'stored tree cannot be used, it is merged again');
      return undefined;
    }
  }

  /**
   * The stored form of a merged tree; never fails for reasons of the disk.
   * @throws PeelError ERR_LIMIT_EXCEEDED for a tree too large for any stored form.
   */
  async save(key: string, tree: Tree): Promise<StoredTree> {
    const file = this.#fileOf(key);
    const encoded = encodeTree(tree, Buffer.from(key, 'hex'));
    // What we write ourselves is held against the same rules: all readers rely on them.
    await validateTree(encoded);
    let bytes = encoded;
    let stored: string | undefined;
    try {
      await prepareFolder(this.#folder);
      const handle = await replaceFile(this.#folder, path.basename(file), [encoded]);
      try {
        bytes = await loadBytes(handle, encoded.length);
      } finally {
        await handle.close();
      }
      stored = file;
      await syncFolder(this.#folder);
      await this.#makeRoom(path.basename(file));
    } catch (error) {
      log().warn(
        { tree: key, reason: reasonOf(error) },
        'tree cannot be stored, the next run merges it again',
      );
    }
    return { path: stored, bytes, tree: openMappedTree(bytes) };
  }

  /** A tree that turned out to be false. Never fails. */
  async remove(key: string): Promise<void> {
    await rm(this.#fileOf(key), { force: true }).catch((error: unknown) => {
      log().warn({ tree: key, reason: reasonOf(error) }, 'a false tree cannot be removed from the cache');
    });
  }

  #fileOf(key: string): string {
    if (!KEY.test(key)) throw new RangeError(`not the key of a tree: ${JSON.stringify(key)}`);
    return path.join(this.#folder, key);
  }

  /** Removes what was used longest ago; never the tree called `kept`. */
  async #makeRoom(kept: string): Promise<void> {
    const trees: { name: string; bytes: number; usedMs: number }[] = [];
    for (const name of await readdir(this.#folder)) {
      const stats = KEY.test(name)
        ? await lstat(path.join(this.#folder, name)).catch(() => undefined)
        : undefined;
      if (stats !== undefined) trees.push({ name, bytes: stats.size, usedMs: stats.mtimeMs });
    }
    let excess = trees.reduce((sum, { bytes }) => sum + bytes, 0) - this.#maxBytes;
    for (const { name, bytes } of trees.sort((a, b) => a.usedMs - b.usedMs)) {
      if (excess <= 0) return;
      if (name === kept) continue;
      await rm(path.join(this.#folder, name), { recursive: true, force: true });
      excess -= bytes;
    }
  }
}

/** Mapped; in memory where the file system cannot map. */
async function loadBytes(handle: FileHandle, size: number): Promise<Buffer> {
  if (size < HEADER.size || size > MAX_TREE_BYTES) throw new PeelError('ERR_CACHE', `${size} bytes long`);
  try {
    return mapFile(handle.fd, size);
  } catch (error) {
    if (isPeelError(error) && error.facts['errno'] !== 'ENODEV') throw error;
    return readAt(handle, 0, size);
  }
}

function keyOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(HEADER.key, HEADER.key + KEY_BYTES)).toString('hex');
}

function reasonOf(error: unknown): string {
  if (isPeelError(error)) return error.message;
  return systemCodeOf(error) ?? (error instanceof Error ? error.message : String(error));
}
