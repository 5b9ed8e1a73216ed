/**
 * Files of the cache, opened and replaced without trust: what lies there may be a FIFO, a link or a folder
 * that somebody put in place, and power may fail at any moment (FAULTS F41, X1).
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { PeelError, systemCodeOf } from '../errors.ts';

const OWNER_ONLY = 0o600;
const FOLDER_OWNER_ONLY = 0o700;
const TEMPORARY_PREFIX = '.new-';
/** No write of ours takes so long: what is older was left by a process that died. */
const STALE_AFTER_MS = 60 * 60 * 1000;

/**
 * A regular file of our own, open for reading; undefined where there is none.
 * @throws PeelError ERR_CACHE for anything else in its place; other failures as Node reports them.
 */
export async function openStored(file: string): Promise<FileHandle | undefined> {
  let handle: FileHandle;
  try {
    // Without O_NONBLOCK, opening a FIFO waits for a writer that never comes.
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new PeelError('ERR_CACHE', `${JSON.stringify(file)} is no regular file`);
    if (stats.uid !== process.geteuid?.()) {
      throw new PeelError('ERR_CACHE', `${JSON.stringify(file)} belongs to uid ${stats.uid}`);
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Reads exactly `length` bytes, or fewer where the file ends. */
export async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/**
 * Puts `pieces` under `name` in `folder`, wholly or not at all: written beside it, forced to disk, renamed.
 * Resolves with the new file, open for reading. The caller syncs the folder once all its files are there.
 */
export async function replaceStored(
  folder: string,
  name: string,
  pieces: readonly Uint8Array[],
): Promise<FileHandle> {
  const temporary = path.join(
    folder,
    `${TEMPORARY_PREFIX}${name}-${process.pid}-${randomBytes(6).toString('hex')}`,
  );
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const handle = await open(temporary, flags, OWNER_ONLY);
  try {
    for (const piece of pieces) await writeAll(handle, piece);
    await handle.sync();
    await renameOver(temporary, path.join(folder, name));
    return handle;
  } catch (error) {
    await handle.close();
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, null);
    written += bytesWritten;
  }
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
  await mkdir(folder, { recursive: true, mode: FOLDER_OWNER_ONLY });
  const oldest = Date.now() - STALE_AFTER_MS;
  for (const name of await readdir(folder)) {
    if (!name.startsWith(TEMPORARY_PREFIX)) continue;
    const file = path.join(folder, name);
    const stats = await stat(file).catch(() => undefined);
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
