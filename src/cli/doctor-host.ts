/** The checks of `peel doctor` that need no image. */
import { access, constants, statfs } from 'node:fs/promises';
import os from 'node:os';
import { openCacheDir } from '../blob/cache-dir.ts';
import { cgroupLayout } from '../container/host-cgroups.ts';
import { findRuntime } from '../container/runtime.ts';
import { namespaceWords } from '../container/user-namespace.ts';
import { isPeelError } from '../errors.ts';
import { isDead } from '../fuse/dead-mounts.ts';
import { checkFuseNative } from '../fuse/fuse-native-transport.ts';
import { whyNoIoUring } from '../fuse/io-uring.ts';
import { openRuntimeDir } from '../fuse/mount-records.ts';
import { MOUNT_TYPE, readMountTable } from '../fuse/mount-table.ts';
import { checkFuseDevice, checkPrivileges, hasMountCapability, whyNoPassthrough } from '../fuse/preflight.ts';
import { findFusermount } from '../fuse/unmount.ts';
import type { Context } from './command.ts';
import { decimalSize } from './size.ts';
import { VERSION } from './version.ts';

export interface CheckResult {
  readonly name: string;
  /** `warn`: works, but not as well as it could. */
  readonly status: 'ok' | 'warn' | 'fail';
  readonly found: string;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

type Finding = string | { readonly warn: string };

/** Runs one check; what it throws is what is missing. */
export async function check(name: string, run: () => Finding | Promise<Finding>): Promise<CheckResult> {
  try {
    const found = await run();
    return typeof found === 'string'
      ? { name, status: 'ok', found }
      : { name, status: 'warn', found: found.warn };
  } catch (error) {
    return { name, status: 'fail', found: messageOf(error) };
  }
}

export async function checkHost(context: Pick<Context, 'env' | 'settings'>): Promise<CheckResult[]> {
  return [
    await check(
      'peel',
      () => `${VERSION}, Node ${process.versions.node}, Linux ${os.release()}, ${process.arch}`,
    ),
    await check('addon', async () => {
      // Loaded here: doctor must be able to say that it does not load.
      const { sha256 } = await import('../native.ts');
      const digest = (await sha256(Buffer.alloc(0))).toString('hex');
      if (!digest.startsWith('e3b0c442'))
        throw new Error(`the native addon computes a wrong digest: ${digest}`);
      return 'the native addon loads and computes';
    }),
    await check('/dev/fuse', () => {
      checkFuseDevice();
      return 'can be opened';
    }),
    await check('privileges', () => {
      checkPrivileges();
      return hasMountCapability() ? 'CAP_SYS_ADMIN: mounts by itself' : `mounts through ${findFusermount()}`;
    }),
    await check('io_uring', () => whyNoIoUring() ?? 'mounts take their requests over it'),
    await check('fusermount', () => {
      const program = findFusermount();
      return program ?? { warn: 'not installed (package fuse3): only root can mount and unmount' };
    }),
    await check('passthrough', () => describePassthrough()),
    await check('fuse-native', async () => {
      try {
        await checkFuseNative();
        return 'loads, with libfuse 2';
      } catch (error) {
        return { warn: `${messageOf(error)}; needed for --transport fuse-native alone` };
      }
    }),
    await check('runtime', () => openRuntimeDir(context.env)),
    await check('cache', () => checkCache(context.settings.cacheDir)),
    await check('containers', () => describeContainers(context.env)),
    await check('mounts', () => countMounts()),
  ];
}

/** Whether `mount --passthrough` can do anything; the mount itself finds out the rest. */
function describePassthrough(): string {
  const missing = whyNoPassthrough();
  return missing === undefined
    ? 'mount --passthrough: Linux has it'
    : `not for mount --passthrough: ${missing}`;
}

async function checkCache(folder: string): Promise<Finding> {
  try {
    await openCacheDir(folder);
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    const { bavail, bsize } = await statfs(folder);
    return `${folder}, ${decimalSize(bavail * bsize)} free on its disk`;
  } catch (error) {
    if (isPeelError(error) && error.facts['reason'] === 'unsafe') throw error;
    return { warn: `${messageOf(error)}; every run fetches anew` };
  }
}

/** Whether `peel run` works here, and as whom. */
async function describeContainers(env: NodeJS.ProcessEnv): Promise<Finding> {
  try {
    const runtime = findRuntime(undefined, await openRuntimeDir(env), { env, hasTerminal: false });
    if (hasMountCapability()) return `${runtime.program}, cgroups ${cgroupLayout()}`;
    namespaceWords();
    return `${runtime.program}, in a user namespace`;
  } catch (error) {
    return { warn: `${messageOf(error)}; needed for peel run alone` };
  }
}

async function countMounts(): Promise<Finding> {
  const mounts = readMountTable().filter((entry) => entry.type === MOUNT_TYPE);
  const areDead = await Promise.all(mounts.map(isDead));
  const dead = mounts.filter((_, index) => areDead[index]).map((entry) => entry.mountPoint);
  if (dead.length === 0) return `${mounts.length} alive`;
  return { warn: `the server has died of ${dead.join(', ')}: 'peel umount' clears it` };
}
