/**
 * The nodes of a tree while it is being merged: the same objects as the finished `Node`s, still mutable.
 * Outside `src/tree/` only the read-only type is seen.
 */
import type { Entry, EntryType } from '../layer/toc.ts';
import type { ByteString } from '../units.ts';
import type { Node } from './node.ts';

export type BuildNode = {
  -readonly [Key in Exclude<keyof Node, 'children' | 'parent'>]: Node[Key];
} & {
  children: Map<ByteString, BuildNode> | undefined;
  parent: BuildNode | undefined;
};

/** A directory under construction: `children` and `parent` are there. */
export type BuildDirectory = BuildNode & {
  kind: 'dir';
  children: Map<ByteString, BuildNode>;
  parent: BuildDirectory;
};

/** What umoci and containerd give a directory that only deeper names imply (E56). */
const IMPLIED_DIRECTORY_MODE = 0o755;
/** lstat(2) knows no other mode for a symbolic link on Linux, whatever the header says. */
const SYMLINK_MODE = 0o777;

export function isDirectory(node: BuildNode | undefined): node is BuildDirectory {
  return node?.kind === 'dir';
}

/** A directory that no layer has an entry for. `parent` undefined makes a root, which is its own parent. */
export function impliedDirectory(layer: number, parent: BuildDirectory | undefined): BuildDirectory {
  const node: BuildNode = {
    ino: 0,
    kind: 'dir',
    mode: IMPLIED_DIRECTORY_MODE,
    uid: 0,
    gid: 0,
    size: 0,
    mtimeSec: 0,
    mtimeNsec: 0,
    nlink: 0,
    rdev: undefined,
    target: undefined,
    xattrs: undefined,
    layer,
    implied: true,
    content: undefined,
    children: new Map(),
    parent,
  };
  if (parent === undefined) {
    node.parent = node;
  }
  return node as BuildDirectory;
}

/** A node of anything but a directory or a hard link, as the entry describes it. `ino`: 0 where the number is not its entry's. */
export function nodeOfEntry(
  entry: Entry,
  kind: Exclude<EntryType, 'dir' | 'hardlink'>,
  layer: number,
  ino: number,
): BuildNode {
  return {
    ino,
    kind,
    mode: kind === 'symlink' ? SYMLINK_MODE : entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    size: entry.size,
    mtimeSec: entry.mtimeSec,
    mtimeNsec: entry.mtimeNsec,
    nlink: 0,
    rdev: kind === 'char' || kind === 'block' ? entry.rdev : undefined,
    target: kind === 'symlink' ? entry.target : undefined,
    xattrs: visibleXattrs(entry.xattrs),
    layer,
    implied: false,
    content: kind === 'file' ? { layer, dataOffset: entry.dataOffset, sparse: entry.sparse } : undefined,
    children: undefined,
    parent: undefined,
  };
}

/** Gives a directory the attributes of an entry, all of them (E58), and its number; what is in it stays. */
export function setDirectoryAttributes(
  directory: BuildDirectory,
  entry: Entry,
  layer: number,
  ino: number,
): void {
  directory.ino = ino;
  directory.mode = entry.mode;
  directory.uid = entry.uid;
  directory.gid = entry.gid;
  directory.mtimeSec = entry.mtimeSec;
  directory.mtimeNsec = entry.mtimeNsec;
  directory.xattrs = visibleXattrs(entry.xattrs);
  directory.layer = layer;
  directory.implied = false;
}

/** `trusted.*` out of a tar is data about some overlay, never shown and never obeyed (E37). */
function visibleXattrs(
  xattrs: ReadonlyMap<ByteString, Buffer> | undefined,
): ReadonlyMap<ByteString, Buffer> | undefined {
  if (xattrs === undefined) {
    return undefined;
  }
  let hidden = 0;
  for (const name of xattrs.keys()) {
    if (name.startsWith('trusted.')) {
      hidden += 1;
    }
  }
  if (hidden === xattrs.size) {
    return undefined;
  }
  return hidden === 0 ? xattrs : new Map([...xattrs].filter(([name]) => !name.startsWith('trusted.')));
}
