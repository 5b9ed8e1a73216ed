/** A tree as plain values, so that a merged one and a mapped one can be compared node for node. */
import { expect } from 'vitest';
import { validateTree } from '../../src/native/system-calls.ts';
import { encodeTree } from '../../src/tree/encode-tree.ts';
import { openMappedTree } from '../../src/tree/mapped-tree.ts';
import type { Node, Tree } from '../../src/tree/node.ts';

/** No tree of a test is deeper or longer: one that runs in circles ends here, and fails. */
const MAX_NODES = 2_000_000;

/** Every name of every node, depth first. */
export function snapshotOf(tree: Tree): unknown {
  const names: unknown[] = [];
  const stack: { name: string; node: Node }[] = [{ name: '', node: tree.root }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { name, node } = next;
    if (names.length > MAX_NODES) throw new Error('a tree without an end');
    const children = [...(node.children ?? [])];
    names.push({
      name,
      ino: node.ino,
      kind: node.kind,
      mode: node.mode,
      uid: node.uid,
      gid: node.gid,
      size: node.size,
      mtime: [node.mtimeSec, node.mtimeNsec],
      nlink: node.nlink,
      rdev: node.rdev,
      target: node.target,
      xattrs: [...(node.xattrs ?? [])].map(([key, value]) => `${key}=${value.toString('hex')}`).sort(),
      layer: node.layer,
      implied: node.implied,
      content: node.content,
      parent: node.parent?.ino,
      children: children.map(([child]) => child),
    });
    for (const [child, below] of children.reverse()) stack.push({ name: child, node: below });
  }
  return { inodes: tree.inodes, warnings: tree.warnings, names };
}

const KEY = Buffer.alloc(32, 7);

/** Stores and maps a tree, in memory. @throws where it does not survive that. */
export async function storedAndMapped(tree: Tree): Promise<Tree> {
  const bytes = encodeTree(tree, KEY);
  await validateTree(bytes);
  const mapped = openMappedTree(bytes);
  expect(snapshotOf(mapped)).toEqual(snapshotOf(tree));
  return mapped;
}
