/**
 * `peel mount`: shows an image as a folder. In the background by default: this process starts itself again
 * (src/fuse/background.ts), waits until the mount answers and prints where it is.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PeelError } from '../../errors.ts';
import type { SymlinkPolicy } from '../../filesystem/filesystem.ts';
import { ReadyPipe } from '../../fuse/background.ts';
import { isDead } from '../../fuse/dead-mounts.ts';
import { openRuntimeDir, readRecords } from '../../fuse/mount-records.ts';
import { MOUNT_TYPE, readMountTable } from '../../fuse/mount-table.ts';
import { serve, tellStatistics } from '../../fuse/serve.ts';
import { log } from '../../log.ts';
import { logMissing } from '../../mount/growth.ts';
import { canGrow, type MountedImage, type MountImageOptions, mountImage } from '../../mount.ts';
import { BEFORE_SERVING, serveForParent, startInBackground } from '../background-server.ts';
import { type Context, defineCommand } from '../command.ts';
import { type Interruption, listenForInterruption } from '../interruption.ts';
import { EntryWriter } from '../json-output.ts';
import {
  type FlaggedMountOptions,
  MOUNT_OPTIONS,
  parseSeconds,
  readMountFlags,
  servedOptionsOf,
} from '../mount-flags.ts';
import { parseMountOptions } from '../mount-options.ts';
import { quoteText } from '../quote.ts';
import { formatTable } from '../table.ts';

const OPTIONS = {
  foreground: { type: 'boolean', short: 'f', summary: 'stay in the foreground, log to standard error' },
  option: {
    type: 'string',
    short: 'o',
    multiple: true,
    value: 'OPT,...',
    summary: 'allow_other, suid, dev, nonempty, uid=N, gid=N',
  },
  symlinks: {
    type: 'string',
    value: 'raw|contain',
    summary: 'link targets as in the image, or kept inside the mount (default: raw)',
  },
  'no-wait': {
    type: 'boolean',
    summary:
      'be done once the mount answers, though layers are still being indexed; what is not known yet waits',
  },
  timeout: {
    type: 'string',
    value: 'S',
    summary: 'seconds until the mount must answer (default: 30)',
  },
  ...MOUNT_OPTIONS,
} as const;

type MountContext = Context<typeof OPTIONS>;

const DEFAULT_TIMEOUT_S = 30;
/** A mount in use is closed when its last user leaves: so long that is waited for. */
const CLOSE_MS = 1000;
export const mount = defineCommand({
  name: 'mount',
  summary: 'show an image as a read-only folder',
  usage: ['[-f] [-o OPT,...] IMAGE [DIR]', ''],
  details: [
    'Without DIR a folder below the runtime folder is made. The mount point is printed once the whole image is there. Without IMAGE the mounts there are get listed.',
    'The mount answers at once: what the upper layers say by themselves while the lower ones are still being indexed, the rest when it is known. With --no-wait the command is done then, too.',
    'The mount is ro,nosuid,nodev,noatime,default_permissions. TERM and INT unmount it, HUP reads credentials again, USR1 logs statistics.',
  ],
  options: OPTIONS,
  minArgs: 0,
  maxArgs: 2,
  ownSignals: true,
  async run(context) {
    const [name, place] = context.args;
    if (name === undefined) return listMounts(context);
    const options = await readOptions(context);
    const pipe = ReadyPipe.inherited(context.env);
    if (pipe !== undefined) return serveInBackground(context, name, place, options, pipe);
    return context.flags.foreground
      ? serveInForeground(context, name, place, options)
      : startInBackground(context, name, options.timeoutMs);
  },
});

interface MountOptions {
  readonly mount: MountImageOptions & FlaggedMountOptions;
  readonly timeoutMs: number;
  /** The command is done when all layers are known. */
  readonly waits: boolean;
}

async function readOptions(context: MountContext): Promise<MountOptions> {
  const { flags, settings } = context;
  const symlinks = flags.symlinks ?? 'raw';
  if (symlinks !== 'raw' && symlinks !== 'contain') {
    throw new PeelError('ERR_USAGE', `--symlinks: '${symlinks}' is neither raw nor contain`);
  }
  const waits = !flags['no-wait'];
  const fromFlags = readMountFlags(flags);
  if (!waits && !canGrow(fromFlags.transport, symlinks)) {
    const reason = symlinks === 'raw' ? `--transport ${flags.transport}` : `--symlinks ${symlinks}`;
    throw new PeelError('ERR_USAGE', `--no-wait: ${reason} shows nothing before all layers are known`);
  }
  return {
    waits,
    timeoutMs: parseSeconds(flags.timeout, '--timeout', DEFAULT_TIMEOUT_S, 1) * 1000,
    mount: {
      ...parseMountOptions(flags.option),
      ...fromFlags,
      symlinks: symlinks satisfies SymlinkPolicy,
      runtimeDir: await openRuntimeDir(context.env),
      outside: [settings.cacheDir, settings.authfile, settings.tlsCa].filter((file) => file !== undefined),
    },
  };
}

interface Notices {
  /** Called when the mount answers. */
  readonly onMounted: () => void;
  /** Messages of the served mount. */
  readonly onMessage: (message: string) => void;
}

