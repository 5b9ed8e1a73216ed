/**
 * Takes a mount out of the tree without looking at it: a stat of a mount whose server hangs would hang as well.
 * Root asks the kernel (umount2 through the addon), others ask fusermount3, named by its absolute path.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { isPeelError, PeelError } from '../errors.ts';
import { unmount as unmountAsRoot } from '../native/system-calls.ts';
import { mountsInside } from './mount-table.ts';

const FUSERMOUNT = ['/usr/bin/fusermount3', '/bin/fusermount3', '/usr/bin/fusermount', '/bin/fusermount'];
/** fusermount answers at once; more means that something below it hangs. */
const FUSERMOUNT_DEADLINE_MS = 10_000;

/** The helper that lets users mount and unmount FUSE file systems, or undefined. */
export function findFusermount(): string | undefined {
  return FUSERMOUNT.find((file) => existsSync(file));
}

/** The kernel says no more than that it is in use: its table tells whether by another mount, else it is a process. */
function busy(mountPoint: string, cause: unknown): PeelError {
  const inside = mountsInside(mountPoint);
  // The last one is in the way of none.
  const inner = inside.at(-1);
  const others = inside.length > 1 ? ` and ${inside.length - 1} more` : '';
  const reason =
    inner === undefined
      ? 'a process has a file or its working directory in it (see fuser -vm); ' +
        '--lazy detaches it now and ends it when the last one leaves'
      : `${inner.mountPoint} (${inner.type})${others} is mounted inside of it: unmount that first; ` +
        '--lazy detaches both now';
  return new PeelError('ERR_MOUNT_POINT_BUSY', `unmounting ${mountPoint}: ${reason}`, {
    facts: { path: mountPoint, ...(inner === undefined ? {} : { inner: inner.mountPoint }) },
    cause,
  });
}

function unmountAsUser(mountPoint: string, lazy: boolean): Promise<void> {
  const program = findFusermount();
  if (program === undefined) {
    throw new PeelError(
      'ERR_PERMISSION',
      `unmounting ${mountPoint}: fusermount3 is not installed (package fuse3)`,
      {
        facts: { path: mountPoint },
      },
    );
  }
  // `--` because a mount point may begin with a dash; an empty environment because the program is setuid.
  const args = [lazy ? '-uz' : '-u', '--', mountPoint];
  return new Promise((resolve, reject) => {
    execFile(program, args, { env: {}, timeout: FUSERMOUNT_DEADLINE_MS }, (error, _stdout, stderr) => {
      if (error === null) resolve();
      else if (/busy/i.test(stderr)) reject(busy(mountPoint, error));
      else {
        reject(
          new PeelError('ERR_MOUNT', `unmounting ${mountPoint}: ${stderr.trim() || error.message}`, {
            facts: { path: mountPoint },
            cause: error,
          }),
        );
      }
    });
  });
}

/** @throws PeelError ERR_MOUNT_POINT_BUSY when it is in use and not `lazy`; ERR_PERMISSION, ERR_MOUNT. */
export async function unmountPath(mountPoint: string, options: { readonly lazy: boolean }): Promise<void> {
  if (process.geteuid?.() !== 0) {
    await unmountAsUser(mountPoint, options.lazy);
    return;
  }
  try {
    unmountAsRoot(mountPoint, options);
  } catch (error) {
    if (isPeelError(error) && error.facts['errno'] === 'EBUSY') throw busy(mountPoint, error);
    throw error;
  }
}
