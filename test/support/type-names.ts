/** What others call the types of entries. */
import type { EntryType } from '../../src/layer/toc.ts';

/** By the typeflag that Go's `archive/tar` reports. */
export const TYPE_OF_FLAG: Readonly<Record<string, EntryType>> = {
  '0': 'file',
  S: 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'dir',
  '6': 'fifo',
};

/** In the indexes of eStargz, zstd:chunked and SOCI. */
export const INDEX_NAME_OF_TYPE = {
  file: 'reg',
  dir: 'dir',
  symlink: 'symlink',
  hardlink: 'hardlink',
  char: 'char',
  block: 'block',
  fifo: 'fifo',
} as const;
