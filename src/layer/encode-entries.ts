/**
 * Entries → stored bytes, column by column (docs/TOC-FORMAT.md). Small by plain means: paths share folders with the path
 * before, runs of equal times are written once, numbers take the bytes they need, and where the next file begins is
 * expected where it does in a tar without long names.
 */
import type { ByteString } from '../units.ts';
import { ByteWriter } from './byte-writer.ts';
import type { Entry } from './toc.ts';
import {
  ENTRY_COLUMNS,
  ENTRY_TYPES,
  type EntryColumn,
  endOfData,
  HAS_NEGATIVE_TIME,
  HAS_NSEC,
  HAS_SAME_TIME,
  HAS_SPARSE,
  HAS_XATTRS,
} from './toc-format.ts';

type Columns = Readonly<Record<EntryColumn, ByteWriter>>;

/** The bytes of the section. `indexOfXattrs`: of a set, in the section of those. */
export function encodeEntries(
  entries: readonly Entry[],
  indexOfXattrs: (xattrs: ReadonlyMap<ByteString, Buffer>) => number,
): Buffer {
  const columns = Object.fromEntries(ENTRY_COLUMNS.map((name) => [name, new ByteWriter()])) as Columns;
  let previous: Entry | undefined;
  let dataEnd = 0;
  for (const entry of entries) {
    const hasSameTime = entry.mtimeSec === previous?.mtimeSec && entry.mtimeNsec === previous.mtimeNsec;
    columns.heads.byte(headOf(entry, hasSameTime));
    writePath(columns, entry.path, previous?.path);
    columns.modes.number(entry.mode);
    columns.owners.number(entry.uid);
    columns.owners.number(entry.gid);
    if (!hasSameTime) {
      columns.times.number(Math.abs(entry.mtimeSec));
      if (entry.mtimeNsec !== 0) columns.times.uint32(entry.mtimeNsec);
    }
    if (entry.xattrs !== undefined) columns.xattrs.number(indexOfXattrs(entry.xattrs));
    if (entry.type === 'file') {
      columns.sizes.number(entry.size);
      columns.gaps.number(zigzag(entry.dataOffset - dataEnd));
      if (entry.sparse !== undefined) writeSparse(columns.sparse, entry.sparse);
      dataEnd = endOfData(entry);
    } else if (entry.type === 'symlink' || entry.type === 'hardlink') {
      columns.targets.text(entry.target ?? ('' as ByteString));
    } else if (entry.type === 'char' || entry.type === 'block') {
      for (const number of entry.rdev ?? [0, 0]) columns.devices.number(number);
    }
    previous = entry;
  }
  const section = new ByteWriter();
  section.number(entries.length);
  for (const name of ENTRY_COLUMNS) section.bytes(columns[name].written());
  return section.written();
}

function headOf(entry: Entry, hasSameTime: boolean): number {
  const time = (entry.mtimeSec < 0 ? HAS_NEGATIVE_TIME : 0) | (entry.mtimeNsec === 0 ? 0 : HAS_NSEC);
  return (
    ENTRY_TYPES.indexOf(entry.type) |
    (hasSameTime ? HAS_SAME_TIME : time) |
    (entry.xattrs === undefined ? 0 : HAS_XATTRS) |
    (entry.sparse === undefined ? 0 : HAS_SPARSE)
  );
}

/** How many folders at its beginning are those of the path before, or that path itself, then the rest. */
function writePath(columns: Columns, path: string, before: string | undefined): void {
  const limit = before === undefined ? 0 : Math.min(path.length, before.length + 1);
  let folders = 0;
  let shared = 0;
  for (let at = 0; at < limit; at++) {
    const code = path.charCodeAt(at);
    if (code !== (at === before?.length ? SLASH : before?.charCodeAt(at))) break;
    if (code !== SLASH) continue;
    folders++;
    shared = at + 1;
  }
  columns.shared.number(folders);
  columns.lengths.number(path.length - shared);
  columns.names.rawText(path, shared);
}

const SLASH = 0x2f;

/** Small numbers of either sign as small ones without. */
function zigzag(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value;
}

function writeSparse(writer: ByteWriter, pieces: NonNullable<Entry['sparse']>): void {
  writer.number(pieces.length);
  let end = 0;
  for (const { offset, length } of pieces) {
    writer.number(offset - end);
    writer.number(length);
    end = offset + length;
  }
}
