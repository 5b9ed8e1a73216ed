/**
 * An archive on standard input (`-`), as a file.
 *
 *   a file (`peel ls - < image.tar`)     read in place
 *   a pipe (`docker save x | peel ls -`)  written once to a file in the cache that has no name
 *
 * The file without a name takes disk space as long as it is open, and is gone with the process, however that ends.
 */
import { fstatSync } from 'node:fs';
import { type FileHandle, readFile } from 'node:fs/promises';
import path from 'node:path';
import { isatty } from 'node:tty';
import type { CacheDir } from '../blob/cache-dir.ts';
import { isPeelError, PeelError, systemCodeOf, throwIfAborted } from '../errors.ts';
import { fileOf, type OpenFile, openLocalFile } from '../source/local-file.ts';
import { writeFully } from '../storage/own-file.ts';
import { openNamelessFile } from '../storage/replace-file.ts';

const NAME = 'standard input';
const DESCRIPTOR = 0;

/**
 * @param onProgress is called with the bytes that came so far.
 * @throws PeelError ERR_USAGE for a terminal, ERR_LIMIT_EXCEEDED past the size of the cache, ERR_CACHE where it cannot
 * be kept.
 */
export async function openStandardInput(
  cache: CacheDir,
  onProgress: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<OpenFile> {
  if (isatty(DESCRIPTOR)) {
    throw new PeelError(
      'ERR_USAGE',
      `${NAME} is a terminal: pipe an image archive into peel, or name a file`,
    );
  }
  if (fstatSync(DESCRIPTOR).isFile() && (await isAtStart())) {
    const file = await openLocalFile(`/proc/self/fd/${DESCRIPTOR}`, NAME);
    if (file !== undefined) return file;
  }
  return spool(cache, onProgress, signal);
}

/** Whoever had it before us may have read some of it; what is left is ours. */
async function isAtStart(): Promise<boolean> {
  const info = await readFile(`/proc/self/fdinfo/${DESCRIPTOR}`, 'latin1');
  return /^pos:\s*0$/m.test(info);
}

async function spool(
  cache: CacheDir,
  onProgress: (bytes: number) => void,
  signal: AbortSignal | undefined,
): Promise<OpenFile> {
  const folder = path.join(cache.versionDir, 'spool');
  const stop = (): void => void process.stdin.destroy();
  signal?.addEventListener('abort', stop);
  let handle: FileHandle | undefined;
  let size = 0;
  try {
    handle = await openNamelessFile(folder);
    for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
      throwIfAborted(signal, `reading ${NAME}`);
      if (size + chunk.length > cache.maxSize) {
        throw new PeelError(
          'ERR_LIMIT_EXCEEDED',
          `${NAME} is longer than ${cache.maxSize} bytes, which is all that the cache may hold (--cache-max-size)`,
        );
      }
      await writeFully(handle, chunk, size);
      size += chunk.length;
      onProgress(size);
    }
    throwIfAborted(signal, `reading ${NAME}`);
    return fileOf(handle, NAME, size);
  } catch (error) {
    await handle?.close();
    throwIfAborted(signal, `reading ${NAME}`);
    if (isPeelError(error)) throw error;
    throw new PeelError(
      'ERR_CACHE',
      `${NAME} cannot be kept in ${folder}, at byte ${size} (${systemCodeOf(error) ?? 'unknown error'}): make room, choose another place with --cache-dir, or name a file`,
      { facts: { path: folder, offset: size }, cause: error },
    );
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
