/**
 * Whether a folder can hold a cache that nobody else can tamper with or look into (F48): ours, not a
 * symbolic link, writable by us alone, and below folders in which no other user can put another in its place.
 */
import { lstat, readFile, realpath } from 'node:fs/promises';
import path from 'node:path';
import { PeelError } from '../errors.ts';
import { ownUid } from '../storage/own-file.ts';

const WRITABLE_BY_OTHERS = 0o022;
const WORLD_WRITABLE = 0o002;
const STICKY = 0o1000;

/** @throws PeelError ERR_CACHE, facts.reason `unsafe`, saying what to do. */
function refuse(folder: string, found: string, advice: string): never {
  throw new PeelError(
    'ERR_CACHE',
    `cache directory ${JSON.stringify(folder)} is not safe to use: ${found}; ${advice}`,
    {
      facts: { path: folder, reason: 'unsafe' },
    },
  );
}

const ELSEWHERE = 'choose another place with --cache-dir';

/** Checks a folder that exists. Symbolic links on the way to it are followed, and what they lead to is checked. */
export async function checkOwnFolder(folder: string): Promise<void> {
  const found = await lstat(folder);
  if (found.isSymbolicLink()) refuse(folder, 'it is a symbolic link', 'name the folder it leads to');
  if (!found.isDirectory()) refuse(folder, 'it is not a directory', ELSEWHERE);
  if (found.uid !== ownUid()) {
    refuse(folder, `it belongs to uid ${found.uid}, and this is uid ${ownUid()}`, ELSEWHERE);
  }
  if ((found.mode & WRITABLE_BY_OTHERS) !== 0) {
    const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
    refuse(folder, `others may write into it (mode ${mode})`, `chmod 700 it, or ${ELSEWHERE}`);
  }
}

/** Checks every folder above `folder`, which need not exist itself; its parent does. */
export async function checkFoldersAbove(folder: string): Promise<void> {
  const mayOwn = new Set([0, ownUid()]);
  const unmapped = await unmappedUid();
  if (unmapped !== undefined) mayOwn.add(unmapped);
  // The way as it is spelled, and the way it really takes: on both, a link or folder could be exchanged.
  const parent = path.dirname(path.resolve(folder));
  for (const above of new Set([...waysTo(parent), ...waysTo(await realpath(parent))])) {
    const found = await lstat(above);
    if (!mayOwn.has(found.uid)) {
      refuse(folder, `${JSON.stringify(above)} above it belongs to uid ${found.uid}`, ELSEWHERE);
    }
    if (found.isDirectory() && (found.mode & WORLD_WRITABLE) !== 0 && (found.mode & STICKY) === 0) {
      const advice = `remove that permission, or ${ELSEWHERE}`;
      refuse(folder, `everybody may exchange what lies in ${JSON.stringify(above)} above it`, advice);
    }
  }
}

/** `/a/b` gives `/`, `/a`, `/a/b`. */
function waysTo(folder: string): string[] {
  const parts = folder.split('/').filter((part) => part !== '');
  return parts.reduce((ways, part) => [...ways, path.join(ways.at(-1) ?? '/', part)], ['/']);
}

/**
 * Inside a user namespace that maps few users, files of everybody else (of the real root, too) belong to
 * the overflow uid, which no process can have there.
 */
async function unmappedUid(): Promise<number | undefined> {
  try {
    const map = (await readFile('/proc/self/uid_map', 'utf8')).trim();
    if (/^0\s+0\s+4294967295$/.test(map)) return undefined;
    const mapped = map.split('\n').map((line) => line.trim().split(/\s+/).map(Number));
    const overflow = Number(await readFile('/proc/sys/kernel/overflowuid', 'utf8'));
    const isMapped = mapped.some(
      ([inside = 0, , count = 0]) => overflow >= inside && overflow < inside + count,
    );
    return isMapped ? undefined : overflow;
  } catch {
    return undefined;
  }
}
