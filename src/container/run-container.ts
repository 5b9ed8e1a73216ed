/**
 * One container from start to end, in the foreground: `peel run`. The runtime has our standard input, output and
 * error, so that bytes and terminal are the container's; this process serves its file system meanwhile.
 *
 *   folder ─► supervisor ─► bundle ─► runtime … exit status ─► taken apart
 *
 * What is made is made after something that undoes it: the record in the folder (the next run reads it), the
 * supervisor (a killed run), and the `finally` here.
 */
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { isPeelError, PeelError } from '../errors.ts';
import { startTicksOf } from '../fuse/mount-records.ts';
import type { Image } from '../image.ts';
import type { MountImageOptions } from '../mount.ts';
import { type Bundle, makeBundle } from './bundle.ts';
import { type BundleRecord, PLACES, takeApart } from './bundle-folder.ts';
import { clearDeadContainers, reserveContainerFolder } from './container-folders.ts';
import { cgroupLayout, cgroupsPathOf } from './host-cgroups.ts';
import type { ContainerOptions } from './oci-config.ts';
import { failureOf, findRuntime, type Runtime, startRuntime } from './runtime.ts';
import { signalNumberOf } from './stop-signal.ts';
import { startSupervisor } from './supervisor.ts';

/** What is handed to the container as it comes. TERM stops it: with the signal that the image names. */
export const FORWARDED = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
] as const;
export type ForwardedSignal = (typeof FORWARDED)[number];
/** Of INT and TERM; then a container that is deaf to them is killed, as docker does. */
const SIGNALS_UNTIL_KILL = 3;
/** 128 + SIGKILL */
const KILLED = 137;

export interface Signals {
  on(signal: ForwardedSignal, listener: () => void): unknown;
  off(signal: ForwardedSignal, listener: () => void): unknown;
}

export interface RunOptions {
  /** Called once the folder is there. */
  readonly openImage: () => Promise<Image>;
  readonly container: ContainerOptions;
  readonly mount: MountImageOptions;
  readonly cacheDir: string;
  readonly name: string | undefined;
  /** Name or path; undefined: what fits this host. */
  readonly runtime: string | undefined;
  readonly keepsStdin: boolean;
  readonly inUserNamespace: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly signals: Signals;
  /** The command that clears a folder up after a killed run. */
  readonly clearCommand: (folder: string) => readonly string[];
  /** Nothing of ours may be written to the terminal any more. */
  readonly onStarting: () => void;
}

/** Until the container runs, a signal ends the run; then it is handed on. */
class SignalRelay {
  readonly interrupted: Promise<never>;
  readonly #signals: Signals;
  readonly #listeners: readonly (readonly [ForwardedSignal, () => void])[];
  #child: ChildProcess | undefined;
  #stopSignal: number | undefined;
  #stops = 0;
  #interrupt: (reason: PeelError) => void = () => undefined;

