/**
 * The tar-split of a zstd:chunked layer: all of its tar but the contents of files, one JSON object a line.
 *
 *   {"type": 2, "payload": BASE64}     bytes of the tar as they are: headers, padding
 *   {"type": 1, "size": N, ...}        the content of a file follows in the tar
 *
 * By it the index is held against the headers of the tar before it is used (E139): both are vouched for by the same
 * manifest, but a tool that reads the one and a tool that reads the other then see the same image.
 *
 * Source: github.com/vbatts/tar-split, containers/storage pkg/chunked.
 */
import { isPeelError } from '../../errors.ts';
import { unpackPieces } from '../chunks/unpack-index.ts';
import { differentField } from '../entry-difference.ts';
import { decodeFrame, isSkipped } from '../header.ts';
import type { Entry } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';
import { HeaderFrames } from './header-frames.ts';

const FILE = 1;
const SEGMENT = 2;
/** A segment is what stands between two files, 1 MiB at most at the end of the tar; with room to spare. */
const MAX_LINE_BYTES = 8 * 1024 * 1024;
const NEWLINE = 0x0a;
/** Writers make two lines of a member, and some for what stands behind the last: with room to spare. A bomb has millions. */
const MAX_LINES_PER_ENTRY = 16;
const MORE_LINES = 4096;

/**
 * `stored` is verified; `length` is what it decompresses to.
 *
 * @throws UnusableIndex where it does not hold the headers of exactly these entries, in this order.
 */
export async function checkTarSplit(
  stored: Buffer,
  length: number,
  entries: readonly Entry[],
): Promise<void> {
  let at = 0;
  for await (const real of entriesOfTarSplit(stored, length)) {
    checkEntry(entries[at], real);
    at += 1;
  }
  if (at !== entries.length) {
    throw new UnusableIndex(`it has ${entries.length} entries, its tar-split ${at}`);
  }
}

/** Those of the tar. Whatever its size, one line and one piece of 8 MiB are in memory. @throws UnusableIndex */
export async function* entriesOfTarSplit(
  stored: Buffer,
  length: number,
): AsyncGenerator<Entry, void, undefined> {
  const frames = new HeaderFrames();
  let lines = 0;
  let entries = 0;
  for await (const line of linesOf(stored, length)) {
    lines += 1;
    if (lines > MAX_LINES_PER_ENTRY * entries + MORE_LINES) {
      throw malformed(`${lines} lines for ${entries} entries`);
    }
    const { size, segment } = parseLine(line);
    frames.payload(size);
    for (const entry of entriesOf(frames, segment)) {
      entries += 1;
      yield entry;
    }
  }
  frames.end();
}

function* entriesOf(frames: HeaderFrames, segment: Buffer): Generator<Entry, void, undefined> {
  try {
    for (const frame of frames.segment(segment)) {
      const decoded = decodeFrame(frame);
      if (!isSkipped(decoded)) yield decoded;
    }
  } catch (error) {
    // A header that we refuse.
    if (!isPeelError(error, 'ERR_LAYER_INVALID') && !isPeelError(error, 'ERR_LIMIT_EXCEEDED')) throw error;
    throw new UnusableIndex(`its tar-split holds a bad header (${error.message})`, { cause: error });
  }
}

function checkEntry(claimed: Entry | undefined, real: Entry): void {
  if (claimed === undefined) throw new UnusableIndex(`its tar-split has /${real.path}, which it lacks`);
  const field = differentField(claimed, real);
  if (field === undefined) return;
  throw new UnusableIndex(`the ${field} of its /${claimed.path} is not what its tar-split says`);
}

async function* linesOf(stored: Buffer, length: number): AsyncGenerator<string, void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  let found = 0;
  for await (const piece of unpackPieces(stored, 'zstd')) {
    found += piece.length;
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      yield bytes.toString('utf8', start, end);
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (rest.length > MAX_LINE_BYTES) throw malformed(`a line of more than ${MAX_LINE_BYTES} bytes`);
  }
  if (rest.length > 0) yield rest.toString('utf8');
  if (found !== length) throw malformed(`${found} bytes, its position says ${length}`);
}

interface Line {
  /** Of content that is not there. */
  readonly size: number;
  readonly segment: Buffer;
}

const NOTHING = Buffer.alloc(0);

function parseLine(line: string): Line {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw malformed('a line that is no JSON');
  }
  if (typeof value !== 'object' || value === null) throw malformed('a line that is no object');
  const { type, size = 0, payload } = value as Readonly<Record<string, unknown>>;
  if (type === FILE && typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) {
    return { size, segment: NOTHING };
  }
  if (type === SEGMENT && typeof payload === 'string') {
    return { size: 0, segment: Buffer.from(payload, 'base64') };
  }
  throw malformed('a line that is neither a file nor a segment');
}

function malformed(why: string): UnusableIndex {
  return new UnusableIndex(`its tar-split is malformed: ${why}`);
}
