/** Stored bytes → entries: what `encode-entries.ts` writes. Nothing that it reads is trusted. */
import { type ByteString, uncompressed } from '../units.ts';
import { ByteReader, StoredFormError } from './byte-reader.ts';
import { MAX_PATH } from './clean-path.ts';
import type { Entry, SparsePiece } from './toc.ts';
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
  SMALLEST_ENTRY,
  TYPE_BITS,
} from './toc-format.ts';

export type Xattrs = ReadonlyMap<ByteString, Buffer>;

type Columns = Readonly<Record<EntryColumn, ByteReader>>;

/** @throws StoredFormError, also for paths and link targets of more than `maxNameBytes` together. */
export function decodeEntries(
  section: ByteReader,
  xattrSets: readonly Xattrs[],
  maxNameBytes: number,
): Entry[] {
  const count = section.count(SMALLEST_ENTRY);
  const columns = Object.fromEntries(
    ENTRY_COLUMNS.map((name) => [name, new ByteReader(section.bytes())]),
  ) as Columns;
  section.end();
  const names = new NameReader(columns, maxNameBytes);
  const entries: Entry[] = [];
  let mtimeSec = 0;
  let mtimeNsec = 0;
  let dataOffset = 0;
  let dataEnd = 0;
  for (let left = count; left > 0; left--) {
    const bits = columns.heads.byte();
    const type = ENTRY_TYPES[bits & TYPE_BITS];
    if (type === undefined) throw new StoredFormError('an unknown type of entry');
    const path = names.path();
    const mode = columns.modes.number();
    const uid = columns.owners.number();
    const gid = columns.owners.number();
    if ((bits & HAS_SAME_TIME) === 0) {
      const seconds = columns.times.number();
      mtimeSec = (bits & HAS_NEGATIVE_TIME) === 0 ? seconds : -seconds;
      mtimeNsec = (bits & HAS_NSEC) === 0 ? 0 : columns.times.uint32();
    }
    const xattrs = (bits & HAS_XATTRS) === 0 ? undefined : xattrSets[columns.xattrs.number()];
    if (xattrs === undefined && (bits & HAS_XATTRS) !== 0) throw new StoredFormError('unknown xattrs');
    let size = 0;
    let target: ByteString | undefined;
    let rdev: [number, number] | undefined;
    let sparse: SparsePiece[] | undefined;
    if (type === 'file') {
      size = columns.sizes.number();
      const offset = dataEnd + unzigzag(columns.gaps.number());
      if (!Number.isSafeInteger(offset) || offset < dataOffset)
        throw new StoredFormError('files out of order');
      if ((bits & HAS_SPARSE) !== 0) sparse = readSparse(columns.sparse);
      dataOffset = offset;
      dataEnd = endOfData({ dataOffset: uncompressed(offset), size, sparse });
    } else if (type === 'symlink' || type === 'hardlink') {
      target = names.target();
      size = type === 'symlink' ? target.length : 0;
    } else if (type === 'char' || type === 'block') {
      rdev = [columns.devices.number(), columns.devices.number()];
    }
    entries.push({
      path,
      type,
      mode,
      uid,
      gid,
      size,
      mtimeSec,
      mtimeNsec,
      target,
      rdev,
      xattrs,
      dataOffset: uncompressed(type === 'file' ? dataOffset : 0),
      sparse,
    });
  }
  for (const name of ENTRY_COLUMNS) columns[name].end();
  return entries;
}

function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

function readSparse(reader: ByteReader): SparsePiece[] {
  const pieces: SparsePiece[] = [];
  let end = 0;
  for (let left = reader.count(2); left > 0; left--) {
    const offset = end + reader.number();
    const length = reader.number();
    pieces.push({ offset, length });
    end = offset + length;
  }
  return pieces;
}

const SLASH = 0x2f;

/**
 * Paths, which are written as the folders that they share with the one before and the rest, and link targets. Ten bytes
 * of a file can so be a path of 4 KiB: they are counted before they become strings.
 */
class NameReader {
  readonly #columns: Columns;
  readonly #maxBytes: number;
  /** The path before, and a slash. */
  readonly #scratch = Buffer.alloc(MAX_PATH + 1);
  #length = 0;
  #bytes = 0;

  constructor(columns: Columns, maxBytes: number) {
    this.#columns = columns;
    this.#maxBytes = maxBytes;
  }

  path(): ByteString {
    const shared = this.#endOfFolders(this.#columns.shared.number());
    const rest = this.#columns.lengths.number();
    if (shared + rest > MAX_PATH) throw new StoredFormError('a path out of bounds');
    this.#scratch.set(this.#columns.names.raw(rest), shared);
    this.#length = shared + rest;
    this.#scratch[this.#length] = SLASH;
    this.#count(this.#length);
    return this.#scratch.toString('latin1', 0, this.#length) as ByteString;
  }

  target(): ByteString {
    const target = this.#columns.targets.text();
    this.#count(target.length);
    return target;
  }

  /** Behind the slash of the last of so many folders of the path before. */
  #endOfFolders(folders: number): number {
    let end = 0;
    for (let left = folders; left > 0; left--) {
      const slash = this.#scratch.indexOf(SLASH, end);
      if (slash < 0 || slash > this.#length) throw new StoredFormError('a path out of bounds');
      end = slash + 1;
    }
    return end;
  }

  #count(length: number): void {
    this.#bytes += length;
    if (this.#bytes > this.#maxBytes) {
      throw new StoredFormError(`paths and link targets of more than ${this.#maxBytes} bytes together`);
    }
  }
}
