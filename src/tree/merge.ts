/**
 * Layers, lowest first, merged into the one tree that a container would see. The meaning is "apply": what
 * unpacking the layers one over the other gives, as `umoci unpack` does it, not what an overlay mount shows.
 *
 * Per layer:
 *   1. its whiteouts act on the tree of the layers below (whiteouts.ts);
 *   2. its other entries are applied in the order of the tar, the last one of a name wins (E53);
 *   3. hard links that came before their target get it (hard-links.ts).
 *
 * Where the specification leaves a choice (E = case of the merge tests):
 *   - a whiteout in a directory that is not there creates nothing (E9), in a file does nothing (E71);
 *   - a file in the way of a deeper name becomes a directory, with a warning (E25);
 *   - a symbolic link in the way of a deeper name is followed inside the image (E26, E64), a dangling one
 *     creates what it points to, a loop is an error (E63);
 *   - a directory takes the place of a symbolic link to one (E23);
 *   - a directory that only deeper names imply has mode 0755, owner 0:0, mtime 0; one that was hidden and is
 *     implied again is new (E17, E56);
 *   - an entry for the root sets its attributes (E59); it must be a directory;
 *   - a 0/0 character device is a device (E36), trusted.overlay.opaque means nothing (E37);
 *   - a hard link may come before its target (E46); one that stands before a whiteout of its target in the
 *     same layer keeps the lower file, one behind it dangles (E45).
 *
 * Cost: linear in the entries and their depth; memory for what is visible and, while a layer is merged, for
 * what it replaces. Nothing recurses.
 */
import { PeelError } from '../errors.ts';
import { cleanPath } from '../layer/clean-path.ts';
import type { Entry } from '../layer/toc.ts';
import type { ByteString } from '../units.ts';
import {
  type BuildDirectory,
  type BuildNode,
  impliedDirectory,
  isDirectory,
  nodeOfEntry,
  setDirectoryAttributes,
} from './build-node.ts';
import { WaitingLinks } from './hard-links.ts';
import type { Tree } from './node.ts';
import { firstNumbers, numberNodes } from './number-nodes.ts';
import { type Asker, PathWalker } from './path-walk.ts';
import { shownPath } from './shown-path.ts';
import { applyWhiteouts, isAufsLinkStore, lookupBeforeWhiteouts, meaningOf } from './whiteouts.ts';

/** Of an image: design caps. A node takes about 250 bytes here, so this is about 1.3 GB at the worst. */
const MAX_ENTRIES = 5_000_000;
/** NAME_MAX. The reader of tars holds entries to it, but targets of links can imply longer directories. */
const MAX_NAME_BYTES = 255;
/** Warnings beyond this are counted only. */
const MAX_WARNINGS = 100;

/** For tests, which cannot wait for five million entries. */
export interface MergeLimits {
  readonly maxEntries?: number;
}

/**
 * @param layers the entries of each layer in tar order, lowest layer first.
 * @throws PeelError ERR_LAYER_INVALID (facts layer, path) for a layer that cannot be applied: whiteouts of no
 *   name, hard links that dangle or name a directory, link loops, a root that is no directory;
 *   ERR_LIMIT_EXCEEDED for more than 5 million entries and implied directories, or links that multiply paths.
 */
export function mergeLayers(layers: readonly (readonly Entry[])[], limits: MergeLimits = {}): Tree {
  const merge = new Merge(limits);
  const { ofLayer, behind } = firstNumbers(layers);
  for (const [layer, entries] of layers.entries()) {
    merge.applyLayer(entries, layer, ofLayer[layer] ?? 0);
  }
  return merge.finish(behind);
}

class Merge {
  readonly #root = impliedDirectory(0, undefined);
  readonly #walker = new PathWalker(this.#root);
  readonly #maxEntries: number;
  /** Files in the link store of AUFS, by path. */
  readonly #aufsFiles = new Map<ByteString, { entry: Entry; layer: number }>();
  readonly #warnings: string[] = [];
  #unshownWarnings = 0;
  #entries = 0;

  constructor({ maxEntries = MAX_ENTRIES }: MergeLimits) {
    this.#maxEntries = maxEntries;
  }

