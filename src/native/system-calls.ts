/** What Node does not offer: holes in files, mapped files and the one validator of stored trees, overlays, unmounting. */
import { PeelError } from '../errors.ts';
import { addonPart, errnoName, type NativeError, validateBytes, validateInteger } from './addon.ts';

/** What native/addon.cc exports of this. */
interface Addon {
  /** 0, or an errno. */
  punchHole(fd: number, offset: number, length: number): number;
  /** 0, or an errno. */
  unmount(path: Uint8Array, lazy: boolean): number;
  /** 0, or an errno. */
  mountOverlay(path: Uint8Array, options: Uint8Array): Promise<number>;
  /** A mapping, or an errno. */
  mapFile(fd: number, length: number): Buffer | number;
  validateTree(bytes: Uint8Array): Promise<void>;
}

function addon(): Addon {
  return addonPart() as Addon;
}

/**
 * Gives the bytes of a file back to the file system; they read as zeros, the size stays.
 * False where the file system cannot do that. @throws PeelError ERR_IO.
 */
export function punchHole(fd: number, offset: number, length: number): boolean {
  validateInteger('fd', fd, 0, 2 ** 31 - 1);
  validateInteger('offset', offset, 0, Number.MAX_SAFE_INTEGER);
  validateInteger('length', length, 1, Number.MAX_SAFE_INTEGER - offset);
  const errno = addon().punchHole(fd, offset, length);
  if (errno === 0) return true;
  const name = errnoName(errno);
  if (name === 'EOPNOTSUPP' || name === 'ENOTSUP' || name === 'ENOSYS') return false;
  throw new PeelError('ERR_IO', `cannot punch a hole of ${length} bytes at ${offset}: ${name}`, {
    facts: { errno: name, fd, offset, length },
  });
}

/**
 * The first `length` bytes of a file, mapped read-only: shared with every other process that maps it, and no part
 * of the heap. The descriptor may be closed at once; the mapping goes when the Buffer and all views of it are
 * garbage. A write to the Buffer ends the process, and so does reading it once somebody has cut the file short:
 * only for files that are never written again under their name, but replaced by rename.
 * @throws PeelError ERR_IO, also for what is no regular file or shorter than `length`.
 */
export function mapFile(fd: number, length: number): Buffer {
  validateInteger('fd', fd, 0, 2 ** 31 - 1);
  validateInteger('length', length, 1, 2 ** 32 - 1);
  const mapping = addon().mapFile(fd, length);
  if (typeof mapping !== 'number') return mapping;
  const name = errnoName(mapping);
  throw new PeelError('ERR_IO', `cannot map ${length} bytes of a file: ${name}`, {
    facts: { errno: name, fd, length },
  });
}

/**
 * Whether `bytes` are a stored tree (docs/TREE-FORMAT.md), seal and every record; on a thread of the pool, without
 * a copy: nobody may change or transfer them meanwhile. They lie at a multiple of 8 in memory.
 * @throws PeelError ERR_CACHE with the offset of what is wrong.
 */
export async function validateTree(bytes: Uint8Array): Promise<void> {
  validateBytes('bytes', bytes);
  try {
    await addon().validateTree(bytes);
  } catch (error) {
    const { code, message, offset } = error as NativeError;
    if (code === undefined) throw error;
    const facts = offset === undefined ? {} : { offset };
    throw new PeelError('ERR_CACHE', offset === undefined ? message : `${message} (at byte ${offset})`, {
      facts,
      cause: error,
    });
  }
}

/**
 * umount2(2): never looks at the mount itself, so that a dead one cannot hang it, and follows no symbolic
 * link at the end of `path`. `lazy` detaches also what is in use.
 * @throws PeelError ERR_PERMISSION for EPERM, else ERR_MOUNT; `facts.errno` names the error (EINVAL: not a
 * mount point, EBUSY: in use, ENOENT).
 */
export function unmount(path: string | Uint8Array, options: { readonly lazy: boolean }): void {
  const bytes = typeof path === 'string' ? Buffer.from(path, 'utf8') : path;
  validateBytes('path', bytes);
  if (bytes.length === 0 || bytes.includes(0)) throw new RangeError('path: empty, or with a NUL byte');
  const errno = addon().unmount(bytes, options.lazy);
  if (errno === 0) return;
  const name = errnoName(errno);
  const shown = Buffer.from(bytes).toString('utf8');
  throw new PeelError(
    name === 'EPERM' || name === 'EACCES' ? 'ERR_PERMISSION' : 'ERR_MOUNT',
    `cannot unmount ${JSON.stringify(shown)}: ${name}`,
    { facts: { errno: name, path: shown } },
  );
}

/**
 * mount(2) of type overlay with the options of its documentation, on a thread of the pool: it waits for its lower
 * layer, which this process may serve. The name of the errno, or undefined: mounted.
 */
export async function mountOverlay(path: string, options: string): Promise<string | undefined> {
  const errno = await addon().mountOverlay(Buffer.from(path, 'utf8'), Buffer.from(options, 'utf8'));
  return errno === 0 ? undefined : errnoName(errno);
}
