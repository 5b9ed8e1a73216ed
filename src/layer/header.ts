/**
 * What a tar header means: the one place that knows USTAR, PAX, GNU, STAR and v7. The native framer says where
 * headers and bodies lie; this says what they are. Behaviour is that of Go's archive/tar, which every container
 * engine inherits; where readers are known to disagree, the layer is refused (FORMATS 1.2, E73 to E109).
 *
 * Name, weakest first: header (with prefix) < PAX path < GNU `L` < GNU.sparse.name.
 * Link target: header < PAX linkpath < GNU `K`.
 */
import type { TarFrame } from '../native.ts';
import { type ByteString, uncompressed } from '../units.ts';
import { cleanPath, lengthProblem, MAX_PATH } from './clean-path.ts';
import { headerFormat, headerName, textField } from './header-format.ts';
import { invalidHeader } from './invalid-header.ts';
import { decimalText, numericField } from './numbers.ts';
import { type PaxRecords, parsePax, paxText, paxXattrs } from './pax.ts';
import { checkedPieces, oldGnuSparseMap, paxSparseMap } from './sparse.ts';
import { parsePaxTime, type Timestamp, timeOfSeconds } from './times.ts';
import type { Entry, EntryType } from './toc.ts';

/** A member that stands for nothing in a file system; `warning` is one line for people. */
export interface Skipped {
  readonly warning: string;
}

export function isSkipped(decoded: Entry | Skipped): decoded is Skipped {
  return 'warning' in decoded;
}

/** By type flag. `7` (contiguous file) is a plain file to every reader but Go's (E101). */
const TYPE_OF_FLAG: Readonly<Record<string, EntryType>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'dir',
  '6': 'fifo',
  '7': 'file',
  S: 'file',
};

/** What the framer gives in place of a header that did not come. */
const NO_HEADER = Buffer.alloc(512);
const PERMISSION_BITS = 0o10000;
const MAX_UINT32 = 2 ** 32 - 1;
/** (uid_t)-1 means "leave as it is" to chown(2): nobody can own a file with it. */
const MAX_OWNER = MAX_UINT32 - 1;

/**
 * The entry of a member, or why it is skipped.
 * @throws PeelError ERR_LAYER_INVALID or ERR_LIMIT_EXCEEDED with the header's offset in its facts.
 */
export function decodeFrame(frame: TarFrame): Entry | Skipped {
  const { header, headerOffset: at } = frame;
  if (header[0] === 0 && header.equals(NO_HEADER)) {
    readExtensions(frame);
    return { warning: `no member follows the extended header at offset ${at}` };
  }
  const flag = String.fromCharCode(header[156] ?? 0);
  const flagType = Object.hasOwn(TYPE_OF_FLAG, flag) ? TYPE_OF_FLAG[flag] : undefined;
  if (flagType === undefined) {
    checkNumbers(header, at);
    readExtensions(frame);
    return { warning: `skipped the tar member at offset ${at}: its type ${JSON.stringify(flag)} is no file` };
  }
  const format = headerFormat(header);
  const extensions = readExtensions(frame);
  const { records } = extensions;
  const nameBeforeSparse = extensions.longName ?? paxText(records, 'path') ?? headerName(header, format, at);
  const type = flag === '\0' && nameBeforeSparse.endsWith('/') ? 'dir' : flagType;
  const headerSize = sizeOf(frame, records);
  checkStoredSize(frame, type, flag, headerSize);

  if (flag === 'S' && format !== 'gnu')
    throw invalidHeader(at, 'type S in a header that is not in GNU format');
  const sparseMap = flag === 'S' ? oldGnuSparseMap(frame) : paxSparseMap(frame, records);
  if (sparseMap !== undefined && type !== 'file') throw invalidHeader(at, `a sparse map for a ${type}`);
  const size = sparseMap?.size ?? headerSize;
  if (!isFileSize(size)) throw invalidHeader(at, `a size of ${size} bytes with its holes, ${WANTED_SIZE}`);
  if (sparseMap === undefined && type === 'file' && size !== frame.storedSize) {
    throw invalidHeader(at, `a size of ${size} bytes, but ${frame.storedSize} are stored`);
  }
  const name =
    (flag === 'S' ? undefined : sparseName(sparseMap !== undefined, records, at)) ?? nameBeforeSparse;
  const path = cleanPath(name);
  const problem = lengthProblem(path);
  if (problem !== undefined) throw invalidHeader(at, problem);
  if (path === '' && type !== 'dir')
    throw invalidHeader(at, `the root of the image as a ${type}, want a directory`);

  const target = targetOf(frame, type, extensions);
  const devices = format === 'v7' ? ([0, 0] as const) : deviceOf(header, at);
  const isDevice = type === 'char' || type === 'block';
  if (isDevice) checkDevice(devices, at);
  const mtime = timeOf(header, records, at);
  return {
    path,
    type,
    mode: permissionBits(field(header, 100, 8, 'mode', at), at),
    uid: ownerOf(frame, records, 'uid', 108),
    gid: ownerOf(frame, records, 'gid', 116),
    size: type === 'file' ? size : type === 'symlink' ? (target?.length ?? 0) : 0,
    mtimeSec: mtime.sec,
    mtimeNsec: mtime.nsec,
    target,
    rdev: isDevice ? devices : undefined,
    xattrs: paxXattrs(records, at),
    dataOffset: uncompressed(type === 'file' ? frame.dataOffset : 0),
    sparse: sparseMap === undefined ? undefined : checkedPieces(sparseMap.pieces, size, frame.storedSize, at),
  };
}

