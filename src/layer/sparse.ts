/**
 * Sparse files: old GNU (type `S`, map in the header and in extension blocks), PAX 0.0 (pairs of records),
 * 0.1 (one record with commas) and 1.0 (map in front of the data). All give the same: the file's size with its
 * holes, and the pieces that are stored back to back (FORMATS E96 to E98).
 *
 * The map comes from an attacker: regions must rise, lie inside the file and use up the stored bytes exactly,
 * and there are at most 65,536 of them.
 */
import type { TarFrame } from '../native.ts';
import { headerOverLimit, invalidHeader } from './invalid-header.ts';
import { decimalText, numericField } from './numbers.ts';
import { type PaxRecords, paxText } from './pax.ts';
import type { SparsePiece } from './toc.ts';

/** FAULTS section 7. */
const MAX_REGIONS = 65_536;

const REAL_SIZE = { start: 483, length: 12 };
const HEADER_REGIONS = { start: 386, count: 4, isExtended: 482 };
const EXTENSION_REGIONS = { count: 21, isExtended: 504 };
const EXTENSION_LENGTH = 512;
const FIELD_LENGTH = 12;

export interface SparseMap {
  /** Of the file with its holes; undefined where the map does not say, and the header's size stands. */
  readonly size: number | undefined;
  readonly pieces: readonly SparsePiece[];
}

/** For a header of type `S` in GNU format. */
export function oldGnuSparseMap(frame: TarFrame): SparseMap {
  const at = frame.headerOffset;
  const size = numericField(frame.header, REAL_SIZE.start, REAL_SIZE.length);
  if (size === undefined) throw invalidHeader(at, 'the real size of a sparse file is no number');
  const pieces: SparsePiece[] = [];
  readRegions(frame.header, HEADER_REGIONS.start, HEADER_REGIONS.count, pieces, at);
  let isExtended = frame.header[HEADER_REGIONS.isExtended] !== 0;
  for (const part of frame.parts) {
    if (part.kind !== 'S') continue;
    for (let start = 0; start < part.data.length; start += EXTENSION_LENGTH) {
      const block = part.data.subarray(start, start + EXTENSION_LENGTH);
      if (!isExtended || block.length !== EXTENSION_LENGTH) {
        throw invalidHeader(at, 'a sparse extension block that the map does not announce');
      }
      readRegions(block, 0, EXTENSION_REGIONS.count, pieces, at);
      isExtended = block[EXTENSION_REGIONS.isExtended] !== 0;
    }
  }
  if (isExtended) throw invalidHeader(at, 'the sparse map goes on, but no extension block follows');
  return { size, pieces };
}

/** An offset that begins with NUL ends the table of its block, as in GNU tar and bsdtar. */
function readRegions(block: Buffer, start: number, count: number, pieces: SparsePiece[], at: number): void {
  for (let index = 0; index < count; index++) {
    const field = start + index * 2 * FIELD_LENGTH;
    if (block[field] === 0) return;
    const offset = numericField(block, field, FIELD_LENGTH);
    const length = numericField(block, field + FIELD_LENGTH, FIELD_LENGTH);
    addRegion(pieces, offset, length, at);
  }
}

/** undefined where the records describe no sparse file, or one of a version nobody knows (as Go does). */
export function paxSparseMap(frame: TarFrame, records: PaxRecords | undefined): SparseMap | undefined {
  const version = records === undefined ? undefined : paxSparseVersion(records);
  const at = frame.headerOffset;
  const storedMap = frame.parts.find((part) => part.kind === 'M');
  if (storedMap !== undefined && version !== '1.0') {
    throw invalidHeader(at, 'a sparse map lies before the data, but its PAX records do not say 1.0');
  }
  if (records === undefined || version === undefined) return undefined;
  const sizeText = paxText(records, 'GNU.sparse.size') ?? paxText(records, 'GNU.sparse.realsize');
  const size = sizeText === undefined ? undefined : decimalText(sizeText);
  if (sizeText !== undefined && size === undefined) {
    throw invalidHeader(at, 'the real size of a sparse file is no number');
  }
  if (version === '0.x') return { size, pieces: recordRegions(records, at) };
  if (storedMap === undefined)
    throw invalidHeader(at, 'the sparse map of PAX 1.0 is missing before the data');
  return { size, pieces: storedRegions(storedMap.data, at) };
}

