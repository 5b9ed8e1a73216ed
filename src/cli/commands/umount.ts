/**
 * `peel umount`: takes mounts of ours out of the tree, living and dead ones. What is mounted is read from the
 * kernel's table; a mount point is never looked at, because a hanging server would hang us as well.
 */
import { lstatSync, realpathSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BundleRecord,
  isOwnerAlive,
  PLACES,
  readBundleRecord,
  takeApart,
} from '../../container/bundle-folder.ts';
import { clearIfDead } from '../../container/container-folders.ts';
import { isPeelError, PeelError } from '../../errors.ts';
import { clearDeadMount, isDead } from '../../fuse/dead-mounts.ts';
import {
  isServerAlive,
  type MountRecord,
  openRuntimeDir,
  readRecords,
  removeRecordsOfGoneMounts,
} from '../../fuse/mount-records.ts';
import { isMountedAt, MOUNT_TYPE, type MountEntry, mountAt, mountsOf } from '../../fuse/mount-table.ts';
import { realPlace } from '../../fuse/preflight.ts';
import { unmountPath } from '../../fuse/unmount.ts';
import { ownUid } from '../../storage/own-file.ts';
import { type Context, defineCommand } from '../command.ts';
import { describeError } from '../error-report.ts';

const OPTIONS = {
  all: { type: 'boolean', short: 'a', summary: 'all mounts of peel that are yours; for root all there are' },
  lazy: { type: 'boolean', summary: 'detach now, end when the last user leaves' },
} as const;

type UmountContext = Context<typeof OPTIONS>;

/** The server needs this long to close its connections; who waits sees everything gone. */
const SERVER_END_MS = 5000;
/** The kernel needs this long to end a process that was killed. */
const RUN_END_MS = 2000;
const POLL_MS = 20;

export const umount = defineCommand({
  name: 'umount',
  summary: 'unmount what mount has mounted, take apart what bundle has made',
  usage: ['[--lazy] DIR...', '[--lazy] -a'],
  details: [
    'A mount whose server has died is cleared as well.',
    'Of a folder that peel bundle made, all that peel made is taken away, with what containers have written.',
  ],
  options: OPTIONS,
  minArgs: 0,
  maxArgs: Number.POSITIVE_INFINITY,
  async run(context) {
    if (context.flags.all !== (context.args.length === 0)) {
      throw new PeelError('ERR_USAGE', 'umount: name the mount points, or -a for all of them');
    }
    const runtimeDir = await openRuntimeDir(context.env);
    const mounts = context.flags.all ? mountsOf(ownUid()).reverse() : context.args;
    let status = 0;
    for (const each of mounts) {
      try {
        await unmountOne(context, each, runtimeDir);
      } catch (error) {
        // One that fails does not keep the others mounted.
        if (!isPeelError(error) || mounts.length === 1) throw error;
        const report = describeError(error);
        await context.stderr.write(`${report.line}\n`);
        status = report.status;
      }
    }
    return status;
  },
});

/** @throws PeelError ERR_MOUNT when nothing of ours is mounted there. */
function findMount(place: string): MountEntry {
  const entry = mountAt(whereMounted(place));
  if (entry?.type === MOUNT_TYPE) return entry;
  const found = entry === undefined ? 'nothing is mounted there' : `${entry.type} is mounted there`;
  throw new PeelError(
    'ERR_MOUNT',
    `unmounting ${place}: ${found}, want a mount of peel (peel mount lists them)`,
    {
      facts: { path: place },
    },
  );
}

/** The place as the kernel's table names it. A last component that is a link is followed if nothing lies on it. */
function whereMounted(place: string): string {
  try {
    const real = realPlace(place);
    if (mountAt(real) !== undefined) return real;
    return lstatSync(real).isSymbolicLink() ? realpathSync(real) : real;
  } catch (error) {
    throw new PeelError('ERR_MOUNT_POINT_MISSING', `unmounting ${place}: no such mount point`, {
      facts: { path: place },
      cause: error,
    });
  }
}

async function unmountOne(
  context: UmountContext,
  what: string | MountEntry,
  runtimeDir: string,
): Promise<void> {
  const folder = typeof what === 'string' ? bundleAt(what) : bundleAbove(what.mountPoint);
  const record = folder === undefined ? undefined : await readBundleRecord(folder);
  if (folder !== undefined && record !== undefined) {
    await takeBundleApart(context, folder, record);
    removeRecordsOfGoneMounts(runtimeDir, isMountedAt);
  } else await unmountEntry(context, typeof what === 'string' ? findMount(what) : what, runtimeDir);
}

/** The real path of a folder that may be a bundle. Where something is mounted, it is none, and is not looked at. */
function bundleAt(place: string): string | undefined {
  try {
    if (mountAt(realPlace(place)) !== undefined) return undefined;
    const real = realpathSync(place);
    return mountAt(real) === undefined ? real : undefined;
  } catch {
    return undefined;
  }
}

/** The bundle that a mount of ours is the lower layer of. */
function bundleAbove(mountPoint: string): string | undefined {
  return mountPoint.endsWith(`/${PLACES.lower}`) ? mountPoint.slice(0, -PLACES.lower.length - 1) : undefined;
}

/** @throws PeelError ERR_MOUNT_POINT_BUSY where a `peel run` serves it. */
async function takeBundleApart(context: UmountContext, folder: string, record: BundleRecord): Promise<void> {
  if (record.container === undefined) {
    await takeApart(folder, record, { lazy: context.flags.lazy });
    return;
  }
  // A run that was killed may still be ending.
  for (let waited = 0; waited < RUN_END_MS && isOwnerAlive(record); waited += POLL_MS) await sleep(POLL_MS);
  if (isOwnerAlive(record)) {
    throw new PeelError(
      'ERR_MOUNT_POINT_BUSY',
      `unmounting ${folder}: the container of process ${record.pid} runs on it; end that process first`,
      { facts: { path: folder, pid: record.pid } },
    );
  }
  await clearIfDead(folder);
}

async function unmountEntry(context: UmountContext, entry: MountEntry, runtimeDir: string): Promise<void> {
  const records = readRecords(runtimeDir);
  const record = records.find((candidate) => candidate.mountPoint === entry.mountPoint);
  if (await isDead(entry)) {
    await clearDeadMount(entry, records, runtimeDir);
    return;
  }
  await unmountPath(entry.mountPoint, { lazy: context.flags.lazy });
  if (record !== undefined && !context.flags.lazy) await waitForEnd(record, context.signal);
}

async function waitForEnd(record: MountRecord, signal: AbortSignal): Promise<void> {
  for (let waited = 0; waited < SERVER_END_MS && isServerAlive(record); waited += POLL_MS) {
    signal.throwIfAborted();
    await sleep(POLL_MS);
  }
}
