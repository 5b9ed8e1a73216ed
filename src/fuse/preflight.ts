/**
 * What must hold before a mount is tried, so that what is missing is said in words: a failed mount(2) inside
 * libfuse says "fuse failed" and nothing else.
 */
import {
  closeSync,
  existsSync,
  lstatSync,
  opendirSync,
  openSync,
  readFileSync,
  realpathSync,
  statSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { PeelError, systemCodeOf } from '../errors.ts';
import { clearDeadMount, isDead } from './dead-mounts.ts';
import { readRecords } from './mount-records.ts';
import { mountAt } from './mount-table.ts';
import { findFusermount } from './unmount.ts';

/** Linux Documentation/admin-guide/devices.txt */
const FUSE_DEVICE = '/dev/fuse';
const FUSE_MAJOR = 10;
const FUSE_MINOR = 229;
/** capability.h */
const CAP_SYS_ADMIN = 21n;

/** @throws PeelError ERR_NO_FUSE or ERR_PERMISSION, with what to do. */
export function checkFuseDevice(): void {
  const facts = { path: FUSE_DEVICE };
  let device: number;
  try {
    device = statSync(FUSE_DEVICE).rdev;
  } catch (error) {
    throw new PeelError(
      'ERR_NO_FUSE',
      `${FUSE_DEVICE} does not exist: load the module (modprobe fuse), or give the container the device ` +
        '(--device /dev/fuse --cap-add SYS_ADMIN); ls, cat and all other commands work without it',
      { facts, cause: error },
    );
  }
  if (device !== ((FUSE_MAJOR << 8) | FUSE_MINOR)) {
    throw new PeelError(
      'ERR_NO_FUSE',
      `${FUSE_DEVICE} is not the FUSE device (character device ${FUSE_MAJOR}:${FUSE_MINOR}): ` +
        'something else lies over it; ls, cat and all other commands work without it',
      { facts },
    );
  }
  try {
    closeSync(openSync(FUSE_DEVICE, 'r+'));
  } catch (error) {
    const code = systemCodeOf(error) ?? 'unknown error';
    if (code === 'EACCES' || code === 'EPERM') {
      throw new PeelError(
        'ERR_PERMISSION',
        `opening ${FUSE_DEVICE}: ${code}; run as root, or let this user open it (mode 0666 or a group)`,
        { facts, cause: error },
      );
    }
    throw new PeelError('ERR_NO_FUSE', `opening ${FUSE_DEVICE}: ${code}; the fuse module is not loaded`, {
      facts,
      cause: error,
    });
  }
}

/** Whether this process may call mount(2) itself. */
export function hasMountCapability(): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return mask !== undefined && (BigInt(`0x${mask}`) & (1n << CAP_SYS_ADMIN)) !== 0n;
}

/** What FUSE passthrough lacks on this host, as far as can be known without a mount; undefined: nothing. */
export function whyNoPassthrough(release: string = os.release()): string | undefined {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
  if (major < 6 || (major === 6 && minor < 9)) return `Linux ${release} is older than 6.9`;
  return hasMountCapability() ? undefined : 'it takes CAP_SYS_ADMIN';
}

/** @throws PeelError ERR_PERMISSION */
export function checkPrivileges(): void {
  if (hasMountCapability()) return;
  if (process.geteuid?.() === 0) {
    throw new PeelError(
      'ERR_PERMISSION',
      'mounting: this process is root without CAP_SYS_ADMIN, as in a container; start it with --cap-add SYS_ADMIN',
    );
  }
  if (findFusermount() === undefined) {
    throw new PeelError('ERR_PERMISSION', 'mounting without root takes fusermount3 (package fuse3)');
  }
}

/** A path with the links in all its parents resolved; the last component itself is not touched. */
export function realPlace(place: string): string {
  const absolute = path.resolve(place);
  return path.join(realpathSync(path.dirname(absolute)), path.basename(absolute));
}

/** The deepest part of a path that exists, with links resolved, and the rest behind it. */
function realAsFarAsItExists(place: string): string {
  const absolute = path.resolve(place);
  for (let existing = absolute, rest = ''; ; existing = path.dirname(existing)) {
    if (existsSync(existing)) return path.join(realpathSync(existing), rest);
    if (existing === path.dirname(existing)) return absolute;
    rest = path.join(path.basename(existing), rest);
  }
}

export interface MountPointOptions {
  readonly nonEmpty: boolean;
  readonly runtimeDir: string;
  /** Folders that the server itself reads and writes: below its own mount they would wait for themselves (F36). */
  readonly outside: readonly string[];
}

function missing(mountPoint: string, error: unknown): PeelError {
  const code = systemCodeOf(error);
  if (code === 'EACCES' || code === 'EPERM') {
    return new PeelError('ERR_PERMISSION', `looking at the mount point ${mountPoint}: permission denied`, {
      facts: { path: mountPoint },
      cause: error,
    });
  }
  return new PeelError(
    'ERR_MOUNT_POINT_MISSING',
    `the mount point ${mountPoint} does not exist: make the folder first`,
    {
      facts: { path: mountPoint },
      cause: error,
    },
  );
}

/**
 * The real path of a folder that can be mounted over. A dead mount of ours on it is cleared first.
 * @throws PeelError ERR_MOUNT_POINT_MISSING, ERR_MOUNT_POINT_BUSY, ERR_MOUNT, ERR_PERMISSION, ERR_USAGE.
 */
export async function prepareMountPoint(place: string, options: MountPointOptions): Promise<string> {
  let mountPoint: string;
  try {
    mountPoint = realPlace(place);
    await clearIfDead(mountPoint, options.runtimeDir);
    mountPoint = realpathSync(mountPoint);
  } catch (error) {
    throw error instanceof PeelError ? error : missing(place, error);
  }
  const facts = { path: mountPoint };
  await clearIfDead(mountPoint, options.runtimeDir);
  if (!lstatSync(mountPoint).isDirectory()) {
    throw new PeelError('ERR_MOUNT', `the mount point ${mountPoint} is not a directory`, { facts });
  }
  for (const folder of options.outside.map(realAsFarAsItExists)) {
    if (folder !== mountPoint && !folder.startsWith(`${mountPoint}/`) && mountPoint !== '/') continue;
    throw new PeelError(
      'ERR_USAGE',
      `${folder} is needed to serve the mount and lies below the mount point ${mountPoint}: choose another place for one of them`,
      { facts: { ...facts, folder } },
    );
  }
  if (!options.nonEmpty) {
    const folder = opendirSync(mountPoint);
    try {
      if (folder.readSync() !== null) {
        throw new PeelError(
          'ERR_MOUNT_POINT_BUSY',
          `the mount point ${mountPoint} is not empty: -o nonempty mounts over what is there`,
          { facts },
        );
      }
    } finally {
      folder.closeSync();
    }
  }
  return mountPoint;
}

async function clearIfDead(mountPoint: string, runtimeDir: string): Promise<void> {
  const entry = mountAt(mountPoint);
  if (entry === undefined) return;
  if (await isDead(entry)) {
    await clearDeadMount(entry, readRecords(runtimeDir), runtimeDir);
    return;
  }
  throw new PeelError(
    'ERR_MOUNT_POINT_BUSY',
    `the mount point ${mountPoint} is in use: ${entry.source} (${entry.type}) is mounted there`,
    { facts: { path: mountPoint, source: entry.source } },
  );
}
