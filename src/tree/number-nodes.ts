/**
 * Inode numbers, and the last step of a merge: sorted children and link counts.
 *
 *   1                      the root
 *   2 ...                  entries, counted from the highest layer down, in the order of the tar inside a layer: an
 *                          inode has the number of the entry that gave it its attributes
 *   behind the entries     what has no entry of its own: directories that deeper names imply, copies of AUFS links
 *
 * So the numbers of what the upper layers say by themselves (upper-layers.ts) are those of the whole image, and every
 * process that merges the same layers comes to the same numbers (E226). They are dense enough for 32 bits.
 */
import type { Entry } from '../layer/toc.ts';
import type { ByteString } from '../units.ts';
import { type BuildDirectory, type BuildNode, isDirectory } from './build-node.ts';

const ROOT_INO = 1;

/** The number of the first entry of each layer, lowest first as `layers`; and the first number behind all entries. */
export function firstNumbers(layers: readonly (readonly Entry[])[]): { ofLayer: number[]; behind: number } {
  let next = ROOT_INO + 1;
  const ofLayer = layers.map(() => 0);
  for (let layer = layers.length - 1; layer >= 0; layer -= 1) {
    ofLayer[layer] = next;
    next += layers[layer]?.length ?? 0;
  }
  return { ofLayer, behind: next };
}

/**
 * Numbers the nodes that have no entry of their own (ino 0) from `behind` on, depth first, names in byte order. Sets
 * nlink: visible names, for directories 2 and one for each directory in it (E227). Returns the number of inodes.
 * Recursion would overflow on deep trees, so the stack is an array.
 */
export function numberNodes(root: BuildDirectory, behind: number): number {
  let inodes = 0;
  let next = behind;
  root.ino = ROOT_INO;
  const stack: BuildNode[] = [root];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.nlink === 0) inodes += 1;
    if (node.ino === 0) {
      node.ino = next;
      next += 1;
    }
    if (!isDirectory(node)) {
      node.nlink += 1;
      continue;
    }
    const names = sortChildren(node);
    node.nlink = 2;
    for (let position = names.length - 1; position >= 0; position -= 1) {
      const child = node.children.get(names[position] as ByteString);
      if (child === undefined) {
        continue;
      }
      if (child.kind === 'dir') {
        node.nlink += 1;
      }
      stack.push(child);
    }
  }
  return inodes;
}

/** Brings the names of a directory into byte order: characters of a ByteString are bytes, so `<` compares bytes. */
function sortChildren(directory: BuildDirectory): ByteString[] {
  const names = [...directory.children.keys()];
  if (!names.every((name, position) => position === 0 || (names[position - 1] as ByteString) < name)) {
    // Without a comparison function, sort() compares UTF-16 code units: here, bytes.
    names.sort();
    const { children } = directory;
    directory.children = new Map(names.map((name) => [name, children.get(name) as BuildNode]));
  }
  return names;
}
