/**
 * Files that are replaced whole: written beside their place, forced to disk, renamed. Whoever reads meanwhile,
 * or after a power cut, finds the old file or the new one (FAULTS X1).
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { systemCodeOf } from '../errors.ts';
import { makeFolders } from './make-folders.ts';
import { createOwnFile, writeFully } from './own-file.ts';

const TEMPORARY_PREFIX = '.new-';
/** No write of ours takes so long: what is older was left by a process that died. */
const STALE_AFTER_MS = 60 * 60 * 1000;

export interface ReplaceOptions {
  /** Not forced to disk, so that nobody waits for it: for what is checked when it is read, and made again. */
  readonly isHint?: boolean;
  /** Permission bits; default 0600. */
  readonly mode?: number;
}

/**
 * Puts `pieces` under `name` in `folder`, wholly or not at all. Resolves with the new file, open.
 * The caller syncs the folder where the name must survive a power cut, once all its files are there.
 */
export async function replaceFile(
  folder: string,
  name: string,
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  options: ReplaceOptions = {},
): Promise<FileHandle> {
  const temporary = path.join(
    folder,
    `${TEMPORARY_PREFIX}${name}-${process.pid}-${randomBytes(6).toString('hex')}`,
  );
  const handle = await createOwnFile(temporary);
  try {
    let position = 0;
    for await (const piece of pieces) {
      await writeFully(handle, piece, position);
      position += piece.length;
    }
    if (options.mode !== undefined) await handle.chmod(options.mode);
    if (options.isHint !== true) await handle.sync();
    await renameOver(temporary, path.join(folder, name));
    return handle;
  } catch (error) {
    await handle.close();
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** A file that no name leads to: its space is given back when it is closed, also by a crash. Makes the folder. */
export async function openNamelessFile(folder: string): Promise<FileHandle> {
  await prepareFolder(folder);
  const temporary = path.join(folder, `${TEMPORARY_PREFIX}${process.pid}-${randomBytes(6).toString('hex')}`);
  const handle = await createOwnFile(temporary);
  await rm(temporary, { force: true });
  return handle;
}

/** A folder in the place of our file does not give way to a rename. */
async function renameOver(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code !== 'EISDIR' && code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
    await rm(to, { recursive: true, force: true });
    await rename(from, to);
  }
}

/** Makes the folder where it is missing, and clears what a process that died left in it. */
export async function prepareFolder(folder: string): Promise<void> {
  await makeFolders(folder);
  const oldest = Date.now() - STALE_AFTER_MS;
  for (const name of await readdir(folder)) {
    if (!name.startsWith(TEMPORARY_PREFIX)) continue;
    const file = path.join(folder, name);
    const stats = await lstat(file).catch(() => undefined);
    if (stats !== undefined && stats.mtimeMs < oldest) await rm(file, { force: true, recursive: true });
  }
}

/** Makes renames inside it survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
