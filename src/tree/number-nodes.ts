/**
 * The last step of a merge: sorted children, link counts and inode numbers, which depend on nothing but the
 * merged result, so that every process that merges the same layers comes to the same numbers.
 */
import type { ByteString } from '../units.ts';
import { type BuildDirectory, type BuildNode, isDirectory } from './build-node.ts';

/**
 * Numbers the nodes depth first, names in byte order; the root is 1, a name of a numbered inode keeps its
 * number (E226). Sets nlink: visible names, for directories 2 and one for each directory in it (E227).
 * Returns the number of inodes. Recursion would overflow on deep trees, so the stack is an array.
 */
export function numberNodes(root: BuildDirectory): number {
  let inodes = 0;
  const stack: BuildNode[] = [root];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.ino === 0) {
      inodes += 1;
      node.ino = inodes;
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
