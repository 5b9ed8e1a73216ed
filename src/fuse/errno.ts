/** The only place where a failure becomes an errno. A new error code does not compile without a row here. */
import { constants } from 'node:os';
import { type ErrorCode, PeelError } from '../errors.ts';

type Errno = keyof typeof constants.errno;

export const ERRNO_OF = {
  ERR_USAGE: 'EINVAL',
  ERR_IMAGE_NOT_FOUND: 'EIO',
  ERR_PLATFORM_NOT_FOUND: 'EIO',
  ERR_PATH_NOT_FOUND: 'ENOENT',
  ERR_NOT_A_DIRECTORY: 'ENOTDIR',
  ERR_IS_A_DIRECTORY: 'EISDIR',
  ERR_NOT_A_SYMLINK: 'EINVAL', // readlink(2)
  ERR_NOT_A_REGULAR_FILE: 'EINVAL', // read(2)
  ERR_SYMLINK_LOOP: 'ELOOP',
  ERR_NAME_TOO_LONG: 'ENAMETOOLONG',
  ERR_NO_XATTR: 'ENODATA', // getxattr(2)
  ERR_READ_ONLY: 'EROFS',
  // Whatever keeps the bytes away is EIO for a reader: it is what programs expect of a broken disk, and the
  // page is not cached, so the next read tries again.
  ERR_AUTH_REFUSED: 'EIO',
  ERR_REGISTRY_UNREACHABLE: 'EIO',
  ERR_REGISTRY_RESPONSE: 'EIO',
  ERR_DEADLINE: 'EIO',
  ERR_DIGEST_MISMATCH: 'EIO', // never hand out bytes that the manifest did not name
  ERR_DOCUMENT_INVALID: 'EIO',
  ERR_LAYER_INVALID: 'EIO',
  ERR_ENTRY_REPLACED: 'EIO',
  ERR_LIMIT_EXCEEDED: 'EIO',
  ERR_UNSUPPORTED: 'EOPNOTSUPP',
  ERR_CACHE: 'EIO',
  ERR_OFFLINE: 'EIO',
  ERR_NATIVE_MISSING: 'EIO',
  ERR_NO_FUSE: 'EIO',
  ERR_PERMISSION: 'EACCES',
  ERR_MOUNT: 'EIO',
  ERR_MOUNT_POINT_MISSING: 'EIO',
  ERR_MOUNT_POINT_BUSY: 'EBUSY',
  ERR_SNAPSHOT_NOT_FOUND: 'ENOENT',
  ERR_SNAPSHOT_EXISTS: 'EEXIST',
  ERR_SNAPSHOT_STATE: 'EBUSY',
  ERR_IO: 'EIO',
  ERR_CONTAINER: 'EIO',
  ERR_COMMAND_NOT_EXECUTABLE: 'EACCES',
  ERR_COMMAND_NOT_FOUND: 'ENOENT',
  ERR_INTERRUPTED: 'EINTR',
} as const satisfies Record<ErrorCode, Errno>;

/** The errno of a failure, positive; EIO for mistakes of our own, which must not end the mount (F28). */
export function errnoOf(error: unknown): number {
  return constants.errno[error instanceof PeelError ? ERRNO_OF[error.code] : 'EIO'];
}
