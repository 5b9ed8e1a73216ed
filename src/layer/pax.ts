/**
 * PAX extended headers: records `"%d key=value\n"`, each beginning with its own length in bytes.
 *
 * A record that breaks the form makes the layer invalid: readers that guess disagree about what follows
 * (FORMATS E83, E89). Keys and values are bytes. Among equal keys the last one counts; an empty value means
 * that the header's own value stands (E82).
 */
import type { ByteString } from '../units.ts';
import { headerOverLimit, invalidHeader } from './invalid-header.ts';

const XATTR_PREFIX = 'SCHILY.xattr.';
/** XATTR_NAME_MAX of the kernel. */
const MAX_XATTR_NAME = 255;
/** XATTR_SIZE_MAX of the kernel. */
const MAX_XATTR_VALUE = 65_536;
/** Of one inode, names and values: FAULTS section 7. */
const MAX_XATTR_BYTES = 1_048_576;
/** A length of more digits is longer than any extended header that the framer lets through. */
const MAX_LENGTH_DIGITS = 10;
/** PAX: values that are C strings for whoever uses them. */
const KEYS_WITHOUT_NUL: ReadonlySet<string> = new Set(['path', 'linkpath', 'uname', 'gname']);

export interface PaxRecords {
  /** By key; views into the extended header. */
  readonly values: ReadonlyMap<string, Buffer>;
  /** GNU sparse 0.0: the values of GNU.sparse.offset and GNU.sparse.numbytes, in turn. */
  readonly sparsePairs: readonly string[];
}

/** @throws PeelError ERR_LAYER_INVALID for a malformed record; `offset` is that of the member's header. */
export function parsePax(data: Buffer, offset: number): PaxRecords {
  const values = new Map<string, Buffer>();
  const sparsePairs: string[] = [];
  let at = 0;
  while (at < data.length) {
    const end = at + recordLength(data, at, offset);
    const keyStart = data.indexOf(0x20, at) + 1;
    const equals = data.indexOf(0x3d, keyStart);
    if (keyStart >= end || equals === -1 || equals >= end - 1) {
      throw malformed(offset, at, 'has no key and value');
    }
    if (data[end - 1] !== 0x0a) throw malformed(offset, at, 'does not end in a newline');
    const key = data.toString('latin1', keyStart, equals);
    const value = data.subarray(equals + 1, end - 1);
    if (key === '') throw malformed(offset, at, 'has an empty key');
    if (key.includes('\0')) throw malformed(offset, at, 'has a NUL in its key');
    if (KEYS_WITHOUT_NUL.has(key) && value.includes(0)) {
      throw malformed(offset, at, `has a NUL in its ${key}`);
    }
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') {
      const expected = sparsePairs.length % 2 === 0 ? 'GNU.sparse.offset' : 'GNU.sparse.numbytes';
      if (key !== expected) throw malformed(offset, at, `is ${key} where ${expected} is due`);
      sparsePairs.push(value.toString('latin1'));
    } else {
      values.set(key, value);
    }
    at = end;
  }
  return { values, sparsePairs };
}

/** The record's own count of its bytes, which lie all inside `data`. */
function recordLength(data: Buffer, at: number, offset: number): number {
  let length = 0;
  let digits = 0;
  for (; ; digits++) {
    const byte = data[at + digits];
    if (byte === 0x20) break;
    if (byte === undefined || byte < 0x30 || byte > 0x39 || digits === MAX_LENGTH_DIGITS) {
      throw malformed(offset, at, 'does not begin with its length');
    }
    length = length * 10 + (byte - 0x30);
  }
  const left = data.length - at;
  if (length < 5 || length > left) {
    throw malformed(offset, at, `says that it is ${length} bytes long, with ${left} left`);
  }
  return length;
}

function malformed(offset: number, at: number, problem: string): Error {
  return invalidHeader(offset, `the PAX record at byte ${at} of its extended header ${problem}`);
}

/** The value as text, one character a byte; undefined where it is absent or empty. */
export function paxText(records: PaxRecords | undefined, key: string): ByteString | undefined {
  const value = records?.values.get(key);
  return value === undefined || value.length === 0 ? undefined : (value.toString('latin1') as ByteString);
}

/**
 * Only `SCHILY.xattr.NAME`, as raw bytes: the engines read no other spelling (E87, E88).
 * @throws PeelError for a name or a value that the kernel could not hold.
 */
export function paxXattrs(
  records: PaxRecords | undefined,
  offset: number,
): ReadonlyMap<ByteString, Buffer> | undefined {
  if (records === undefined) return undefined;
  let xattrs: Map<ByteString, Buffer> | undefined;
  let total = 0;
  for (const [key, value] of records.values) {
    if (!key.startsWith(XATTR_PREFIX) || value.length === 0) continue;
    const name = key.slice(XATTR_PREFIX.length) as ByteString;
    total += name.length + value.length;
    const nameProblem = xattrNameProblem(name);
    if (nameProblem !== undefined) throw invalidHeader(offset, nameProblem);
    const sizeProblem = xattrSizeProblem(value.length, total);
    if (sizeProblem !== undefined) throw headerOverLimit(offset, sizeProblem);
    xattrs ??= new Map();
    // Copied: a view would keep the whole extended header in memory.
    xattrs.set(name, Buffer.from(value));
  }
  return xattrs;
}

/** What the kernel would not have about the name of an extended attribute, or undefined. */
export function xattrNameProblem(name: ByteString): string | undefined {
  return name !== '' && name.length <= MAX_XATTR_NAME
    ? undefined
    : `the name of an extended attribute is ${name.length} bytes long, want 1 to 255`;
}

/** The same of a value, and of all names and values of one inode. */
export function xattrSizeProblem(valueBytes: number, totalBytes: number): string | undefined {
  return valueBytes <= MAX_XATTR_VALUE && totalBytes <= MAX_XATTR_BYTES
    ? undefined
    : `extended attributes pass ${MAX_XATTR_VALUE} bytes each or ${MAX_XATTR_BYTES} together`;
}
