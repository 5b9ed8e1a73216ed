/** Which children of a directory a listing shows, and in what order: the part that `ls` and `tree` share. */
import type { Node } from '../tree/node.ts';
import type { Child } from './walk.ts';

export interface ListOrder {
  /** Names that begin with a dot too. */
  readonly showHidden: boolean;
  readonly sortBy: 'name' | 'time' | 'size';
  readonly reverse: boolean;
  readonly onlyDirectories?: boolean;
}

/** The children of `directory` to show. By name is byte order, as `LC_ALL=C ls` sorts. */
export function listChildren(directory: Node, order: ListOrder): readonly Child[] {
  const children: Child[] = [];
  for (const child of directory.children ?? []) {
    if (!order.showHidden && child[0].startsWith('.')) continue;
    if (order.onlyDirectories === true && child[1].kind !== 'dir') continue;
    children.push(child);
  }
  return sortNodes(children, order, (child) => child[1]);
}

/** Sorts in place what stands in name order already; ties stay in name order. */
export function sortNodes<Item>(
  items: Item[],
  order: ListOrder,
  nodeOf: (item: Item) => Node,
): readonly Item[] {
  if (order.sortBy === 'size') items.sort((a, b) => nodeOf(b).size - nodeOf(a).size);
  if (order.sortBy === 'time') items.sort((a, b) => compareTime(nodeOf(b), nodeOf(a)));
  return order.reverse ? items.reverse() : items;
}

function compareTime(a: Node, b: Node): number {
  return a.mtimeSec - b.mtimeSec || a.mtimeNsec - b.mtimeNsec;
}
