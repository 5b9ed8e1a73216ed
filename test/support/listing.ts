/**
 * A merged tree as rows that can be compared with a reference: `umoci unpack`, a listing, a model. Paths begin
 * with `/` and are bytes.
 */
import type { SparsePiece } from '../../src/layer/toc.ts';
import type { Node, NodeKind, Tree } from '../../src/tree/node.ts';
import type { ByteString } from '../../src/units.ts';
import { sha256Hex } from './digests.ts';

export interface Row {
  readonly path: string;
  readonly kind: NodeKind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds, a dot, nine digits. */
  readonly mtime: string;
  readonly size: number;
  /** sha256 of a file, target of a link, `major:minor` of a device, else empty. */
  readonly content: string;
  readonly nlink: number;
  /** `name=hex`, by name. */
  readonly xattrs: readonly string[];
  /** The first path of the same inode, in byte order. */
  readonly inode: string;
  readonly implied: boolean;
}

export function rowsOf(tree: Tree, contentOf: (node: Node) => Buffer): Row[] {
  const rows: Row[] = [];
  const firstPath = new Map<number, string>();
  const hashes = new Map<number, string>();
  const stack: { path: string; node: Node }[] = [{ path: '/', node: tree.root }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { path, node } = next;
    if (!firstPath.has(node.ino)) {
      firstPath.set(node.ino, path);
      if (node.kind === 'file') {
        hashes.set(node.ino, sha256Hex(contentOf(node)));
      }
    }
    rows.push({
      path,
      kind: node.kind,
      mode: node.mode,
      uid: node.uid,
      gid: node.gid,
      mtime: `${node.mtimeSec}.${String(node.mtimeNsec).padStart(9, '0')}`,
      size: node.size,
      content: hashes.get(node.ino) ?? node.target ?? node.rdev?.join(':') ?? '',
      nlink: node.nlink,
      xattrs: [...(node.xattrs ?? [])].map(([name, value]) => `${name}=${value.toString('hex')}`).sort(),
      inode: firstPath.get(node.ino) ?? '',
      implied: node.implied,
    });
    for (const [name, child] of [...(node.children ?? [])].reverse()) {
      stack.push({ path: path === '/' ? `/${name}` : `${path}/${name}`, node: child });
    }
  }
  return rows;
}

/** A file's bytes cut out of the tars of its layers. */
export function contentFrom(tars: readonly Buffer[]): (node: Node) => Buffer {
  return ({ content, size }) => {
    const tar = tars[content?.layer ?? -1];
    if (content === undefined || tar === undefined) {
      throw new Error('a file without content');
    }
    const pieces: readonly SparsePiece[] = content.sparse ?? [{ offset: 0, length: size }];
    const bytes = Buffer.alloc(size);
    let at: number = content.dataOffset;
    for (const { offset, length } of pieces) {
      tar.copy(bytes, offset, at, at + length);
      at += length;
    }
    return bytes;
  };
}

/** The node at a path of plain components, links not followed. */
export function nodeAt(tree: Tree, path: string): Node {
  let node: Node | undefined = tree.root;
  for (const name of path.split('/').filter((component) => component !== '')) {
    node = node?.children?.get(name as ByteString);
  }
  if (node === undefined) {
    throw new Error(`no ${path} in the tree`);
  }
  return node;
}

const LETTER_OF = { file: 'f', dir: 'd', symlink: 'l', char: 'c', block: 'b', fifo: 'p' } as const;

/** A row as the listings write it; times of whole seconds only, as theirs are. */
export function tabbedRow(row: Row): string {
  const { kind } = row;
  return [
    row.path,
    LETTER_OF[kind],
    row.mode.toString(8),
    row.uid,
    row.gid,
    Number(row.mtime.split('.')[0]),
    row.size,
    row.content,
    row.nlink,
    row.xattrs.join(','),
  ].join('\t');
}

/** What the library of eStargz adds to its layers: rows of the listings, but no part of the image as it is shown. */
export const STARGZ_ROWS = /^\/(?:stargz\.index\.json|\.(?:no\.)?prefetch\.landmark)\t/;

/** The rows of a listing's file, as `tabbedRow` writes them. */
export function normalizedListing(text: string): string[] {
  return text.replace(/\n$/, '').split('\n').map(normalized);
}

/** With its attributes in hexadecimal. */
function normalized(line: string): string {
  const fields = Buffer.from(line, 'utf8').toString('latin1').split('\t');
  const xattrs = /^(?<name>[^=]+)='(?<value>.*)'$/.exec(fields[9] ?? '')?.groups;
  if (xattrs !== undefined) {
    // Python's repr of a string with surrogate escapes, its backslashes doubled.
    const value = (xattrs['value'] ?? '').replaceAll(/\\\\(?:x|udc)([0-9a-f]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
    fields[9] = `${xattrs['name']}=${Buffer.from(value, 'latin1').toString('hex')}`;
  }
  return fields.slice(0, 10).join('\t');
}
