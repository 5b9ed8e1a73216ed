/** A command of ours again, in a user namespace: signals go in, the exit status comes out. */
import { spawn } from 'node:child_process';
import os from 'node:os';
import { PeelError } from '../errors.ts';
import { FORWARDED, type Signals } from './run-container.ts';
import { namespaceWords } from './user-namespace.ts';

export interface RunAsUserOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly signals: Signals;
  /** It needs the terminal's foreground group. */
  readonly hasTerminal: boolean;
}

/** @throws PeelError ERR_PERMISSION where the host has no user namespaces for users. */
export async function runAsUser(command: readonly string[], options: RunAsUserOptions): Promise<number> {
  const [program = '', ...args] = [...namespaceWords(), ...command];
  const child = spawn(program, args, {
    env: options.env,
    stdio: 'inherit',
    // In a session of its own the keys of the terminal reach it once, through us.
    detached: !options.hasTerminal,
  });
  const listeners = FORWARDED.map((name) => [name, () => child.kill(name)] as const);
  for (const [name, listener] of listeners) options.signals.on(name, listener);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (error) => {
        reject(new PeelError('ERR_CONTAINER', `starting ${program}: ${error.message}`, { cause: error }));
      });
      child.once('close', (code, signal) => {
        resolve(code ?? 128 + (signal === null ? 0 : os.constants.signals[signal]));
      });
    });
  } finally {
    for (const [name, listener] of listeners) options.signals.off(name, listener);
  }
}
