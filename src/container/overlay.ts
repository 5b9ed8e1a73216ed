/**
 * The writable root file system of a container: kernel overlayfs with our mount as its one lower layer. Paths begin at
 * a descriptor of the bundle's folder, so that none of its characters means anything to the option parser.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
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

/**
 * Resolves when the overlay is mounted, which waits for what the root of the lower layer is.
 * @throws PeelError ERR_MOUNT, ERR_PERMISSION.
 */
export async function mountRootfs(options: OverlayOptions): Promise<void> {
  const { folder, isVolatile } = options;
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  let errno: string | undefined;
  try {
    const base = `/proc/self/fd/${handle.fd}`;
    const target = `${base}/${options.target}`;
    const list = [
      `lowerdir=${base}/${options.lower}`,
      `upperdir=${base}/${options.upper}`,
      `workdir=${base}/${options.work}`,
      ...(options.inUserNamespace ? ['userxattr'] : []),
    ].join(',');
    errno = await mountOverlay(target, isVolatile ? `${list},volatile` : list);
    // Linux before 5.10 has no volatile.
    if (isVolatile && errno !== undefined && RETRY.includes(errno)) errno = await mountOverlay(target, list);
  } finally {
    await handle.close();
  }
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
