/**
 * The windows of a TOC as they travel: one brotli stream, since neighbours have much in common.
 *
 *   number of bytes of all heads │ head of each window │ bytes of each window
 *
 * A head says which bytes of a window there are (docs/TOC-FORMAT.md). Unpacked, the windows lie back to back as they do
 * in the file `windows`.
 */
import { packBrotli, unpackBrotli } from './brotli.ts';
import { ByteReader, StoredFormError } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import type { TocIndex } from './toc.ts';
import { UnusableIndex } from './unusable-index.ts';

const LONGEST_NUMBER = 8;

/** Empty where there are none. @throws StoredFormError where `windows` are not those of the TOC. */
export async function packWindows(toc: Pick<TocIndex, 'checkpoints'>, windows: Buffer): Promise<Buffer> {
  if (windows.length === 0) return windows;
  const heads = new ByteWriter();
  const bytes = new ByteWriter();
  for (const { windowOffset, windowLength } of toc.checkpoints) {
    if (windowLength === 0) continue;
    const window = windows.subarray(windowOffset, windowOffset + windowLength);
    const { end } = headAt(window, 0);
    heads.raw(window.subarray(0, end));
    bytes.raw(window.subarray(end));
  }
  const all = new ByteWriter();
  all.bytes(heads.written());
  all.raw(bytes.written());
  return await packBrotli(all.written(), 9);
}

/** @throws UnusableIndex where `packed` are not windows of the TOC; their sum is for the caller to check. */
export async function unpackWindows(toc: Pick<TocIndex, 'checkpoints'>, packed: Buffer): Promise<Buffer> {
  const length = windowsLength(toc);
  if (length === 0) return Buffer.alloc(0);
  const all = new ByteReader(await unpackBrotli(packed, length + LONGEST_NUMBER));
  const windows = Buffer.alloc(length);
  try {
    const heads = all.bytes();
    let at = 0;
    for (const { windowOffset, windowLength } of toc.checkpoints) {
      if (windowLength === 0) continue;
      const { end, stored } = headAt(heads, at);
      if (end - at + stored !== windowLength) throw new StoredFormError('a window of another length');
      windows.set(heads.subarray(at, end), windowOffset);
      windows.set(all.raw(stored), windowOffset + end - at);
      at = end;
    }
    if (at < heads.length) throw new StoredFormError('a window too many');
    all.end();
  } catch (error) {
    if (!(error instanceof StoredFormError)) throw error;
    throw new UnusableIndex(`its windows are not of this form (${error.message})`, { cause: error });
  }
  return windows;
}

/** Where the head ends that begins at `at`, and how many bytes of its window there are. */
function headAt(bytes: Buffer, at: number): { end: number; stored: number } {
  const reader = new ByteReader(bytes, at);
  reader.number(); // how long the window is
  let stored = 0;
  for (let runs = reader.count(2); runs > 0; runs--) {
    reader.number(); // bytes that are not there
    stored += reader.number();
  }
  return { end: bytes.length - reader.left, stored };
}

/** How long the windows of a TOC are together. */
export function windowsLength(toc: Pick<TocIndex, 'checkpoints'>): number {
  return toc.checkpoints.reduce((end, { windowLength }) => end + windowLength, 0);
}
