/**
 * The two ends of a command whose work goes on in the background, as a user's shell sees them: the parent waits,
 * prints the place and ends; the child serves it until it is unmounted (src/fuse/background.ts joins them).
 */
import { mkdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { EXIT_STATUS_OF, PeelError, systemCodeOf } from '../errors.ts';
import { mountInBackground, type ReadyPipe } from '../fuse/background.ts';
import { LOG_FOLDER, removeLogsOfDeadServers } from '../fuse/mount-records.ts';
import { configureLog } from '../log.ts';
import { isStandardInput, parseImageName } from '../reference/transport.ts';
import type { Context } from './command.ts';
import { type InterruptionOptions, listenForInterruption } from './interruption.ts';

type BackgroundContext = Pick<Context, 'settings' | 'env' | 'stdout' | 'stderr' | 'progress'>;

/**
 * Signals before there is a mount to serve. HUP ends it as TERM and INT do: left alone it would end the process and
 * might leave a mount. USR1 has nothing to tell before it answers; left alone it makes Node open a port for debuggers.
 */
export const BEFORE_SERVING: InterruptionOptions = {
  by: ['SIGTERM', 'SIGINT', 'SIGHUP'],
  ignored: ['SIGUSR1'],
};

export interface ServedPlace {
  readonly place: string;
  /** Resolves when it is served no more. */
  readonly served: Promise<void>;
  unmount(): Promise<void>;
}

/**
 * The part of the child. `begin` resolves when the place answers. Its failure goes through the pipe: the parent prints
 * it and has its exit status.
 */
export async function serveForParent(
  context: BackgroundContext,
  runtimeDir: string,
  pipe: ReadyPipe,
  begin: (logFile: string) => Promise<ServedPlace>,
): Promise<number> {
  const folder = path.join(runtimeDir, LOG_FOLDER);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  removeLogsOfDeadServers(runtimeDir);
  const logFile = path.join(folder, `mount-${process.pid}.log`);
  configureLog(context.settings.logLevel ?? 'warn', logFile);
  try {
    const server = await begin(logFile);
    context.progress.clear();
    // Whoever started this was killed meanwhile: what it cannot tell of must not stay mounted.
    if (!pipe.ready(server.place)) await server.unmount();
    await server.served;
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

/** The part of the parent: prints where it is. `name` is the image's. */
export async function startInBackground(
  context: BackgroundContext,
  name: string,
  timeoutMs: number,
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
      timeoutMs,
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
