/**
 * `peel mount`: shows an image as a folder. In the background by default: this process starts itself again
 * (src/fuse/background.ts), waits until the mount answers and prints where it is.
 */
import { mkdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT_STATUS_OF, PeelError, systemCodeOf } from '../../errors.ts';
import type { SymlinkPolicy } from '../../filesystem/filesystem.ts';
import { mountInBackground, ReadyPipe } from '../../fuse/background.ts';
import { isDead } from '../../fuse/dead-mounts.ts';
import {
  LOG_FOLDER,
  openRuntimeDir,
  readRecords,
  removeLogsOfDeadServers,
} from '../../fuse/mount-records.ts';
import { MOUNT_TYPE, readMountTable } from '../../fuse/mount-table.ts';
import { serve, tellStatistics } from '../../fuse/serve.ts';
import { TRANSPORT_NAMES, TRANSPORTS, type TransportName } from '../../fuse/transports.ts';
import { configureLog, log } from '../../log.ts';
import { logMissing } from '../../mount/growth.ts';
import { canGrow, type MountedImage, type MountImageOptions, mountImage } from '../../mount.ts';
import { isStandardInput, parseImageName } from '../../reference/transport.ts';
import { type Context, defineCommand } from '../command.ts';
import { type Interruption, type InterruptionOptions, listenForInterruption } from '../interruption.ts';
import { EntryWriter } from '../json-output.ts';
import { parseMountOptions } from '../mount-options.ts';
import { quoteText } from '../quote.ts';
import { formatTable } from '../table.ts';

const DEFAULT_TRANSPORT: TransportName = 'native';

const OPTIONS = {
  foreground: { type: 'boolean', short: 'f', summary: 'stay in the foreground, log to standard error' },
  option: {
    type: 'string',
    short: 'o',
    multiple: true,
    value: 'OPT,...',
    summary: 'allow_other, suid, dev, nonempty, uid=N, gid=N',
  },
  passthrough: {
    type: 'boolean',
    summary: 'the kernel reads large files from the cache by itself (root, Linux 6.9); open(2) costs more',
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
  'read-timeout': {
    type: 'string',
    value: 'S',
    summary:
      'seconds until a read without bytes, or a look at what is not indexed while nothing comes, ends with EIO; 0 waits for ever (default: 60)',
  },
  transport: {
    type: 'string',
    value: 'native|fuse-native',
    summary: `how the kernel is answered: by native threads, or through libfuse 2 (default: ${DEFAULT_TRANSPORT})`,
  },
  'io-uring': {
    type: 'string',
    value: 'auto|off',
    summary: 'native: requests over io_uring where the kernel has it on, or never (default: auto)',
  },
  watchdog: {
    type: 'string',
    value: 'S',
    summary: 'native: seconds without a sign of life until the mount is cut off; 0 never (default: 90)',
  },
} as const;

type MountContext = Context<typeof OPTIONS>;

/**
 * Signals before there is a mount to serve. HUP ends it as TERM and INT do: left alone it would end the process and
 * might leave a mount. USR1 has nothing to tell before it answers; left alone it makes Node open a port for debuggers.
 */
const BEFORE_SERVING: InterruptionOptions = { by: ['SIGTERM', 'SIGINT', 'SIGHUP'], ignored: ['SIGUSR1'] };

/** Smaller files gain nothing that an OPEN of their backing file would not cost again: docs/ARCHITECTURE.md. */
const PASSTHROUGH_FROM_BYTES = 1024 * 1024;
const DEFAULT_TIMEOUT_S = 30;
const DEFAULT_READ_TIMEOUT_S = 60;
const DEFAULT_WATCHDOG_S = 90;
/** The watchdog is a guard against what never ends by itself. */
const MAX_WATCHDOG_S = 24 * 60 * 60;
/** A read ends at the latest so long after its deadline. */
const BACKSTOP_MS = 1000;
/** A mount in use is closed when its last user leaves: so long that is waited for. */
const CLOSE_MS = 1000;
/** setTimeout takes 31 bits of milliseconds. */
const MAX_TIMEOUT_S = 2_000_000;

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
      : startInBackground(context, name, options);
  },
});

