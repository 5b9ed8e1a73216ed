/** What the blobs of B2 have in common: the tar in them, and what is said of it. */
import { gzipSync } from 'node:zlib';
import { sha256Digest } from '../../support/digests.ts';
import { rawMember, tarOf } from '../../support/raw-tar.ts';
import { INVALID } from './made-case.ts';

/** A name, a blob, and what becomes of it. */
export type Made = readonly [name: string, blob: Buffer, expected: string | readonly string[]];

export const TAR: Buffer = tarOf(
  rawMember({ name: 'file' }, Buffer.from('Where there is a tar there is a way. '.repeat(20))),
  rawMember({ name: 'folder/', type: '5', mode: 0o755 }),
);
export const DIFF_ID: readonly string[] = [sha256Digest(TAR)];
export const EMPTY_DIFF_ID: readonly string[] = [sha256Digest(Buffer.alloc(0))];
export const INVALID_BLOB = INVALID;

/** CRC-32 as zlib writes it. */
export function crc32OfTrailer(bytes: Buffer): number {
  return gzipSync(bytes).readUInt32LE(gzipSync(bytes).length - 8);
}
