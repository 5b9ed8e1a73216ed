/**
 * `peel umount`: takes mounts of ours out of the tree, living and dead ones. What is mounted is read from the
 * kernel's table; a mount point is never looked at, because a hanging server would hang us as well.
 */
import { lstatSync, realpathSync } from 'node:fs';
import { isPeelError, PeelError } from '../../errors.ts';
import { clearDeadMount, isDead } from '../../fuse/dead-mounts.ts';
import { isServerAlive, type MountRecord, openRuntimeDir, readRecords } from '../../fuse/mount-records.ts';
import { MOUNT_TYPE, type MountEntry, mountAt, mountsOf } from '../../fuse/mount-table.ts';
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
const POLL_MS = 20;

export const umount = defineCommand({
  name: 'umount',
  summary: 'unmount what mount has mounted',
  usage: ['[--lazy] DIR...', '[--lazy] -a'],
  details: ['A mount whose server has died is cleared as well.'],
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
        const entry = typeof each === 'string' ? findMount(each) : each;
        await unmountOne(context, entry, runtimeDir);
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

async function unmountOne(context: UmountContext, entry: MountEntry, runtimeDir: string): Promise<void> {
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
    await new Promise((resolve) => {
      setTimeout(resolve, POLL_MS);
    });
  }
}
