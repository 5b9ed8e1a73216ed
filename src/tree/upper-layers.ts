/**
 * What the upper layers of an image say by themselves, before the lower ones are known: so that `cat` of a file in
 * the top layer needs no other layer.
 *
 * In general a lower layer can change where the entries of an upper one end up: a parent that no upper layer
 * names may be a symbolic link below (E26), a hard link may mean a lower file (E39, E47). The merge of the upper
 * layers alone is therefore right only where it leans on nothing that they do not bring themselves:
 *
 * - every entry and whiteout lies in a directory that they have an entry for, made before it;
 * - no such directory goes away again;
 * - every hard link follows its target.
 *
 * A directory entry makes its path a real directory whatever lay there (E23), so in such a stack every path that
 * exists is exactly what it will be in the whole image. What is missing may still come from below.
 */
import { isPeelError } from '../errors.ts';
import { cleanPath } from '../layer/clean-path.ts';
import type { Entry } from '../layer/toc.ts';
import type { ByteString } from '../units.ts';
import { mergeLayers } from './merge.ts';
import type { Tree } from './node.ts';
import { meaningOf } from './whiteouts.ts';

type Layers = readonly (readonly Entry[])[];

/**
 * The tree of the layers from `lowest` up: each path in it is what the whole image has there, but for directories,
 * which may have more children. undefined where that cannot be said without the layers below.
 *
 * @param layers all layers, lowest first; those below `lowest` are not looked at.
 */
export function mergeUpperLayers(layers: Layers, lowest: number): Tree | undefined {
  const upper = layers.map((entries, layer) => (layer < lowest ? [] : entries));
  try {
    return isSelfContained(upper) ? mergeLayers(upper) : undefined;
  } catch (error) {
    // What is wrong with these layers, if it is, is said when the whole image is merged.
    if (isPeelError(error, 'ERR_LAYER_INVALID')) return undefined;
    throw error;
  }
}

function isSelfContained(layers: Layers): boolean {
  const known = new KnownPaths();
  return layers.every((entries, layer) => {
    const meanings = entries.map(({ path }) => meaningOf(path, layer));
    const isAllKnown = (meaning: string, take: (entry: Entry) => boolean): boolean =>
      entries.every((entry, index) => meanings[index] !== meaning || take(entry));
    const ownDirectories = new Set(entries.flatMap(({ type, path }) => (type === 'dir' ? [path] : [])));
    return (
      !meanings.includes('aufs') &&
      isAllKnown('whiteout', (entry) => known.hide(entry, ownDirectories)) &&
      isAllKnown('opaque', (entry) => known.empty(entry, ownDirectories)) &&
      isAllKnown('ordinary', (entry) => known.add(entry))
    );
  });
}

/** Paths that the layers so far have entries for. Each method is false where the answer depends on lower layers. */
class KnownPaths {
  readonly #directories = new Set<ByteString>(['' as ByteString]);
  readonly #withSubdirectory = new Set<ByteString>();
  readonly #others = new Set<ByteString>();

  add({ path, type, target }: Entry): boolean {
    const parent = parentOf(path);
    if (!this.#directories.has(parent)) return false;
    if (type === 'dir') {
      this.#others.delete(path);
      this.#directories.add(path);
      if (path !== '') this.#withSubdirectory.add(parent);
      return true;
    }
    if (this.#directories.has(path)) return false;
    if (type === 'hardlink' && !this.#others.has(cleanPath(target ?? ''))) return false;
    this.#others.add(path);
    return true;
  }

  /** `.wh.NAME` */
  hide({ path }: Entry, ownDirectories: ReadonlySet<ByteString>): boolean {
    const parent = parentOf(path);
    if (!this.#directories.has(parent)) return this.#concernsNothingKnown(parent, ownDirectories);
    const name = path.slice(path.lastIndexOf('/') + 1 + '.wh.'.length);
    const hidden = (parent === '' ? name : `${parent}/${name}`) as ByteString;
    if (this.#directories.has(hidden)) return false;
    this.#others.delete(hidden);
    return true;
  }

  /** `.wh..wh..opq` */
  empty({ path }: Entry, ownDirectories: ReadonlySet<ByteString>): boolean {
    const parent = parentOf(path);
    if (!this.#directories.has(parent)) return this.#concernsNothingKnown(parent, ownDirectories);
    if (this.#withSubdirectory.has(parent)) return false;
    for (const other of this.#others) if (parentOf(other) === parent) return false;
    return true;
  }

  /**
   * A whiteout in a directory that is not known yet: where its layer makes that a real directory, it is about
   * that place and no link, and nothing known lies there; where nothing is known at all, there is nothing to hide.
   */
  #concernsNothingKnown(parent: ByteString, ownDirectories: ReadonlySet<ByteString>): boolean {
    return ownDirectories.has(parent) || (this.#directories.size === 1 && this.#others.size === 0);
  }
}

function parentOf(path: ByteString): ByteString {
  return path.slice(0, Math.max(0, path.lastIndexOf('/'))) as ByteString;
}
