/**
 * Opens files that peel keeps for itself without being led astray: a symbolic link, a FIFO, a folder or a file
 * of another user in the place of one of ours is never followed, waited for or written to (F41, F48).
 */
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { systemCodeOf } from '../errors.ts';

/** Something lies there that is no file of ours; the caller may remove it. */
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
const CREATE_ONLY = READ_WRITE_CREATE | constants.O_EXCL;

/** For whom this process makes files. */
export function ownUid(): number {
  return process.geteuid?.() ?? 0;
}

/** @throws NotOurFile, or the failed system call. */
export async function openOwnFile(file: string, access: number): Promise<OpenedFile> {
  let handle: FileHandle;
  try {
    handle = await open(file, access | ALWAYS, 0o600);
  } catch (error) {
    const code = systemCodeOf(error);
    // ELOOP: a symbolic link. EISDIR: a folder. ENXIO, ENODEV: a socket or device.
    if (code !== undefined && ['ELOOP', 'EISDIR', 'ENXIO', 'ENODEV'].includes(code)) {
      throw new NotOurFile(`${JSON.stringify(file)}: ${code}`, { cause: error });
    }
    throw error;
  }
  try {
    const found = await handle.stat();
    // A second name could be one that another user can reach.
    if (!found.isFile() || found.uid !== ownUid() || found.nlink > 1) {
      throw new NotOurFile(`${JSON.stringify(file)}: not a regular file of our own with one name`);
    }
    return { handle, found };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** A new file; nothing may be there yet. @throws the failed system call. */
export async function createOwnFile(file: string): Promise<FileHandle> {
  return await open(file, CREATE_ONLY | ALWAYS, 0o600);
}

/**
 * All of a file of ours; undefined where there is none.
 * @throws NotOurFile, also for one of more than `maxBytes`; the failed system call.
 */
export async function readOwnFile(file: string, maxBytes: number): Promise<Buffer | undefined> {
  let opened: OpenedFile;
  try {
    opened = await openOwnFile(file, READ_ONLY);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const { handle, found } = opened;
  try {
    if (found.size > maxBytes) {
      throw new NotOurFile(`${JSON.stringify(file)}: ${found.size} bytes, want at most ${maxBytes}`);
    }
    return await readAt(handle, 0, found.size);
  } finally {
    await handle.close();
  }
}

/** `length` bytes, or fewer where the file ends. */
export async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  return bytes.subarray(0, await readFully(handle, bytes, position));
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

export async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const result = await handle.write(bytes, written, bytes.length - written, position + written);
    written += result.bytesWritten;
  }
}