interface MountOptions {
  readonly mount: MountImageOptions;
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
  const transport = TRANSPORT_NAMES.find((name) => name === (flags.transport ?? DEFAULT_TRANSPORT));
  if (transport === undefined) {
    throw new PeelError('ERR_USAGE', `--transport: '${flags.transport}' is neither native nor fuse-native`);
  }
  const ioUring = flags['io-uring'] ?? 'auto';
  if (ioUring !== 'auto' && ioUring !== 'off') {
    throw new PeelError('ERR_USAGE', `--io-uring: '${ioUring}' is neither auto nor off`);
  }
  if (flags.passthrough && transport !== 'native') {
    throw new PeelError('ERR_USAGE', `--passthrough: not with --transport ${transport}`);
  }
  const watchdog = seconds(flags.watchdog, '--watchdog', DEFAULT_WATCHDOG_S, 0);
  if (watchdog > MAX_WATCHDOG_S) {
    throw new PeelError('ERR_USAGE', `--watchdog: ${watchdog} s is more than a day, ${MAX_WATCHDOG_S} s`);
  }
  const waits = !flags['no-wait'];
  if (!waits && !canGrow(TRANSPORTS[transport], symlinks)) {
    const reason = symlinks === 'raw' ? `--transport ${transport}` : `--symlinks ${symlinks}`;
    throw new PeelError('ERR_USAGE', `--no-wait: ${reason} shows nothing before all layers are known`);
  }
  return {
    waits,
    timeoutMs: seconds(flags.timeout, '--timeout', DEFAULT_TIMEOUT_S, 1) * 1000,
    mount: {
      ...parseMountOptions(flags.option),
      symlinks: symlinks satisfies SymlinkPolicy,
      readTimeoutMs: seconds(flags['read-timeout'], '--read-timeout', DEFAULT_READ_TIMEOUT_S, 0) * 1000,
      transport: TRANSPORTS[transport],
      watchdogMs: watchdog * 1000,
      ioUring: ioUring === 'auto',
      ...(flags.passthrough ? { passthroughFrom: PASSTHROUGH_FROM_BYTES } : {}),
      runtimeDir: await openRuntimeDir(context.env),
      outside: [settings.cacheDir, settings.authfile, settings.tlsCa].filter((file) => file !== undefined),
    },
  };
}

function seconds(text: string | undefined, what: string, otherwise: number, least: number): number {
  if (text === undefined) return otherwise;
  const value = /^\d{1,9}(\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= MAX_TIMEOUT_S) return value;
  throw new PeelError(
    'ERR_USAGE',
    `${what}: '${text}' is not a number of seconds from ${least} to ${MAX_TIMEOUT_S}`,
  );
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
  const { readTimeoutMs } = options;
  // The image's own deadline knows the layer and the range; the transport's comes behind it, for what is deaf.
  const deadlines = {
    image: readTimeoutMs === undefined ? {} : { readDeadlineMs: readTimeoutMs },
    mount:
      readTimeoutMs === undefined || readTimeoutMs === 0
        ? {}
        : { readTimeoutMs: readTimeoutMs + BACKSTOP_MS },
  };
  const opening = context.openImage(name, deadlines.image).then(async (image) => {
    close = () => image.close();
    const mounted = await mountImage(image, place, { ...options, ...deadlines.mount });
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

/** The part of the child. Its failure goes through the pipe: the parent prints it and has its exit status. */
async function serveInBackground(
  context: MountContext,
  name: string,
  place: string | undefined,
  options: MountOptions,
  pipe: ReadyPipe,
): Promise<number> {
  const folder = path.join(options.mount.runtimeDir, LOG_FOLDER);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  removeLogsOfDeadServers(options.mount.runtimeDir);
  const logFile = path.join(folder, `mount-${process.pid}.log`);
  configureLog(context.settings.logLevel ?? 'warn', logFile);
  try {
    const mountOptions = { ...options.mount, logFile, onMounting: () => pipe.mounting() };
    const { mounted, served } = await openAndServe(
      context,
      name,
      place,
      { ...options, mount: mountOptions },
      { onMounted: () => pipe.mounted(), onMessage: () => undefined },
    );
    context.progress.clear();
    // Whoever started this was killed meanwhile: what it cannot tell of must not stay mounted.
    if (!pipe.ready(mounted.mountPoint)) await mounted.unmount({ lazy: true });
    await served;
    rmSync(logFile, { force: true });
    return 0;
  } catch (error) {
    const hint = isEmptyFile(logFile) ? '' : ` (log: ${logFile})`;
    if (hint === '') rmSync(logFile, { force: true });
    const failure = error instanceof PeelError ? error : new PeelError('ERR_MOUNT', String(error));
    pipe.failed(new PeelError(failure.code, `${failure.message}${hint}`));
    return EXIT_STATUS_OF[failure.code];
  }
}

function isEmptyFile(file: string): boolean {
  return (statSync(file, { throwIfNoEntry: false })?.size ?? 0) === 0;
}

async function startInBackground(
  context: MountContext,
  name: string,
  options: MountOptions,
): Promise<number> {
  const { progress } = context.settings;
  const interruption = listenForInterruption(process, BEFORE_SERVING);
  try {
    const { mountPoint, pid } = await mountInBackground({
      argv: process.argv.slice(1),
      // The child's standard error is a pipe to us: a bar cannot be drawn through it, lines can.
      env:
        progress === 'auto' && context.stderr.isTerminal
          ? { PEEL_PROGRESS: 'plain', ...context.env }
          : context.env,
      needsStdin: isStandardInput(parseImageName(name)),
      timeoutMs: options.timeoutMs,
      signal: interruption.signal,
      onStderr: (chunk) => {
        context.stderr.write(chunk).catch(() => undefined); // whoever closed it does not want to read it
      },
    });
    try {
      await context.stdout.write(`${mountPoint}\n`);
      await context.stdout.flush();
    } catch (error) {
      // A command that fails leaves no mount behind. Who left early (EPIPE) did not fail.
      if (systemCodeOf(error) !== 'EPIPE') process.kill(pid, 'SIGTERM');
      throw error;
    }
    return 0;
  } finally {
    interruption.end();
  }
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
