/**
 * Hard links of a layer: a second name for an inode that is already there (E38-E52).
 *
 * A target is looked up when its link is met in the tar. Where it is not there yet, a placeholder keeps the
 * link's name, and the link is settled when the layer is complete (E46): what all tar programs refuse, an
 * index can serve. What is still dangling then is an error (E45). The header of a link says nothing about the
 * inode, so its mode, owner and times are ignored (E52).
 */
import { PeelError } from '../errors.ts';
import type { ByteString } from '../units.ts';
import { type BuildDirectory, type BuildNode, impliedDirectory, isDirectory } from './build-node.ts';
import type { Asker, Lookup, PathWalker } from './path-walk.ts';
import { shownPath } from './shown-path.ts';

interface WaitingLink {
  readonly asker: Asker;
  readonly directory: BuildDirectory;
  readonly name: ByteString;
  readonly target: ByteString;
  readonly placeholder: BuildNode;
  /** The inode, once it is known. */
  node: BuildNode | undefined;
  visited: boolean;
}

/** The hard links of one layer whose targets were not there when they were met. */
export class WaitingLinks {
  readonly #walker: PathWalker;
  /** By placeholder. */
  readonly #links = new Map<BuildNode, WaitingLink>();

  constructor(walker: PathWalker) {
    this.#walker = walker;
  }

  /** How many links came before their targets. */
  get count(): number {
    return this.#links.size;
  }

  /**
   * Gives `directory` the name `name` for the inode that `target` (a cleaned path) leads to.
   * `lookupBefore` sees what was there before whiteouts that come later in the tar.
   * @throws PeelError ERR_LAYER_INVALID when the target is a directory (E51).
   */
  link(
    directory: BuildDirectory,
    name: ByteString,
    target: ByteString,
    asker: Asker,
    lookupBefore: Lookup,
  ): void {
    const node = this.#find(target, asker) ?? this.#find(target, asker, lookupBefore);
    if (node === undefined || this.#links.has(node)) {
      const placeholder = placeholderNode(asker.layer);
      directory.children.set(name, placeholder);
      this.#links.set(placeholder, {
        asker,
        directory,
        name,
        target,
        placeholder,
        node: undefined,
        visited: false,
      });
      return;
    }
    directory.children.set(name, mustBeLinkable(node, target, asker));
  }

  /** The layer is complete: gives each waiting link its inode. @throws PeelError for one that dangles. */
  settle(): void {
    for (const link of this.#links.values()) {
      this.#resolve(link);
    }
    for (const { directory, name, placeholder, node } of this.#links.values()) {
      // A later entry may have taken the name: the last one wins.
      if (node !== undefined && directory.children.get(name) === placeholder) {
        directory.children.set(name, node);
      }
    }
  }

  /** Follows links to links that wait themselves; each is visited once. */
  #resolve(first: WaitingLink): void {
    const chain: WaitingLink[] = [];
    let link = first;
    let node = link.node;
    while (node === undefined) {
      if (link.visited) {
        throw dangling(first, 'which leads back to the link itself');
      }
      link.visited = true;
      chain.push(link);
      const found = this.#find(link.target, link.asker);
      if (found === undefined) {
        throw dangling(link, 'which neither this layer nor a lower one has there');
      }
      const next = this.#links.get(found);
      if (next === undefined) {
        node = mustBeLinkable(found, link.target, link.asker);
      } else {
        link = next;
        node = next.node;
      }
    }
    for (const waiting of chain) {
      waiting.node = node;
    }
  }

  /** The last component is not followed when it is a symbolic link: a link to a link is a link to it (E48). */
  #find(target: ByteString, asker: Asker, lookup?: Lookup): BuildNode | undefined {
    if (target === '') {
      throw directoryTarget(target, asker);
    }
    const slash = target.lastIndexOf('/');
    const { directory, missing } = this.#walker.walk(target, Math.max(slash, 0), asker, lookup);
    if (missing.length > 0) {
      return undefined;
    }
    const name = target.slice(slash + 1) as ByteString;
    return lookup === undefined ? directory.children.get(name) : lookup(directory, name);
  }
}

function mustBeLinkable(node: BuildNode, target: ByteString, asker: Asker): BuildNode {
  if (isDirectory(node)) {
    throw directoryTarget(target, asker);
  }
  return node;
}

function directoryTarget(target: ByteString, asker: Asker): PeelError {
  return new PeelError(
    'ERR_LAYER_INVALID',
    `layer ${asker.layer}: the hard link ${shownPath(asker.path)} names the directory ${shownPath(target)}, want anything but a directory`,
    { facts: { ...asker } },
  );
}

function dangling({ asker, target }: WaitingLink, found: string): PeelError {
  return new PeelError(
    'ERR_LAYER_INVALID',
    `layer ${asker.layer}: the hard link ${shownPath(asker.path)} names ${shownPath(target)}, ${found}`,
    { facts: { ...asker } },
  );
}

/** Keeps the name until the inode is known. A file to everyone who walks past. */
function placeholderNode(layer: number): BuildNode {
  return { ...impliedDirectory(layer, undefined), kind: 'file', children: undefined, parent: undefined };
}
