/**
 * Walking a path inside a tree that is being merged: symbolic links on the way are followed, inside the
 * image only (E26, E64). `..` stops at the root.
 *
 * Components that are no directories do not end the walk. They are handed back as `missing`, because a file
 * may be unpacked below them: a dangling link as parent creates what it points to, as umoci does. After a
 * missing component `..` removes it again.
 *
 * Cost: one map lookup a component. What paths spell out is bounded by the size of the tar; what links multiply it
 * by is bounded by a budget for the whole merge: else a layer of a few kilobytes takes minutes.
 */
import { PeelError } from '../errors.ts';
import type { ByteString } from '../units.ts';
import { type BuildDirectory, type BuildNode, isDirectory } from './build-node.ts';
import { shownPath } from './shown-path.ts';

/** What containerd and umoci (through SecureJoin) follow in one path; the kernel's 40 is less. */
const MAX_SYMLINKS = 255;
/** Components of link targets walked in one merge: a second of work, however small the layer. */
const MAX_LINK_STEPS = 20_000_000;
/** And so many more for each path. A file below /lib -> usr/lib takes 2. */
const LINK_STEPS_A_PATH = 100;

/** Where a path leads. */
export interface Place {
  readonly directory: BuildDirectory;
  /** What is not there below it, outermost first. Only the first may exist, as something else than a directory. */
  readonly missing: readonly ByteString[];
}

/** Whose entry a walk is for: what its errors name. */
export interface Asker {
  readonly layer: number;
  readonly path: ByteString;
}

export type Lookup = (directory: BuildDirectory, name: ByteString) => BuildNode | undefined;

export class PathWalker {
  readonly #root: BuildDirectory;
  #linkStepsLeft = MAX_LINK_STEPS;

  constructor(root: BuildDirectory) {
    this.#root = root;
  }

  /**
   * Walks the first `end` characters of `path`. Every symbolic link followed is handed to `onSymlink` with
   * the directory it lies in.
   * @throws PeelError ERR_LAYER_INVALID for more than 255 links (E63), ERR_LIMIT_EXCEEDED when the budget is spent.
   */
  walk(
    path: ByteString,
    end: number,
    asker: Asker,
    lookup: Lookup = lookupChild,
    onSymlink?: (directory: BuildDirectory, name: ByteString) => void,
  ): Place {
    let directory = this.#root;
    const missing: ByteString[] = [];
    // What is left of the paths that links interrupted, outermost first: at most MAX_SYMLINKS.
    const rests: { text: ByteString; position: number; end: number }[] = [];
    let text = path;
    let position = 0;
    let textEnd = end;
    let symlinks = 0;
    this.#linkStepsLeft += LINK_STEPS_A_PATH;
    for (;;) {
      if (position >= textEnd) {
        const rest = rests.pop();
        if (rest === undefined) {
          return { directory, missing };
        }
        ({ text, position, end: textEnd } = rest);
        continue;
      }
      if (rests.length > 0) {
        this.#spendLinkStep(asker);
      }
      const slash = text.indexOf('/', position);
      const componentEnd = slash === -1 || slash > textEnd ? textEnd : slash;
      const name = text.slice(position, componentEnd) as ByteString;
      position = componentEnd + 1;
      if (name === '' || name === '.') {
        continue;
      }
      if (name === '..') {
        if (missing.pop() === undefined) {
          directory = directory.parent;
        }
        continue;
      }
      const child = missing.length === 0 ? lookup(directory, name) : undefined;
      if (isDirectory(child)) {
        directory = child;
      } else if (child?.kind === 'symlink') {
        symlinks += 1;
        if (symlinks > MAX_SYMLINKS) {
          throw new PeelError(
            'ERR_LAYER_INVALID',
            `layer ${asker.layer}: the path ${shownPath(asker.path)} leads through more than ${MAX_SYMLINKS} symbolic links`,
            { facts: { ...asker } },
          );
        }
        onSymlink?.(directory, name);
        rests.push({ text, position, end: textEnd });
        text = child.target ?? ('' as ByteString);
        position = 0;
        textEnd = text.length;
        if (text.startsWith('/')) {
          directory = this.#root;
        }
      } else {
        missing.push(name);
      }
    }
  }

  #spendLinkStep(asker: Asker): void {
    this.#linkStepsLeft -= 1;
    if (this.#linkStepsLeft < 0) {
      throw new PeelError(
        'ERR_LIMIT_EXCEEDED',
        `layer ${asker.layer}: the path ${shownPath(asker.path)} and those before it lead through links with too many components, over ${LINK_STEPS_A_PATH} a path`,
        { facts: { ...asker } },
      );
    }
  }
}

function lookupChild(directory: BuildDirectory, name: ByteString): BuildNode | undefined {
  return directory.children.get(name);
}