interface Extensions {
  /** Of the last `x` header; earlier ones are replaced as a whole (E78). */
  readonly records: PaxRecords | undefined;
  readonly longName: ByteString | undefined;
  readonly longLink: ByteString | undefined;
}

function readExtensions(frame: TarFrame): Extensions {
  const { headerOffset: at, parts } = frame;
  let records: PaxRecords | undefined;
  let longName: ByteString | undefined;
  let longLink: ByteString | undefined;
  let isBound = false;
  for (const part of parts) {
    switch (part.kind) {
      case 'x':
        records = parsePax(part.data, at);
        checkRecords(records, at);
        isBound = true;
        break;
      case 'g':
        // Engines ignore global headers (E86), but Go also forgets an extended header in front of one, which
        // GNU tar keeps: there is no right answer.
        if (isBound) throw invalidHeader(at, 'a global header between an extended header and its member');
        checkRecords(parsePax(part.data, at), at);
        break;
      case 'L':
        longName = textBeforeNul(part.data);
        isBound = true;
        break;
      case 'K':
        longLink = textBeforeNul(part.data);
        isBound = true;
        break;
      case 'S':
      case 'M':
        break;
    }
  }
  return { records, longName, longLink };
}

/** Go refuses a header with a record that does not parse, whether or not the record is used. */
function checkRecords(records: PaxRecords, at: number): void {
  for (const key of ['atime', 'ctime', 'mtime']) {
    const text = paxText(records, key);
    if (text !== undefined && parsePaxTime(text) === undefined) {
      throw invalidHeader(at, `PAX ${key} is no time`);
    }
  }
  for (const key of ['uid', 'gid', 'size']) {
    const text = paxText(records, key);
    if (text !== undefined && decimalText(text) === undefined) {
      throw invalidHeader(at, `PAX ${key} is no number`);
    }
  }
}

/** Of several, the last one counts (E77), even where it is empty and the header's own name stands (E76). */
function textBeforeNul(data: Buffer): ByteString | undefined {
  const text = textField(data, 0, data.length);
  return text === '' ? undefined : text;
}

function field(header: Buffer, start: number, length: number, what: string, at: number): number {
  const value = numericField(header, start, length);
  if (value === undefined) throw invalidHeader(at, `its ${what} is no number`);
  return value;
}

