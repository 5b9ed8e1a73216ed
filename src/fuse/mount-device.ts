/**
 * A descriptor of /dev/fuse with a file system behind it: from mount(2), from fusermount3, or handed to us.
 *
 *   root                     mount(2), type fuse.peel
 *   a user                   fusermount3, which passes the descriptor back
 *   mount point /dev/fd/N    descriptor N, opened and mounted by whoever started this process
 */
import { getSystemErrorMap } from 'node:util';
import { PeelError } from '../errors.ts';
import { MOUNT_FLAGS, type MountResult, mountFuse, mountFuseWithHelper } from '../native-fuse.ts';
import { hasMountCapability } from './preflight.ts';
import type { TransportOptions } from './transport.ts';
import { findFusermount } from './unmount.ts';

const MAX_SOURCE = 512;
const HELPER_DEADLINE_MS = 10_000;
/** Above the standard ones: those are not for a file system. */
const DESCRIPTOR_PLACE = /^\/(?:dev|proc\/self)\/fd\/([3-9]|[1-9]\d{1,8})$/;

/** Commas would add options, control characters would break /proc/mounts. */
export function safeSource(source: string): string {
  return source.replace(/[^A-Za-z0-9._:/@+-]/g, '_').slice(0, MAX_SOURCE);
}

/** The descriptor that a mount point of the form /dev/fd/N means, or undefined. */
export function descriptorOf(mountPoint: string): number | undefined {
  const digits = DESCRIPTOR_PLACE.exec(mountPoint)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function flagsOf(options: TransportOptions): number {
  return (
    MOUNT_FLAGS.readOnly |
    MOUNT_FLAGS.noAtime |
    (options.suid === true ? 0 : MOUNT_FLAGS.noSuid) |
    (options.dev === true ? 0 : MOUNT_FLAGS.noDev)
  );
}

function kernelOptions(options: TransportOptions): string[] {
  return ['default_permissions', ...(options.allowOther === true ? ['allow_other'] : [])];
}

function helperOptions(options: TransportOptions): string[] {
  return [
    'ro',
    'noatime',
    options.suid === true ? 'suid' : 'nosuid',
    options.dev === true ? 'dev' : 'nodev',
    ...kernelOptions(options),
    `fsname=${safeSource(options.source)}`,
    'subtype=peel',
  ];
}

function failure(mountPoint: string, result: MountResult & { readonly fd: undefined }): PeelError {
  const name = getSystemErrorMap().get(-result.errno)?.[0] ?? `errno ${result.errno}`;
  const facts = { path: mountPoint, errno: name };
  const said = result.message === '' ? name : `${name} (${result.message})`;
  if (name === 'EPERM' || name === 'EACCES' || result.message !== '') {
    return new PeelError(
      'ERR_PERMISSION',
      `mounting on ${mountPoint}: ${said}; without root it takes a /dev/fuse that this user may open, ` +
        'fusermount3, and a mount point of their own (allow_other also user_allow_other in /etc/fuse.conf)',
      { facts },
    );
  }
  return new PeelError('ERR_MOUNT', `mounting on ${mountPoint}: ${said}`, { facts });
}

/** @throws PeelError ERR_PERMISSION, ERR_MOUNT. */
export async function openMountedDevice(mountPoint: string, options: TransportOptions): Promise<number> {
  const handed = descriptorOf(mountPoint);
  if (handed !== undefined) return handed;
  let result: MountResult;
  if (hasMountCapability()) {
    const kernel = kernelOptions(options).join(',');
    result = mountFuse(mountPoint, safeSource(options.source), flagsOf(options), kernel);
  } else {
    const program = findFusermount();
    if (program === undefined) {
      throw new PeelError('ERR_PERMISSION', 'mounting without root takes fusermount3 (package fuse3)');
    }
    const list = helperOptions(options).join(',');
    result = await mountFuseWithHelper(program, mountPoint, list, HELPER_DEADLINE_MS);
  }
  if (result.fd === undefined) throw failure(mountPoint, result);
  return result.fd;
}
