/**
 * Files of layouts and archives on this machine, read by position. They are as little trusted as a
 * registry: a FIFO must not hang us, and a file that shrinks while it is read must not yield garbage.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { PeelError, systemCodeOf, throwIfAborted } from '../errors.ts';
import type { CompressedRange } from '../units.ts';

/** Bytes that can be read by position: a file, or a part of one. */
export interface OpenFile {
  readonly size: number;
  /** Exactly `length` bytes; the caller keeps inside `size`. @throws PeelError ERR_IO when the file shrank. */
  read(position: number, length: number): Promise<Buffer>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** Bytes a read: large enough for the disk, small enough for many readers at once. */
const CHUNK_SIZE = 1024 * 1024;

/** A file that is open already; closing it closes `handle`. `path` names it in messages. */
export function fileOf(handle: FileHandle, path: string, size: number): OpenFile {
  return new LocalFile(path, handle, size);
}

/**
 * A regular file, or undefined when there is none of that name. Symbolic links are followed. `name` is what messages
 * call it.
 * @throws PeelError ERR_PERMISSION, ERR_IO; the latter for anything that is no regular file.
 */
export async function openLocalFile(path: string, name = path): Promise<OpenFile | undefined> {
  let handle: FileHandle;
  try {
    // NONBLOCK: opening a FIFO that nobody writes would wait for ever. Regular files do not mind.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    const kind = code === 'EACCES' || code === 'EPERM' ? 'ERR_PERMISSION' : 'ERR_IO';
    throw new PeelError(kind, `${name} cannot be opened (${code ?? 'unknown error'})`, { cause: error });
  }
  const stats = await handle.stat();
  if (stats.isFile()) return new LocalFile(name, handle, stats.size);
  await handle.close();
  throw new PeelError(
    'ERR_IO',
    `${name} is ${stats.isDirectory() ? 'a folder' : 'a special file'}, expected a file`,
  );
}

/** The bytes of `range`, in order; the range lies inside the file. Aborting `signal` ends it with an error. */
export async function* streamFile(
  file: OpenFile,
  range: CompressedRange,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at: number = range.start; at < range.end; ) {
    throwIfAborted(signal, 'reading');
    const chunk = await file.read(at, Math.min(CHUNK_SIZE, range.end - at));
    at += chunk.length;
    yield chunk;
  }
}

class LocalFile implements OpenFile {
  readonly size: number;
  readonly #path: string;
  readonly #handle: FileHandle;
  #closing: Promise<void> | undefined;

  constructor(path: string, handle: FileHandle, size: number) {
    this.#path = path;
    this.#handle = handle;
    this.size = size;
  }

  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.#readSome(buffer, done, position + done);
      if (bytesRead === 0) {
        throw new PeelError(
          'ERR_IO',
          `${this.#path} ends at byte ${position + done}, expected ${this.size} bytes: it was changed while open`,
          { facts: { path: this.#path, offset: position + done } },
        );
      }
      done += bytesRead;
    }
    return buffer;
  }

  close(): Promise<void> {
    this.#closing ??= this.#handle.close();
    return this.#closing;
  }

  async #readSome(buffer: Buffer, into: number, position: number): Promise<{ bytesRead: number }> {
    try {
      return await this.#handle.read(buffer, into, buffer.length - into, position);
    } catch (error) {
      throw new PeelError(
        'ERR_IO',
        `${this.#path}: reading at byte ${position} failed (${systemCodeOf(error)})`,
        {
          facts: { path: this.#path, offset: position },
          cause: error,
        },
      );
    }
  }
}