/** As header and PAX say it; the framer must have come to the same. */
function sizeOf(frame: TarFrame, records: PaxRecords | undefined): number {
  const at = frame.headerOffset;
  const headerSize = field(frame.header, 124, 12, 'size', at);
  const text = paxText(records, 'size');
  const size = text === undefined ? headerSize : (decimalText(text) ?? -1);
  if (!isFileSize(size)) throw invalidHeader(at, `a size of ${size} bytes, ${WANTED_SIZE}`);
  return size;
}

const WANTED_SIZE = `want 0 to ${Number.MAX_SAFE_INTEGER}`;

function isFileSize(size: number): boolean {
  return size >= 0 && Number.isSafeInteger(size);
}

function checkStoredSize(frame: TarFrame, type: EntryType, flag: string, size: number): void {
  if (type === 'file') return;
  const at = frame.headerOffset;
  // v7 wrote directories as files with a slash; GNU tar skips a payload there and Go does not.
  if (flag === '\0' && size !== 0) throw invalidHeader(at, `a directory (by its slash) with ${size} bytes`);
  if (frame.storedSize !== 0) throw invalidHeader(at, `a ${type} with ${frame.storedSize} stored bytes`);
}

function sparseName(isSparse: boolean, records: PaxRecords | undefined, at: number): ByteString | undefined {
  const name = isSparse ? paxText(records, 'GNU.sparse.name') : undefined;
  if (name?.includes('\0')) throw invalidHeader(at, 'a NUL in GNU.sparse.name');
  return name;
}

function targetOf(frame: TarFrame, type: EntryType, extensions: Extensions): ByteString | undefined {
  if (type !== 'symlink' && type !== 'hardlink') return undefined;
  const at = frame.headerOffset;
  const target =
    extensions.longLink ?? paxText(extensions.records, 'linkpath') ?? textField(frame.header, 157, 100);
  if (target === '') throw invalidHeader(at, `a ${type} without a target`);
  if (target.length > MAX_PATH) {
    throw invalidHeader(at, `a link target of ${target.length} bytes, at most ${MAX_PATH} can be shown`);
  }
  return target;
}

/** Of a member that nobody reads: Go refuses it by them all the same. */
function checkNumbers(header: Buffer, at: number): void {
  field(header, 100, 8, 'mode', at);
  field(header, 108, 8, 'uid', at);
  field(header, 116, 8, 'gid', at);
  field(header, 136, 12, 'mtime', at);
  if (headerFormat(header) !== 'v7') deviceOf(header, at);
}

function deviceOf(header: Buffer, at: number): readonly [number, number] {
  return [field(header, 329, 8, 'device major', at), field(header, 337, 8, 'device minor', at)];
}

function checkDevice([major, minor]: readonly [number, number], at: number): void {
  for (const value of [major, minor]) {
    if (value < 0 || value > MAX_UINT32) throw invalidHeader(at, `a device number of ${value}, want 32 bits`);
  }
}

function ownerOf(
  frame: TarFrame,
  records: PaxRecords | undefined,
  key: 'uid' | 'gid',
  start: number,
): number {
  const at = frame.headerOffset;
  const headerValue = field(frame.header, start, 8, key, at);
  const text = paxText(records, key);
  const value = text === undefined ? headerValue : (decimalText(text) ?? -1);
  if (value < 0 || value > MAX_OWNER) throw invalidHeader(at, `a ${key} of ${value}, want 0 to ${MAX_OWNER}`);
  return value;
}

function timeOf(header: Buffer, records: PaxRecords | undefined, at: number): Timestamp {
  const headerTime = timeOfSeconds(field(header, 136, 12, 'mtime', at));
  const text = paxText(records, 'mtime');
  return (text === undefined ? undefined : parsePaxTime(text)) ?? headerTime;
}

/** Also of a mode with type bits, a negative one, or one that passed 32 bits. */
function permissionBits(mode: number, at: number): number {
  if (!Number.isSafeInteger(mode)) throw invalidHeader(at, `a mode of ${mode}, whose low bits are lost`);
  return ((mode % PERMISSION_BITS) + PERMISSION_BITS) % PERMISSION_BITS;
}
