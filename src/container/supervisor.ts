/**
 * A shell of a few hundred kilobytes that outlives a killed `peel run` and clears up after it. It waits for a line on
 * its standard input, whose other end only the run holds: a line says that the run has cleared up by itself, the end
 * without a line that it was killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';

const SCRIPT = 'read -r line || exec "$@"';

export interface Supervisor {
  /** Nothing is left to do. */
  dismiss(): void;
}

/** `command`: what clears up, run with an environment of its own and no output. */
export function startSupervisor(command: readonly string[], env: NodeJS.ProcessEnv): Supervisor {
  const child: ChildProcess = spawn('/bin/sh', ['-c', SCRIPT, 'peel-supervisor', ...command], {
    // A session of its own: neither the keys of the terminal nor its end reach it.
    detached: true,
    cwd: '/',
    env,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // Without it, the next run clears up.
  child.on('error', () => undefined);
  child.stdin?.on('error', () => undefined);
  child.unref();
  return { dismiss: () => child.stdin?.end('done\n') };
}
