/**
 * Goes through a directory of the tree from top to bottom, each directory's children in a chosen order.
 * Nodes have their children at hand, so nothing is fetched; links are not followed, so it ends.
 */
import type { Node } from '../tree/node.ts';
import type { ByteString } from '../units.ts';
import { joinPath } from './image-path.ts';

export interface Visit {
  readonly path: ByteString;
  readonly name: ByteString;
  readonly node: Node;
  /** 1 for the children of the directory that the walk begins at. */
  readonly depth: number;
  /** Whether it is the last that its directory shows. */
  readonly isLast: boolean;
}

export type Child = readonly [name: ByteString, node: Node];

/** Which children of a directory are visited, and in what order. */
export type ChildrenOf = (directory: Node) => readonly Child[];

/**
 * Yields what lies below `directory`, parents before their children. With a stack of its own: a hostile
 * tree is deeper than the stack of the engine would like.
 */
export function* walk(
  directory: Node,
  path: ByteString,
  childrenOf: ChildrenOf,
  maxDepth = Number.POSITIVE_INFINITY,
): Generator<Visit, void, undefined> {
  const levels: { readonly path: ByteString; readonly children: readonly Child[]; next: number }[] = [];
  if (maxDepth > 0) levels.push({ path, children: childrenOf(directory), next: 0 });
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const child = level.children[level.next];
    if (child === undefined) {
      levels.pop();
      continue;
    }
    level.next += 1;
    const [name, node] = child;
    const isLast = level.next === level.children.length;
    const visit = { path: joinPath(level.path, name), name, node, depth: levels.length, isLast };
    yield visit;
    if (node.children !== undefined && levels.length < maxDepth) {
      levels.push({ path: visit.path, children: childrenOf(node), next: 0 });
    }
  }
}
