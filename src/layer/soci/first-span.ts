/**
 * Where the deflate data of a gzip layer's first span begin. A SOCI index has a digest of the bytes from its first
 * restart point on, and the first version of it took that to be at 10, where a header without a name ends (E141). What
 * the header itself says is not proved by anything, so it is not asked: of the two places, the one is taken from which a
 * tar comes out. Both are in bytes that are proved, and anybody who has these bytes comes to the same.
 */

/** End of a gzip header without extra fields. */
const PLAIN_HEADER = 10;
/** Longer names than the longest file name are none. */
const MAX_NAME = 256;
const BLOCK = 512;
const CHECKSUM = { start: 148, end: 156 } as const;

/** Places in `bytes`, which begin at `offset` of the blob, most likely first. */
export function dataStarts(bytes: Buffer, offset: number): readonly number[] {
  if (offset !== PLAIN_HEADER) return [0];
  const nul = bytes.subarray(0, MAX_NAME).indexOf(0);
  return nul === -1 ? [0] : [0, nul + 1];
}

/** A header with its checksum, or the zeros of an archive that holds nothing. */
export function beginsAsTar(tar: Buffer): boolean {
  const block = tar.subarray(0, BLOCK);
  if (block.length < BLOCK) return false;
  let sum = 0;
  block.forEach((byte, at) => {
    sum += at >= CHECKSUM.start && at < CHECKSUM.end ? 0x20 : byte;
  });
  const digits = /^[ \0]*([0-7]+)[ \0]*$/.exec(block.toString('latin1', CHECKSUM.start, CHECKSUM.end))?.[1];
  return digits === undefined ? block.every((byte) => byte === 0) : Number.parseInt(digits, 8) === sum;
}