  constructor(signals: Signals) {
    this.#signals = signals;
    this.interrupted = new Promise<never>((_resolve, reject) => {
      this.#interrupt = reject;
    });
    this.interrupted.catch(() => undefined); // whoever waits is told
    this.#listeners = FORWARDED.map((name) => [name, () => this.#take(name)]);
    for (const [name, listener] of this.#listeners) signals.on(name, listener);
  }

  handTo(child: ChildProcess, stopSignal: string): void {
    this.#child = child;
    this.#stopSignal = signalNumberOf(stopSignal);
  }

  end(): void {
    for (const [name, listener] of this.#listeners) this.#signals.off(name, listener);
  }

  #take(name: ForwardedSignal): void {
    const isStop = name === 'SIGINT' || name === 'SIGTERM';
    if (isStop) this.#stops += 1;
    if (this.#child === undefined) {
      if (isStop || name === 'SIGHUP' || name === 'SIGQUIT') {
        this.#interrupt(new PeelError('ERR_INTERRUPTED', `interrupted by ${name}`));
      }
      return;
    }
    // The runtime gone, its container is ended by whoever takes the bundle apart.
    if (this.#stops >= SIGNALS_UNTIL_KILL) this.#child.kill('SIGKILL');
    else this.#child.kill(name === 'SIGTERM' ? (this.#stopSignal ?? name) : name);
  }
}

/**
 * Runs one container; resolves with its exit status when nothing of it is left.
 * @throws PeelError ERR_COMMAND_NOT_FOUND, ERR_COMMAND_NOT_EXECUTABLE, ERR_CONTAINER, ERR_INTERRUPTED, and what opening
 * and mounting the image say.
 */
export async function runContainer(options: RunOptions): Promise<number> {
  const { cacheDir, mount } = options;
  const runtime = findRuntime(options.runtime, mount.runtimeDir, {
    env: options.env,
    hasTerminal: options.container.hasTerminal,
  });
  checkLimits(options);
  await clearDeadContainers(cacheDir, mount.runtimeDir);
  const relay = new SignalRelay(options.signals);
  try {
    const image = await Promise.race([options.openImage(), relay.interrupted]);
    const id = randomBytes(6).toString('hex');
    const folder = await reserveContainerFolder(options.name ?? id, cacheDir, mount.runtimeDir);
    const supervisor = startSupervisor(options.clearCommand(folder), options.env);
    try {
      return await runIn(folder, id, image, runtime, relay, options);
    } finally {
      supervisor.dismiss();
    }
  } finally {
    relay.end();
  }
}

/** @throws PeelError ERR_CONTAINER where a limit is asked for that nothing can keep. */
function checkLimits({ container, inUserNamespace }: RunOptions): void {
  if (container.memory === undefined && container.cpus === undefined) return;
  const why = inUserNamespace ? 'without root there is no cgroup to set it in' : 'this host has no cgroups';
  if (inUserNamespace || cgroupLayout() === 'none') {
    const which = container.memory === undefined ? '--cpus' : '--memory';
    throw new PeelError('ERR_CONTAINER', `${which}: ${why}; run it without`);
  }
}

async function runIn(
  folder: string,
  id: string,
  image: Image,
  runtime: Runtime,
  relay: SignalRelay,
  options: RunOptions,
): Promise<number> {
  const record: BundleRecord = {
    pid: process.pid,
    startTicks: startTicksOf(process.pid) ?? '',
    image: image.name,
    digest: image.digest,
    ownsFolder: true,
    container: { id, runtime },
  };
  const making = makeBundle({
    image,
    folder,
    record,
    mount: options.mount,
    container: options.container,
    shortName: id,
    inUserNamespace: options.inUserNamespace,
    cgroupsPath: options.inUserNamespace ? undefined : cgroupsPathOf(id),
    isVolatile: true,
  });
  let bundle: Bundle;
  try {
    bundle = await Promise.race([making, relay.interrupted]);
  } catch (error) {
    if (isPeelError(error, 'ERR_INTERRUPTED')) {
      // What waits for a layer ends with the image.
      await image.close();
      const [made] = await Promise.allSettled([making]);
      if (made.status === 'fulfilled') await takeApart(folder, record, { lazy: true });
    }
    throw error;
  } finally {
    removeIfEmpty(folder);
  }
  try {
    mkdirSync(runtime.root, { recursive: true, mode: 0o700 });
    return await startAndWait(folder, id, runtime, relay, bundle, options);
  } finally {
    bundle.mounted.interruptReads();
    await takeApart(folder, record, { lazy: true });
  }
}

/** What failed before anything was in it. */
function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // there is something in it, as there should be
  }
}

async function startAndWait(
  folder: string,
  id: string,
  runtime: Runtime,
  relay: SignalRelay,
  bundle: Bundle,
  options: RunOptions,
): Promise<number> {
  options.onStarting();
  const logFile = path.join(folder, PLACES.log);
  const stdio: StdioOptions = [options.keepsStdin ? 'inherit' : 'ignore', 'inherit', 'inherit'];
  const child = startRuntime(
    runtime,
    { id, bundle: folder, logFile },
    // With a terminal the runtime is in the foreground group, as the kernel tells that of a new window size.
    { env: options.env, stdio, isDetached: !options.container.hasTerminal },
  );
  relay.handTo(child, bundle.stopSignal);
  const status = await new Promise<number>((resolve, reject) => {
    child.once('error', (error) => {
      reject(
        new PeelError('ERR_CONTAINER', `starting ${runtime.program}: ${error.message}`, { cause: error }),
      );
    });
    child.once('close', (code, signal) => {
      resolve(code ?? (signal === null ? KILLED : 128 + os.constants.signals[signal]));
    });
  });
  const failure = status === 0 ? undefined : failureOf(runtime, logFile, bundle.command);
  if (failure !== undefined) throw failure;
  return status;
}