/** Opens and mounts; TERM and INT end both, and nothing stays mounted. */
async function openAndMount(
  context: MountContext,
  name: string,
  place: string | undefined,
  { mount: options, waits }: MountOptions,
  onMounted: () => void,
  interruption: Interruption,
): Promise<MountedImage> {
  let close: (() => Promise<void>) | undefined;
  const forServed = servedOptionsOf(options.readTimeoutMs, context.settings);
  const opening = context.openImage(name, forServed.image).then(async (image) => {
    close = () => image.close();
    const mounted = await mountImage(image, place, { ...options, ...forServed.mount });
    onMounted();
    if (waits) await untilWhole(mounted);
    else mounted.whole.catch(logMissing);
    return mounted;
  });
  try {
    return await Promise.race([opening, interruption.interrupted]);
  } catch (error) {
    if (interruption.signal.aborted && close !== undefined) {
      // Closing ends the indexing; a mount that came about meanwhile is taken down again.
      const [mounted] = await Promise.allSettled([opening, close()]);
      if (mounted.status === 'fulfilled') await mounted.value.unmount({ lazy: true });
    }
    throw error;
  }
}

/** Where a layer cannot be read, there is no mount any more. */
async function untilWhole(mounted: MountedImage): Promise<void> {
  const onUsr1 = (): void => tellStatistics(mounted);
  process.on('SIGUSR1', onUsr1);
  try {
    await mounted.whole;
  } catch (error) {
    mounted.interruptReads();
    const unmounted = mounted.unmount({ lazy: true }).then(() => mounted.closed);
    unmounted.catch((failure: unknown) => log().warn({ err: failure }, 'not unmounted'));
    // Who still looks into it leaves when this process does.
    await Promise.race([unmounted.catch(() => undefined), sleep(CLOSE_MS, undefined, { ref: false })]);
    throw error;
  } finally {
    process.off('SIGUSR1', onUsr1);
  }
}

/**
 * Opens, mounts and begins to serve. The listeners of `serve` are there before those of the opening go: without any,
 * a signal would end the process and leave a dead mount.
 */
async function openAndServe(
  context: MountContext,
  name: string,
  place: string | undefined,
  options: MountOptions,
  { onMounted, onMessage }: Notices,
): Promise<{ readonly mounted: MountedImage; readonly served: Promise<void> }> {
  const interruption = listenForInterruption(process, BEFORE_SERVING);
  try {
    const mounted = await openAndMount(context, name, place, options, onMounted, interruption);
    const served = serve(mounted, { signals: process, tell: onMessage });
    // It came when the mount was already there, and nobody was left to act on it.
    if (interruption.signal.aborted) await mounted.unmount({ lazy: true });
    return { mounted, served };
  } finally {
    interruption.end();
  }
}

async function serveInForeground(
  context: MountContext,
  name: string,
  place: string | undefined,
  options: MountOptions,
): Promise<number> {
  const { mounted, served } = await openAndServe(context, name, place, options, {
    onMounted: () => undefined,
    onMessage: (message) => tell(context, message),
  });
  context.progress.clear();
  await context.stdout.write(`${mounted.mountPoint}\n`);
  await context.stdout.flush();
  await served;
  return 0;
}

/** The part of the child. */
function serveInBackground(
  context: MountContext,
  name: string,
  place: string | undefined,
  options: MountOptions,
  pipe: ReadyPipe,
): Promise<number> {
  return serveForParent(context, options.mount.runtimeDir, pipe, async (logFile) => {
    const mountOptions = { ...options.mount, logFile, onMounting: () => pipe.mounting() };
    const { mounted, served } = await openAndServe(
      context,
      name,
      place,
      { ...options, mount: mountOptions },
      { onMounted: () => pipe.mounted(), onMessage: () => undefined },
    );
    return { place: mounted.mountPoint, served, unmount: () => mounted.unmount({ lazy: true }) };
  });
}

function tell(context: MountContext, message: string): void {
  context.warn(message).catch(() => undefined); // whoever closed it does not want to read it
}

/** As far as layers are known. */
const STATE_OF = { whole: 'alive', growing: 'indexing', stuck: 'incomplete' } as const;

async function listMounts(context: MountContext): Promise<number> {
  const records = readRecords(await openRuntimeDir(context.env));
  const entries = readMountTable().filter((entry) => entry.type === MOUNT_TYPE);
  const areDead = await Promise.all(entries.map(isDead));
  const mounts = entries.map((entry, index) => {
    const record = records.find((candidate) => candidate.mountPoint === entry.mountPoint);
    return {
      mountPoint: entry.mountPoint,
      image: record?.image ?? entry.source.replace(/^peel:/, ''),
      digest: record?.digest,
      pid: record?.pid,
      startedAt: record?.startedAt,
      state: areDead[index] === true ? 'dead' : STATE_OF[record?.state ?? 'whole'],
    };
  });
  if (context.settings.format !== 'table') {
    const writer = new EntryWriter(context, 'mounts');
    for (const each of mounts) await writer.write(each);
    await writer.end();
    return 0;
  }
  if (mounts.length === 0) return 0;
  await context.stdout.write(
    formatTable(
      [
        { heading: 'MOUNT POINT' },
        { heading: 'IMAGE' },
        { heading: 'DIGEST' },
        { heading: 'PID' },
        { heading: 'STATE' },
      ],
      mounts.map((each) => [
        quoteText(each.mountPoint),
        quoteText(each.image),
        each.digest?.slice(0, 19) ?? '-',
        String(each.pid ?? '-'),
        each.state,
      ]),
    ),
  );
  return 0;
}
