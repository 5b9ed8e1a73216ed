/** By its first bytes: a whole archive, or a layer in one. A plain tar has no name here. */

export const MAGIC_LENGTH = 6;

export type CompressionName = 'gzip' | 'zstd' | 'xz' | 'bzip2';

const MAGIC: readonly (readonly [Buffer, CompressionName])[] = [
  [Buffer.from([0x1f, 0x8b]), 'gzip'],
  [Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), 'zstd'],
  [Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), 'xz'],
  [Buffer.from('BZh'), 'bzip2'],
];

/** `start` has `MAGIC_LENGTH` bytes or more, or the whole file where that is shorter. */
export function compressionOf(start: Buffer): CompressionName | undefined {
  return MAGIC.find(([magic]) => start.subarray(0, magic.length).equals(magic))?.[1];
}
