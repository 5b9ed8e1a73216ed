/** What statfs(2) says of an image: full, and as large as its files. */
import type { Node, Tree } from '../tree/node.ts';
import { BLOCK_SIZE } from './attributes.ts';

export interface FileSystemStatistics {
  /** Bytes; `blocks` counts these. */
  readonly blockSize: number;
  /** All in use: nothing is free on an image. */
  readonly blocks: number;
  readonly inodes: number;
  /** Longest name, bytes. */
  readonly nameMax: number;
}

/** Longest file name that Linux allows, bytes: limits.h. */
export const NAME_MAX = 255;

/** Walks without recursion: depth is the image's choice. Sparse sizes can add up beyond 2^53, hence the cap. */
export function statisticsOf(tree: Tree): FileSystemStatistics {
  let blocks = 0;
  const seen = new Set<number>();
  const waiting: Node[] = [tree.root];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    for (const child of node.children?.values() ?? []) {
      if (child.children !== undefined) waiting.push(child);
      if (child.kind !== 'file') continue;
      if (child.nlink > 1) {
        if (seen.has(child.ino)) continue;
        seen.add(child.ino);
      }
      blocks += Math.ceil(child.size / BLOCK_SIZE);
    }
  }
  return {
    blockSize: BLOCK_SIZE,
    blocks: Math.min(blocks, Number.MAX_SAFE_INTEGER),
    inodes: tree.inodes,
    nameMax: NAME_MAX,
  };
}
