// Starts processes for the benchmarks: never blocking this one, which is the proxy and catches signals.
import { spawn } from 'node:child_process';

/** Nothing here takes longer on a slow link. */
const DEADLINE_MS = 20 * 60_000;
/** Of standard error, for the message of a failure. */
const MAX_ERROR_TEXT = 4000;

/**
 * Runs a command to its end and resolves with its standard output.
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {readonly string[]} words the program and its arguments
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, quiet?: boolean, status?: number, onFirstOutput?: () => void}} [options]
 * `quiet`: standard output is dropped; `status`: the exit status to expect; `env`: beside that of the run
 * @returns {Promise<string>}
 * @throws {Error} naming the command, its status and the end of its standard error
 */
export function run(scratch, words, { cwd, env, quiet = false, status = 0, onFirstOutput } = {}) {
  if (scratch.closed) return Promise.reject(new Error('the benchmark is ending'));
  const [program = '', ...args] = words;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...scratch.env, ...env },
      stdio: ['ignore', quiet ? 'ignore' : 'pipe', 'pipe'],
      timeout: DEADLINE_MS,
      killSignal: 'SIGKILL',
    });
    scratch.children.add(child);
    const output = [];
    let errors = '';
    child.stdout?.on('data', (chunk) => {
      if (output.length === 0) onFirstOutput?.();
      output.push(chunk);
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      errors = (errors + text).slice(-MAX_ERROR_TEXT);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      scratch.children.delete(child);
      if (code === status) resolve(Buffer.concat(output).toString());
      else
        reject(
          new CommandError(
            `${words.join(' ')}: exit ${code ?? signal}\n${errors}`.trimEnd(),
            code ?? undefined,
          ),
        );
    });
  });
}

export class CommandError extends Error {
  /** @param {string} message @param {number | undefined} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * Wall seconds of what `job` does.
 * @param {() => Promise<unknown>} job
 */
export async function secondsOf(job) {
  const started = process.hrtime.bigint();
  await job();
  return Number(process.hrtime.bigint() - started) / 1e9;
}