  /** `firstIno`: the number of the layer's first entry. */
  applyLayer(entries: readonly Entry[], layer: number, firstIno: number): void {
    const hasHardLinks = entries.some(({ type }) => type === 'hardlink');
    const removed = applyWhiteouts(entries, layer, this.#walker, hasHardLinks);
    const links = new WaitingLinks(this.#walker);
    let aufsEntries = 0;
    for (const [index, entry] of entries.entries()) {
      const { path } = entry;
      const asker: Asker = { layer, path };
      this.#count(asker);
      const meaning = meaningOf(path, layer);
      if (meaning === 'aufs') {
        aufsEntries += 1;
        if (isAufsLinkStore(path) && entry.type === 'file') {
          this.#aufsFiles.set(path, { entry, layer });
        }
      }
      if (meaning !== 'ordinary') {
        continue;
      }
      if (path === '') {
        this.#applyRoot(entry, asker, firstIno + index);
        continue;
      }
      const { directory, name } = this.#placeFor(asker);
      if (entry.type === 'hardlink') {
        // The old name goes first, as link(2) would refuse it otherwise: a link to itself dangles.
        directory.children.delete(name);
        this.#applyLink(links, directory, name, entry, asker, () => lookupBeforeWhiteouts(removed, index));
      } else {
        this.#applyEntry(directory, name, entry, layer, firstIno + index);
      }
    }
    if (aufsEntries > 0) {
      this.#warn(`layer ${layer}: skipped ${aufsEntries} entries with metadata of AUFS`);
    }
    if (links.count > 0) {
      this.#warn(`layer ${layer}: ${links.count} hard links come before their targets`);
    }
    links.settle();
  }

  finish(behind: number): Tree {
    if (this.#unshownWarnings > 0) {
      this.#warnings.push(`and ${this.#unshownWarnings} more warnings`);
    }
    return { root: this.#root, inodes: numberNodes(this.#root, behind), warnings: this.#warnings };
  }

  #applyRoot(entry: Entry, asker: Asker, ino: number): void {
    if (entry.type !== 'dir') {
      throw new PeelError(
        'ERR_LAYER_INVALID',
        `layer ${asker.layer}: an entry makes the root a ${entry.type}, want a directory`,
        { facts: { ...asker } },
      );
    }
    setDirectoryAttributes(this.#root, entry, asker.layer, ino);
  }

  #applyEntry(directory: BuildDirectory, name: ByteString, entry: Entry, layer: number, ino: number): void {
    const { type } = entry;
    if (type === 'hardlink') {
      throw new TypeError('hard links are applied by #applyLink');
    }
    if (type !== 'dir') {
      directory.children.set(name, nodeOfEntry(entry, type, layer, ino));
      return;
    }
    let node: BuildNode | undefined = directory.children.get(name);
    if (!isDirectory(node)) {
      node = impliedDirectory(layer, directory);
      directory.children.set(name, node);
    }
    setDirectoryAttributes(node as BuildDirectory, entry, layer, ino);
  }

  #applyLink(
    links: WaitingLinks,
    directory: BuildDirectory,
    name: ByteString,
    entry: Entry,
    asker: Asker,
    lookupBefore: () => ReturnType<typeof lookupBeforeWhiteouts>,
  ): void {
    // From the root and by its text alone, as umoci and containerd do (E50); links on the way come after that.
    const target = cleanPath(entry.target ?? '');
    const aufsFile = this.#aufsFiles.get(target);
    if (aufsFile === undefined) {
      links.link(directory, name, target, asker, lookupBefore());
    } else {
      // As docker did: every link to the store becomes a file of its own (E35).
      directory.children.set(name, nodeOfEntry(aufsFile.entry, 'file', aufsFile.layer, 0));
    }
  }

  /** The directory for an entry, made where it is missing, and the entry's name in it. */
  #placeFor(asker: Asker): { directory: BuildDirectory; name: ByteString } {
    const { path } = asker;
    const slash = path.lastIndexOf('/');
    const { directory: found, missing } = this.#walker.walk(path, Math.max(slash, 0), asker);
    let directory = found;
    for (const name of missing) {
      this.#count(asker);
      const inTheWay = directory.children.get(name);
      if (inTheWay !== undefined) {
        this.#warn(
          `layer ${asker.layer}: a ${inTheWay.kind} in the way of ${shownPath(path)} becomes a directory`,
        );
      }
      const made = impliedDirectory(asker.layer, directory);
      directory.children.set(nameWithin(name, asker), made);
      directory = made;
    }
    return { directory, name: nameWithin(path.slice(slash + 1) as ByteString, asker) };
  }

  #count(asker: Asker): void {
    this.#entries += 1;
    if (this.#entries > this.#maxEntries) {
      throw new PeelError(
        'ERR_LIMIT_EXCEEDED',
        `layer ${asker.layer}: ${shownPath(asker.path)} comes after ${this.#maxEntries} entries and implied directories, the most that peel takes in one image`,
        { facts: { ...asker } },
      );
    }
  }

  #warn(warning: string): void {
    if (this.#warnings.length < MAX_WARNINGS) {
      this.#warnings.push(warning);
    } else {
      this.#unshownWarnings += 1;
    }
  }
}

function nameWithin(name: ByteString, asker: Asker): ByteString {
  if (name.length > MAX_NAME_BYTES) {
    throw new PeelError(
      'ERR_LAYER_INVALID',
      `layer ${asker.layer}: ${shownPath(asker.path)} needs a name of ${name.length} bytes, want at most ${MAX_NAME_BYTES}`,
      { facts: { ...asker } },
    );
  }
  return name;
}
