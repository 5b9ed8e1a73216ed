/**
 * Opens files of the cache without being led astray: a symbolic link, a FIFO, a folder or a file of another
 * user in the place of one of ours is never followed, waited for or written to (F41, F48).
 */
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { systemCodeOf } from '../errors.ts';
import { ownUid } from './safe-path.ts';

/** Something lies there that is not a cache file of ours; the caller may remove it. */
export class NotOurFile extends Error {}

export interface OpenedFile {
  readonly handle: FileHandle;
  readonly found: Stats;
}

/** O_NONBLOCK: opening a FIFO must not wait for its other end. */
const ALWAYS = constants.O_NOFOLLOW | constants.O_NONBLOCK;

export const READ_ONLY = constants.O_RDONLY;
export const READ_WRITE = constants.O_RDWR;
export const READ_WRITE_CREATE = constants.O_RDWR | constants.O_CREAT;

/** @throws NotOurFile, or the failed system call. */
export async function openCacheFile(file: string, access: number): Promise<OpenedFile> {
  let handle: FileHandle;
  try {
    handle = await open(file, access | ALWAYS, 0o600);
  } catch (error) {
    const code = systemCodeOf(error);
    // ELOOP: a symbolic link. EISDIR: a folder. ENXIO, ENODEV: a socket or device.
    if (code !== undefined && ['ELOOP', 'EISDIR', 'ENXIO', 'ENODEV'].includes(code)) {
      throw new NotOurFile(`${file}: ${code}`, { cause: error });
    }
    throw error;
  }
  try {
    const found = await handle.stat();
    // A second name could be one that another user can reach.
    if (!found.isFile() || found.uid !== ownUid() || found.nlink > 1) {
      throw new NotOurFile(`${file}: not a regular file of our own with one name`);
    }
    return { handle, found };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Reads until `buffer` is full or the file ends; returns the bytes that came. */
export async function readFully(handle: FileHandle, buffer: Buffer, position: number): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

export async function writeFully(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const result = await handle.write(bytes, written, bytes.length - written, position + written);
    written += result.bytesWritten;
  }
}
