/**
 * What the names of a layer say about the layers below it (image-spec layer.md, "Whiteouts").
 *
 *   .wh.NAME       hides NAME of the lower layers           E1-E19, E28, E31
 *   .wh..wh..opq   hides all children from lower layers     E3-E6, E10, E20
 *   .wh..wh.*      metadata of AUFS: skipped                E34, E35
 *
 * Only the last component counts (E30), and only by its name, whatever the type (E31). All whiteouts of a layer
 * act on the tree as the lower layers left it, before any entry of the layer does, so their place in the tar
 * does not matter (E4, E13, E15). The parent of a whiteout is looked up in that lower tree, links followed
 * (E27), with one exception: where the layer itself puts something else than a link in the place of such a
 * link, the whiteout is about the layer's own directory, not about what the old link led to. Overlay differs
 * write `d lib/`, `f lib/.wh..wh..opq` where a link became a directory; taking it through the link would
 * empty usr/lib.
 */
import { PeelError } from '../errors.ts';
import type { Entry } from '../layer/toc.ts';
import type { ByteString } from '../units.ts';
import type { BuildDirectory, BuildNode } from './build-node.ts';
import type { PathWalker } from './path-walk.ts';
import { shownPath } from './shown-path.ts';

const WHITEOUT_PREFIX = '.wh.'; // image-spec layer.md "Whiteouts"
const OPAQUE_NAME = '.wh..wh..opq'; // image-spec layer.md "Opaque Whiteout"
const AUFS_PREFIX = '.wh..wh.'; // docker's WhiteoutMetaPrefix

export type NameMeaning = 'ordinary' | 'whiteout' | 'opaque' | 'aufs';

/** What the name of an entry makes of it. @throws PeelError ERR_LAYER_INVALID for `.wh.`, `.wh..`, `.wh...` (E32, E33). */
export function meaningOf(path: ByteString, layer: number): NameMeaning {
  // The dot-directories of AUFS lie at the root, and what is in them is as hidden as they are.
  if (path.startsWith(AUFS_PREFIX)) {
    return path === OPAQUE_NAME ? 'opaque' : 'aufs';
  }
  const start = path.lastIndexOf('/') + 1;
  if (!path.startsWith(WHITEOUT_PREFIX, start)) {
    return 'ordinary';
  }
  const name = path.slice(start);
  if (name === OPAQUE_NAME) {
    return 'opaque';
  }
  if (name.startsWith(AUFS_PREFIX)) {
    return 'aufs';
  }
  const hidden = name.slice(WHITEOUT_PREFIX.length);
  if (hidden === '' || hidden === '.' || hidden === '..') {
    throw new PeelError(
      'ERR_LAYER_INVALID',
      `layer ${layer}: ${shownPath(path)} is a whiteout of ${hidden === '' ? 'no name' : `"${hidden}"`}, want the name of a file`,
      { facts: { layer, path } },
    );
  }
  return 'whiteout';
}

/** Names that whiteouts of one layer took away, each with the place of its whiteout in the tar. */
export type Removed = Map<BuildDirectory, Map<ByteString, { node: BuildNode; index: number }>>;

interface Removal {
  /** Of the whiteout among the layer's entries. */
  readonly index: number;
  readonly directory: BuildDirectory;
  /** undefined: all names of `directory`. */
  readonly name: ByteString | undefined;
  /** The symbolic links that its parent leads through. */
  readonly through: readonly Crossing[];
}

interface Crossing {
  readonly directory: BuildDirectory;
  readonly name: ByteString;
}

/**
 * Applies the whiteouts of a layer to the tree of the layers below. All are looked up before the first one acts.
 * With `remember`, what they removed is returned: hard links that stand before a whiteout may still want it.
 */
export function applyWhiteouts(
  entries: readonly Entry[],
  layer: number,
  walker: PathWalker,
  remember: boolean,
): Removed {
  const removals: Removal[] = [];
  entries.forEach((entry, index) => {
    const meaning = meaningOf(entry.path, layer);
    if (meaning === 'whiteout' || meaning === 'opaque') {
      const removal = removalOf(entry.path, meaning, index, layer, walker);
      if (removal !== undefined) {
        removals.push(removal);
      }
    }
  });
  const replaced = replacedLinks(entries, layer, walker, removals);
  const removed: Removed = new Map();
  for (const { index, directory, name, through } of removals) {
    if (through.some((link) => replaced.get(link.directory)?.has(link.name) === true)) {
      continue;
    }
    const names = name === undefined ? directory.children.keys() : [name];
    if (remember) {
      rememberAll(removed, directory, names, index);
    }
    if (name === undefined) {
      directory.children = new Map();
    } else {
      directory.children.delete(name);
    }
  }
  return removed;
}

/** undefined where there is nothing to remove: E8, E9, E29, E71. */
function removalOf(
  path: ByteString,
  meaning: 'whiteout' | 'opaque',
  index: number,
  layer: number,
  walker: PathWalker,
): Removal | undefined {
  const slash = path.lastIndexOf('/');
  const through: Crossing[] = [];
  const { directory, missing } = walker.walk(
    path,
    Math.max(slash, 0),
    { layer, path },
    undefined,
    (at, name) => through.push({ directory: at, name }),
  );
  if (missing.length > 0) {
    return undefined;
  }
  if (meaning === 'opaque') {
    return { index, directory, name: undefined, through };
  }
  const name = path.slice(slash + 1 + WHITEOUT_PREFIX.length) as ByteString;
  return { index, directory, name, through };
}

/** Of the links that whiteouts lead through, those in whose place the layer itself puts something that is no link. */
function replacedLinks(
  entries: readonly Entry[],
  layer: number,
  walker: PathWalker,
  removals: readonly Removal[],
): Map<BuildDirectory, Set<ByteString>> {
  const crossed = new Set(removals.flatMap(({ through }) => through.map(({ name }) => name)));
  const replaced = new Map<BuildDirectory, Set<ByteString>>();
  if (crossed.size === 0) {
    return replaced;
  }
  for (const { path, type } of entries) {
    const slash = path.lastIndexOf('/');
    const name = path.slice(slash + 1) as ByteString;
    if (type === 'symlink' || !crossed.has(name)) {
      continue;
    }
    const { directory, missing } = walker.walk(path, Math.max(slash, 0), { layer, path });
    if (missing.length === 0 && directory.children.get(name)?.kind === 'symlink') {
      const names = replaced.get(directory) ?? new Set();
      replaced.set(directory, names.add(name));
    }
  }
  return replaced;
}

function rememberAll(
  removed: Removed,
  directory: BuildDirectory,
  names: Iterable<ByteString>,
  index: number,
): void {
  const known = removed.get(directory) ?? new Map<ByteString, { node: BuildNode; index: number }>();
  removed.set(directory, known);
  for (const name of names) {
    const node = directory.children.get(name);
    if (node !== undefined) {
      known.set(name, { node, index });
    }
  }
}

/** The tree as it was before the whiteouts that stand after entry `index` of the tar acted. */
export function lookupBeforeWhiteouts(removed: Removed, index: number) {
  return (directory: BuildDirectory, name: ByteString): BuildNode | undefined => {
    const gone = removed.get(directory)?.get(name);
    if (gone !== undefined && gone.index > index) {
      return gone.node;
    }
    return directory.children.get(name);
  };
}

/** True for the directory where AUFS kept files that several names link to (E35). */
export function isAufsLinkStore(path: ByteString): boolean {
  return path.startsWith('.wh..wh.plnk/');
}
