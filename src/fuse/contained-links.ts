/**
 * For `--symlinks contain`: the links whose targets are shown changed. The native server knows no policy, so that
 * they are worked out once, before the mount; under the default policy there is nothing to do.
 */
import type { FileSystem } from '../filesystem/filesystem.ts';
import type { ChangedTarget } from '../native-fuse.ts';
import type { Node } from '../tree/node.ts';

/** undefined where targets are shown as they are. Walks without recursion: depth is the image's choice. */
export function containedLinks(filesystem: FileSystem): ChangedTarget[] | undefined {
  if (filesystem.symlinks === 'raw') return undefined;
  const changed: ChangedTarget[] = [];
  const waiting: Node[] = [filesystem.root];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    for (const node of directory.children?.values() ?? []) {
      if (node.kind === 'dir') waiting.push(node);
      if (node.kind !== 'symlink') continue;
      const target = filesystem.readlink(node, directory);
      if (target !== node.target) changed.push({ directory: directory.ino, ino: node.ino, target });
    }
  }
  return changed;
}
