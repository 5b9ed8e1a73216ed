/** What own indexes say of an entry in the same words, whatever their format: they are all written in Go. */
import type { ByteString } from '../units.ts';
import { cleanPath, lengthProblem } from './clean-path.ts';
import type { EntryType } from './toc.ts';
import { UnusableIndex } from './unusable-index.ts';

const TYPE_OF: Readonly<Record<string, EntryType>> = {
  reg: 'file',
  dir: 'dir',
  symlink: 'symlink',
  hardlink: 'hardlink',
  char: 'char',
  block: 'block',
  fifo: 'fifo',
};

const PERMISSION_BITS = 0o7777;
export const MAX_UINT32 = 2 ** 32 - 1;
/** Of a layer: FAULTS section 7. */
export const MAX_INDEX_ENTRIES = 5_000_000;

/** @throws UnusableIndex */
export function typeNamed(name: string): EntryType {
  const type = Object.hasOwn(TYPE_OF, name) ? TYPE_OF[name] : undefined;
  if (type === undefined) throw new UnusableIndex(`an entry of the unknown type ${JSON.stringify(name)}`);
  return type;
}

/** Without the bits of the type, which Go's tar headers may have. */
export function permissionsOf(mode: number): number {
  return mode % (PERMISSION_BITS + 1);
}

/** A name as the tar has it, cleaned. @throws UnusableIndex for one that is too long. */
export function indexedPath(name: string): ByteString {
  const path = cleanPath(name);
  const problem = lengthProblem(path);
  if (problem !== undefined) throw new UnusableIndex(problem);
  return path;
}

/** @throws UnusableIndex */
export function checkRoot(path: ByteString, type: EntryType): void {
  if (path === '' && type !== 'dir') throw new UnusableIndex(`the root of the image as a ${type}`);
}
