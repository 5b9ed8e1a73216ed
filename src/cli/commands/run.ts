/** `peel run`: a container on an image that was not pulled, as `docker run` starts one. */
import path from 'node:path';
import { isatty } from 'node:tty';
import { runAsUser } from '../../container/run-as-user.ts';
import { runContainer } from '../../container/run-container.ts';
import { isInUserNamespace } from '../../container/user-namespace.ts';
import { PeelError } from '../../errors.ts';
import { openRuntimeDir } from '../../fuse/mount-records.ts';
import { checkFuseDevice, hasMountCapability } from '../../fuse/preflight.ts';
import { isStandardInput, parseImageName } from '../../reference/transport.ts';
import { type Context, defineCommand } from '../command.ts';
import { CONTAINER_OPTIONS, readContainerFlags } from '../container-flags.ts';
import { MOUNT_OPTIONS, readMountFlags, servedOptionsOf } from '../mount-flags.ts';

const OPTIONS = {
  rm: { type: 'boolean', summary: 'taken for docker: a container never outlives its command' },
  interactive: { type: 'boolean', short: 'i', summary: 'the container reads standard input' },
  ...CONTAINER_OPTIONS,
  name: { type: 'string', value: 'NAME', summary: 'a name that no other running container has' },
  runtime: {
    type: 'string',
    value: 'crun|runc',
    summary: 'name or path of the OCI runtime (default: what fits)',
  },
  ...MOUNT_OPTIONS,
} as const;

export const run = defineCommand({
  name: 'run',
  summary: 'start a container without pulling its image',
  usage: ['[-it] [-e NAME=VALUE] [-v HOST:DIR] [OPTION...] IMAGE [COMMAND [ARG...]]'],
  details: [
    'What follows IMAGE is the command of the container. It starts as soon as the upper layers answer; what it reads is fetched when it reads it. Its changes are gone when it ends.',
    'The exit status is that of the command; 125 where there was no container, 126 where the command cannot be run, 127 where it is not there. Signals are handed on, TERM as the signal that the image names for stopping; the third INT or TERM kills.',
  ],
  options: OPTIONS,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  optionsFirst: true,
  failureStatus: 125,
  ownSignals: true,
  async run(context) {
    const [name = '', ...command] = context.args;
    const { flags, settings, env } = context;
    checkTerminal(context, name);
    const container = readContainerFlags(flags, command, env, terminalSize());
    const mount = readMountFlags(flags);
    const runtimeDir = await openRuntimeDir(env);
    if (!hasMountCapability() && process.geteuid?.() !== 0) {
      checkFuseDevice();
      const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
      // Who is root there has another runtime folder by default.
      const asUser = { ...env, XDG_RUNTIME_DIR: path.dirname(runtimeDir) };
      return await runAsUser(again, { env: asUser, signals: process, hasTerminal: flags.tty });
    }
    const served = servedOptionsOf(mount.readTimeoutMs, settings);
    const inUserNamespace = isInUserNamespace();
    return await runContainer({
      openImage: () => context.openImage(name, served.image),
      container,
      // The host's list of connections is not this namespace's: a watchdog could end none.
      mount: { ...mount, ...served.mount, runtimeDir, ...(inUserNamespace ? { watchdogMs: 0 } : {}) },
      cacheDir: settings.cacheDir,
      name: flags.name,
      runtime: flags.runtime,
      keepsStdin: flags.interactive,
      inUserNamespace,
      env,
      signals: process,
      clearCommand: (folder) => [
        process.execPath,
        ...process.execArgv,
        process.argv[1] ?? '',
        'umount',
        folder,
      ],
      onStarting: () => context.progress.hold(),
    });
  },
});

/** Of standard output or error; undefined where neither is a terminal. */
function terminalSize(): { readonly width: number; readonly height: number } | undefined {
  const terminal = [process.stdout, process.stderr].find((stream) => stream.isTTY);
  if (terminal === undefined) return undefined;
  return { width: terminal.columns, height: terminal.rows };
}

/** @throws PeelError ERR_USAGE. */
function checkTerminal({ flags }: Context<typeof OPTIONS>, name: string): void {
  if (flags.interactive && isStandardInput(parseImageName(name))) {
    throw new PeelError(
      'ERR_USAGE',
      'run -i -: the image comes from standard input, so the container cannot',
    );
  }
  if (!flags.tty) return;
  if (flags.interactive && !isatty(0)) {
    throw new PeelError('ERR_USAGE', 'run -it: the input device is not a TTY; leave -t out');
  }
  if (![0, 1, 2].some((fd) => isatty(fd))) {
    throw new PeelError('ERR_USAGE', 'run -t: there is no terminal to give; leave -t out');
  }
}
