/**
 * The writable root file system of a container: kernel overlayfs with our mount as its one lower layer. Paths are
 * given relative to the bundle's folder, so that none of its characters means anything to the option parser.
 */
import { PeelError } from '../errors.ts';
import { mountOverlay } from '../native/system-calls.ts';

/** What may be tried with fewer options: it knows not all of them. */
const RETRY = ['EINVAL', 'EOPNOTSUPP'];

export interface OverlayOptions {
  /** Absolute. */
  readonly folder: string;
  /** Relative to `folder`, all existing. */
  readonly lower: string;
  readonly upper: string;
  readonly work: string;
  readonly target: string;
  /** The changes go with the container: nothing of them is forced to disk. */
  readonly isVolatile: boolean;
  /** Its own attributes are user.*, since trusted.* takes root of the host. */
  readonly inUserNamespace: boolean;
}

/** @throws PeelError ERR_MOUNT, ERR_PERMISSION. */
export function mountRootfs(options: OverlayOptions): void {
  const { folder, lower, upper, work, target } = options;
  const base = `lowerdir=${lower},upperdir=${upper},workdir=${work}${options.inUserNamespace ? ',userxattr' : ''}`;
  const errno = inFolder(folder, () => {
    const first = mountOverlay(target, options.isVolatile ? `${base},volatile` : base);
    // Linux before 5.10 has no volatile.
    return first !== undefined && RETRY.includes(first) && options.isVolatile
      ? mountOverlay(target, base)
      : first;
  });
  if (errno === undefined) return;
  const facts = { path: folder, errno };
  if (errno === 'EPERM' || errno === 'EACCES') {
    throw new PeelError(
      'ERR_PERMISSION',
      `mounting overlayfs in ${folder}: ${errno}; it takes root, or a user namespace and Linux 5.11`,
      { facts },
    );
  }
  throw new PeelError(
    'ERR_MOUNT',
    errno === 'ENODEV'
      ? `mounting overlayfs in ${folder}: this kernel has none (modprobe overlay)`
      : `mounting overlayfs in ${folder}: ${errno}; the file system there must be able to hold its changes: ` +
          'not overlayfs, NFS or FUSE',
    { facts },
  );
}

/** The mount is one system call on this thread: nobody else sees the working directory change. */
function inFolder<Result>(folder: string, run: () => Result): Result {
  const before = process.cwd();
  process.chdir(folder);
  try {
    return run();
  } finally {
    process.chdir(before);
  }
}
