/** One file of a ztoc: fields in the order of ztoc.fbs, names as they stand in the tar. */
import { type ByteString, uncompressed } from '../../units.ts';
import { parseGoTime } from '../chunks/go-time.ts';
import { MAX_PATH } from '../clean-path.ts';
import { checkRoot, indexedPath, MAX_UINT32, permissionsOf, typeNamed } from '../index-entry.ts';
import { xattrNameProblem, xattrSizeProblem } from '../pax.ts';
import type { Entry, EntryType } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';
import type { FlatTable } from './flat-table.ts';

const FIELD = {
  name: 0,
  type: 1,
  offset: 2,
  size: 3,
  linkName: 4,
  mode: 5,
  uid: 6,
  gid: 7,
  time: 10,
  major: 11,
  minor: 12,
  records: 13,
} as const;

/** Records of PAX; the first versions of SOCI wrote the names of attributes alone. */
const XATTR_RECORD = /^(?:SCHILY\.xattr\.|(?=(?:user|security|system|trusted)\.))(?<name>.*)$/s;

/** `dataOffset` is also that of entries without content: where it would begin. @throws UnusableIndex */
export function ztocEntry(table: FlatTable): { readonly entry: Entry; readonly dataOffset: number } {
  const type = typeNamed(table.text(FIELD.type));
  const path = indexedPath(withoutNul(table.text(FIELD.name)));
  checkRoot(path, type);
  const mtime = parseGoTime(table.text(FIELD.time));
  if (mtime === undefined) throw new UnusableIndex(`the time of ${JSON.stringify(path)} is none`);
  const target = targetOf(table, type);
  const dataOffset = table.size(FIELD.offset);
  const uid = table.uint32(FIELD.uid);
  const gid = table.uint32(FIELD.gid);
  if (uid === MAX_UINT32 || gid === MAX_UINT32) throw new UnusableIndex('an owner of 2^32 - 1');
  const entry: Entry = {
    path,
    type,
    mode: permissionsOf(table.size(FIELD.mode)),
    uid,
    gid,
    size: type === 'file' ? table.size(FIELD.size) : type === 'symlink' ? (target?.length ?? 0) : 0,
    mtimeSec: mtime.sec,
    mtimeNsec: mtime.nsec,
    target,
    rdev:
      type === 'char' || type === 'block'
        ? [device(table, FIELD.major), device(table, FIELD.minor)]
        : undefined,
    xattrs: xattrsOf(table),
    dataOffset: uncompressed(type === 'file' ? dataOffset : 0),
    sparse: undefined,
  };
  return { entry, dataOffset };
}

function targetOf(table: FlatTable, type: EntryType): ByteString | undefined {
  if (type !== 'symlink' && type !== 'hardlink') return undefined;
  const target = withoutNul(table.text(FIELD.linkName));
  if (target === '' || target.length > MAX_PATH) throw new UnusableIndex(`no target of a ${type}`);
  return target as ByteString;
}

function device(table: FlatTable, field: number): number {
  const number = table.size(field);
  if (number > MAX_UINT32) throw new UnusableIndex(`a device number of ${number}`);
  return number;
}

function xattrsOf(table: FlatTable): ReadonlyMap<ByteString, Buffer> | undefined {
  const xattrs = new Map<ByteString, Buffer>();
  let total = 0;
  for (const record of table.tables(FIELD.records)) {
    const key = record.text(0);
    if (key.startsWith('GNU.sparse.')) throw new UnusableIndex('a sparse file, whose pieces it does not say');
    const name = XATTR_RECORD.exec(key)?.groups?.['name'] as ByteString | undefined;
    const value = record.bytes(1);
    if (name === undefined || value.length === 0) continue;
    total += name.length + value.length;
    const problem = xattrNameProblem(name) ?? xattrSizeProblem(value.length, total);
    if (problem !== undefined) throw new UnusableIndex(problem);
    // Copied: a view would keep the whole index in memory.
    xattrs.set(name, Buffer.from(value));
  }
  return xattrs.size === 0 ? undefined : xattrs;
}

function withoutNul(name: string): string {
  if (name.includes('\0')) throw new UnusableIndex('a NUL in a name');
  return name;
}