function paxSparseVersion(records: PaxRecords): '0.x' | '1.0' | undefined {
  const major = paxText(records, 'GNU.sparse.major');
  const minor = paxText(records, 'GNU.sparse.minor');
  if (major === '0' && (minor === '0' || minor === '1')) return '0.x';
  if (major === '1' && minor === '0') return '1.0';
  if (major !== undefined || minor !== undefined) return undefined;
  const hasMap = records.sparsePairs.length > 0 || paxText(records, 'GNU.sparse.map') !== undefined;
  return hasMap ? '0.x' : undefined;
}

function recordRegions(records: PaxRecords, at: number): SparsePiece[] {
  const countText = paxText(records, 'GNU.sparse.numblocks');
  const count = countText === undefined ? undefined : decimalText(countText);
  if (count === undefined || count < 0) {
    throw invalidHeader(at, 'GNU.sparse.numblocks is no count');
  }
  const map = paxText(records, 'GNU.sparse.map');
  const numbers = records.sparsePairs.length > 0 ? records.sparsePairs : (map?.split(',') ?? []);
  if (count > MAX_REGIONS) throw tooManyRegions(at);
  if (numbers.length !== 2 * count) {
    throw invalidHeader(at, `the sparse map has ${numbers.length} numbers, want ${2 * count}`);
  }
  return regionsOf(numbers, at);
}

/** Decimal numbers, a newline after each: how many regions, then offset and length of each. */
function storedRegions(data: Buffer, at: number): SparsePiece[] {
  let position = 0;
  const next = (): string => {
    const newline = data.indexOf(0x0a, position);
    if (newline === -1) throw invalidHeader(at, 'the sparse map before the data is cut short');
    const text = data.toString('latin1', position, newline);
    position = newline + 1;
    return text;
  };
  const count = decimalText(next());
  if (count === undefined || count < 0) throw invalidHeader(at, 'the sparse map does not begin with a count');
  if (count > MAX_REGIONS) throw tooManyRegions(at);
  const numbers: string[] = [];
  for (let index = 0; index < 2 * count; index++) numbers.push(next());
  return regionsOf(numbers, at);
}

function regionsOf(numbers: readonly string[], at: number): SparsePiece[] {
  const pieces: SparsePiece[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    addRegion(pieces, decimalText(numbers[index] ?? ''), decimalText(numbers[index + 1] ?? ''), at);
  }
  return pieces;
}

function addRegion(
  pieces: SparsePiece[],
  offset: number | undefined,
  length: number | undefined,
  at: number,
): void {
  if (offset === undefined || length === undefined) throw invalidHeader(at, 'a sparse region is no number');
  if (pieces.length === MAX_REGIONS) throw tooManyRegions(at);
  pieces.push({ offset, length });
}

function tooManyRegions(at: number): Error {
  return headerOverLimit(at, `a sparse map of more than ${MAX_REGIONS} regions`);
}

/**
 * The pieces that hold bytes, checked against the size of the file and the bytes that are stored for it.
 * undefined where the one piece is the whole file: it is not sparse after all.
 */
export function checkedPieces(
  pieces: readonly SparsePiece[],
  size: number,
  storedSize: number,
  at: number,
): readonly SparsePiece[] | undefined {
  let previousEnd = 0;
  let total = 0;
  for (const { offset, length } of pieces) {
    const end = offset + length;
    if (offset < 0 || length < 0 || !Number.isSafeInteger(end) || end > size) {
      throw invalidHeader(
        at,
        `a sparse region of ${length} bytes at ${offset} lies outside the file of ${size} bytes`,
      );
    }
    if (offset < previousEnd) throw invalidHeader(at, 'sparse regions overlap or are out of order');
    previousEnd = end;
    total += length;
  }
  if (total !== storedSize) {
    throw invalidHeader(at, `sparse regions hold ${total} bytes, but ${storedSize} are stored`);
  }
  if (total === size) return undefined;
  return pieces.filter((piece) => piece.length > 0);
}
