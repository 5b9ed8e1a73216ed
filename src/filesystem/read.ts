/**
 * Bytes of a file: from where its layer stores them, with zeros for the holes of sparse files.
 *
 *   file    |--piece 0--|....hole....|--piece 1--|..hole..|     size
 *   layer   |--piece 0--|--piece 1--|                           back to back from dataOffset
 *
 * Since pieces are stored back to back, what a read needs is one range of the layer, however many pieces.
 */
import { PeelError } from '../errors.ts';
import type { Content, Node } from '../tree/node.ts';
import { uncompressed } from '../units.ts';
import type { Contents } from './contents.ts';

/** Bytes of a piece of `streamContent`: four spans, so that neighbours are fetched by one request. */
const STREAM_PIECE = 1024 * 1024;

/** Where each stored piece begins, counted from `dataOffset`; made once per sparse file that is read. */
const storedStartsOf = new WeakMap<Content, Float64Array>();

function storedStarts(content: Content, pieces: NonNullable<Content['sparse']>): Float64Array {
  let starts = storedStartsOf.get(content);
  if (starts === undefined) {
    starts = new Float64Array(pieces.length);
    let stored = 0;
    for (const [index, piece] of pieces.entries()) {
      starts[index] = stored;
      stored += piece.length;
    }
    storedStartsOf.set(content, starts);
  }
  return starts;
}

/** The first piece that ends after `offset`; pieces rise. */
function firstPieceAfter(pieces: NonNullable<Content['sparse']>, offset: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const piece = pieces[middle];
    if (piece !== undefined && piece.offset + piece.length <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function readStored(
  contents: Contents,
  content: Content,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
  willReadTo?: number,
): Promise<Buffer> {
  const range = {
    start: uncompressed(content.dataOffset + start),
    end: uncompressed(content.dataOffset + end),
  };
  const goal = willReadTo === undefined ? undefined : uncompressed(content.dataOffset + willReadTo);
  const bytes = await contents.read(content.layer, range, signal, goal);
  if (bytes.length !== end - start) {
    throw new PeelError(
      'ERR_IO',
      `layer ${content.layer}, bytes ${range.start}-${range.end}: got ${bytes.length} bytes, want ${end - start}`,
      { facts: { layer: content.layer, start: range.start, end: range.end } },
    );
  }
  return bytes;
}

async function readSparse(
  contents: Contents,
  content: Content,
  pieces: NonNullable<Content['sparse']>,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const starts = storedStarts(content, pieces);
  /** Where stored bytes go: `at` in the answer. */
  const parts: { at: number; length: number }[] = [];
  let storedStart = 0;
  let storedEnd = 0;
  for (let index = firstPieceAfter(pieces, start); index < pieces.length; index += 1) {
    const piece = pieces[index];
    if (piece === undefined || piece.offset >= end) break;
    const from = Math.max(piece.offset, start);
    const to = Math.min(piece.offset + piece.length, end);
    if (to <= from) continue;
    if (parts.length === 0) storedStart = (starts[index] ?? 0) + (from - piece.offset);
    storedEnd = (starts[index] ?? 0) + (to - piece.offset);
    parts.push({ at: from - start, length: to - from });
  }
  const answer = Buffer.alloc(end - start);
  if (parts.length === 0) return answer;
  const stored = await readStored(contents, content, storedStart, storedEnd, signal);
  let taken = 0;
  for (const part of parts) {
    stored.copy(answer, part.at, taken, taken + part.length);
    taken += part.length;
  }
  return answer;
}

/** @throws PeelError ERR_IS_A_DIRECTORY or ERR_NOT_A_REGULAR_FILE for what has no bytes to read. */
function requireFile(node: Node): void {
  if (node.kind === 'file') return;
  throw new PeelError(
    node.kind === 'dir' ? 'ERR_IS_A_DIRECTORY' : 'ERR_NOT_A_REGULAR_FILE',
    `reading inode ${node.ino}: it is a ${node.kind}, not a regular file`,
  );
}

/**
 * `willReadTo`: where in the file the reader will stop; of use for files that are not sparse.
 * @throws RangeError for offsets and lengths that are no whole numbers: the caller miscounted.
 */
export async function readContent(
  contents: Contents,
  node: Node,
  offset: number,
  length: number,
  signal?: AbortSignal,
  willReadTo?: number,
): Promise<Buffer> {
  if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(length) || length < 0) {
    throw new RangeError(`cannot read ${length} bytes at ${offset}`);
  }
  requireFile(node);
  const end = Math.min(node.size, offset + length);
  if (offset >= end) return Buffer.alloc(0);
  const { content } = node;
  if (content === undefined) {
    throw new PeelError('ERR_IO', `inode ${node.ino} has ${node.size} bytes that no layer stores`);
  }
  return content.sparse === undefined
    ? await readStored(contents, content, offset, end, signal, willReadTo)
    : await readSparse(contents, content, content.sparse, offset, end, signal);
}

export async function* streamContent(
  contents: Contents,
  node: Node,
  offset: number,
  end: number,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  requireFile(node);
  const stop = Math.min(end, node.size);
  // Whoever stops early also stops the piece that is being read ahead.
  const abandoned = new AbortController();
  const anySignal = signal === undefined ? abandoned.signal : AbortSignal.any([signal, abandoned.signal]);
  const start = (from: number): Promise<Buffer> | undefined => {
    if (from >= stop) return undefined;
    const piece = readContent(contents, node, from, Math.min(STREAM_PIECE, stop - from), anySignal, stop);
    piece.catch(() => undefined); // reported where it is awaited; a piece never awaited has no reader
    return piece;
  };
  try {
    let next = start(offset);
    for (let at = offset; next !== undefined; at += STREAM_PIECE) {
      const bytes = await next;
      next = start(at + STREAM_PIECE);
      yield bytes;
    }
  } finally {
    abandoned.abort();
  }
}
