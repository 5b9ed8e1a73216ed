/**
 * What an image most likely has at a path, while its lowest layers, or the rest of a layer, are still to come: for an
 * answer that is compared with the whole image afterwards.
 *
 * `upper-layers.ts` says only what must be so. It says nothing where an upper layer leans on directories that it has
 * no entries for, as layers of umoci do, since these might be links below. Here they are taken for directories, and
 * the names that would come to lie elsewhere if they were not are remembered as doubtful: an answer that leads over none
 * of them can be wrong only where an image names one place in two ways.
 */
import { cleanPath } from '../layer/clean-path.ts';
import type { Entry } from '../layer/toc.ts';
import type { ByteString } from '../units.ts';
import { mergeLayers } from './merge.ts';
import type { NodeKind, Tree } from './node.ts';

export interface Guess {
  readonly tree: Tree;
  /** Whether the place of a node, by its name alone, may have got or lost something that came to lie elsewhere here. */
  isDoubtful(name: ByteString, kind: NodeKind): boolean;
}

const WHITEOUT_PREFIX = '.wh.';

/**
 * @param layers all layers, lowest first; those below `lowest` are not looked at, of layer `lowest` the first entries
 *   are enough.
 * @throws PeelError as `mergeLayers`.
 */
export function guessTree(layers: readonly (readonly Entry[])[], lowest: number): Guess {
  const places = new Places(layers, lowest);
  const doubtful = new Set<ByteString>();
  /** Where there is a directory, another one makes no difference. */
  const doubtfulFolders = new Set<ByteString>();
  const taken = layers.map((entries, layer) => {
    if (layer < lowest) return [];
    return entries.filter(({ path, type, target }) => {
      // The target of a hard link may come later, or lie in a layer below.
      const dangles = type === 'hardlink' && !places.hasFile(cleanPath(target ?? ''));
      // Below the lowest layer nothing can be a link.
      if (dangles || (layer > 0 && !places.isPlaced(parentOf(path)))) {
        (type === 'dir' ? doubtfulFolders : doubtful).add(shownName(path));
      }
      return !dangles;
    });
  });
  return {
    tree: mergeLayers(taken),
    isDoubtful: (name, kind) => doubtful.has(name) || (kind !== 'dir' && doubtfulFolders.has(name)),
  };
}

/** What the entries so far name. */
class Places {
  readonly #directories = new Set<ByteString>(['' as ByteString]);
  readonly #others = new Set<ByteString>();
  readonly #placed = new Map<ByteString, boolean>([['' as ByteString, true]]);

  constructor(layers: readonly (readonly Entry[])[], lowest: number) {
    for (const [layer, entries] of layers.entries()) {
      for (const { path, type } of layer < lowest ? [] : entries) {
        (type === 'dir' ? this.#directories : this.#others).add(path);
        if (layer === 0) this.#implyParents(path);
      }
    }
  }

  hasFile(path: ByteString): boolean {
    return this.#others.has(path);
  }

  /** Whether a directory and all above it have entries. */
  isPlaced(directory: ByteString): boolean {
    const known = this.#placed.get(directory);
    if (known !== undefined) return known;
    const isPlaced = this.#directories.has(directory) && this.isPlaced(parentOf(directory));
    this.#placed.set(directory, isPlaced);
    return isPlaced;
  }

  #implyParents(path: ByteString): void {
    for (let at = parentOf(path); !this.#directories.has(at); at = parentOf(at)) this.#directories.add(at);
  }
}

/** Of a whiteout, the name that it hides. */
function shownName(path: ByteString): ByteString {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return (name.startsWith(WHITEOUT_PREFIX) ? name.slice(WHITEOUT_PREFIX.length) : name) as ByteString;
}

function parentOf(path: ByteString): ByteString {
  return path.slice(0, Math.max(0, path.lastIndexOf('/'))) as ByteString;
}
