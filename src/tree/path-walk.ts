/**
 * Walking a path inside a tree that is being merged: symbolic links on the way are followed, inside the
 * image only (E26, E64). `..` stops at the root.
 *
 * Components that are no directories do not end the walk. They are handed back as `missing`, because a file
 * may be unpacked below them: a dangling link as parent creates what it points to, as umoci does. After a
 * missing component `..` removes it again.
 *
 * Cost: one map lookup a component. A budget for the whole merge bounds what links to links can multiply.
 */
import { PeelError } from '../errors.ts';
import type { ByteString } from '../units.ts';
import { type BuildDirectory, type BuildNode, isDirectory } from './build-node.ts';
import { shownPath } from './shown-path.ts';

/** What containerd and umoci (through SecureJoin) follow in one path; the kernel's 40 is less. */
const MAX_SYMLINKS = 255;
/** Components walked in one merge: 5 million entries at 40 each. A real image of that size needs 8. */
const MAX_STEPS = 200_000_000;

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
  readonly #maxSteps: number;
  #steps = 0;

  constructor(root: BuildDirectory, maxSteps: number = MAX_STEPS) {
    this.#root = root;
    this.#maxSteps = maxSteps;
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
    for (;;) {
      if (position >= textEnd) {
        const rest = rests.pop();
        if (rest === undefined) {
          return { directory, missing };
        }
        ({ text, position, end: textEnd } = rest);
        continue;
      }
      this.#spendStep(asker);
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

  #spendStep(asker: Asker): void {
    this.#steps += 1;
    if (this.#steps > this.#maxSteps) {
      throw new PeelError(
        'ERR_LIMIT_EXCEEDED',
        `layer ${asker.layer}: merging reached ${shownPath(asker.path)} after ${this.#maxSteps} path components, the most that peel walks in one image`,
        { facts: { ...asker } },
      );
    }
  }
}

export function lookupChild(directory: BuildDirectory, name: ByteString): BuildNode | undefined {
  return directory.children.get(name);
}
