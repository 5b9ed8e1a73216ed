/** What every reader of a TOC relies on (`toc.ts`), checked where a TOC comes from a file. */
import { isDigest } from '../units.ts';
import { StoredFormError } from './byte-reader.ts';
import type { Entry, Toc, TocIndex } from './toc.ts';

const MAX_BITS = 7;
const MAX_MODE = 0o7777;
const MAX_UINT32 = 2 ** 32 - 1;
const NSEC_PER_SEC = 1_000_000_000;

/** All but those of the entries. @throws StoredFormError naming the first one that is broken. */
export function checkIndex(toc: TocIndex): void {
  check(isDigest(toc.digest), 'digests are digests');
  if (toc.own === undefined) check(toc.diffID !== undefined && isDigest(toc.diffID), 'diffIDs are digests');
  else check(isDigest(toc.own.digest) && toc.diffID === undefined, 'digests of indexes are digests');
  checkCheckpoints(toc);
  checkSpans(toc);
}

/** @throws StoredFormError naming the first one that is broken. */
export function checkEntries(toc: Toc): void {
  for (const entry of toc.entries) checkEntry(entry, toc.uncompressedSize);
}

function check(holds: boolean, invariant: string): void {
  if (!holds) throw new StoredFormError(`broken: ${invariant}`);
}

function checkCheckpoints(toc: TocIndex): void {
  for (const { compressedOffset, uncompressedOffset, bits, windowOffset, windowLength } of toc.checkpoints) {
    check(compressedOffset <= toc.compressedSize, 'checkpoints lie inside the blob');
    check(uncompressedOffset <= toc.uncompressedSize, 'checkpoints lie inside the tar');
    check(bits <= MAX_BITS, 'checkpoints begin inside a byte');
    check(Number.isSafeInteger(windowOffset + windowLength), 'windows lie inside their file');
  }
}

function checkSpans(toc: TocIndex): void {
  let end = 0;
  for (const span of toc.spans) {
    check(span.start === end && span.end > span.start, 'spans follow each other and hold something');
    const checkpoint = toc.checkpoints[span.checkpoint];
    check(checkpoint !== undefined, 'spans name a checkpoint');
    if (checkpoint !== undefined) {
      check(checkpoint.uncompressedOffset <= span.start, 'checkpoints lie at or before their spans');
      check(checkpoint.compressedOffset <= span.compressedEnd, 'spans end after their checkpoint');
    }
    check(span.compressedEnd <= toc.compressedSize, 'spans end inside the blob');
    end = span.end;
  }
  check(end === toc.uncompressedSize, 'spans cover the tar');
}

function checkEntry(entry: Entry, uncompressedSize: number): void {
  check(entry.mode <= MAX_MODE, 'modes are permission bits');
  check(entry.uid < MAX_UINT32 && entry.gid < MAX_UINT32, 'owners are 32 bits');
  check(entry.mtimeNsec < NSEC_PER_SEC, 'nanoseconds are less than a second');
  if (entry.rdev !== undefined) {
    check(entry.rdev[0] <= MAX_UINT32 && entry.rdev[1] <= MAX_UINT32, 'device numbers are 32 bits');
  }
  if (entry.type !== 'file') return;
  let stored = entry.sparse === undefined ? entry.size : 0;
  for (const { offset, length } of entry.sparse ?? []) {
    check(length > 0 && offset + length <= entry.size, 'sparse pieces lie inside their file');
    stored += length;
  }
  check(entry.dataOffset + stored <= uncompressedSize, 'files lie inside the tar');
}
