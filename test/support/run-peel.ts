/**
 * Runs the program as a user does: the built `dist/cli/main.js` in a process of its own, with a home, cache and
 * runtime folder that nobody else has, a deadline, and its output captured. `npm test` builds before it
 * tests; a build that is older than the sources is refused, since it would prove nothing about them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const ROOT = path.resolve(import.meta.dirname, '..', '..');
const MAIN = path.join(ROOT, 'dist', 'cli', 'main.js');
const DEADLINE_MS = 30_000;

export interface PeelRun {
  /** Of the exit; undefined where a signal ended the process. */
  readonly status: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly deadlineMs?: number;
  /** Words in front: `['unshare', '-m', ...]`. The program then is what they start. */
  readonly wrapper?: readonly string[];
  /** Called with the process once it runs, to signal it. */
  readonly onStart?: (child: ChildProcess) => void;
}

/** A user who has never run peel. `close` removes all that was left behind. */
export class PeelUser {
  readonly home: string;

  constructor() {
    checkBuild();
    this.home = mkdtempSync(path.join(os.tmpdir(), 'peel-user-'));
    for (const name of ['cache', 'config', 'run', 'work'])
      mkdirSync(path.join(this.home, name), { mode: 0o700 });
  }

  get cacheDir(): string {
    return path.join(this.home, 'cache', 'peel');
  }

  /** A folder for the test's own files. */
  get work(): string {
    return path.join(this.home, 'work');
  }

  /** The environment of a run: nothing of the tester's, so that no real credential or setting is used. */
  get env(): NodeJS.ProcessEnv {
    const mark = process.env['PEEL_TEST_RUN'];
    return {
      PATH: process.env['PATH'],
      HOME: this.home,
      TMPDIR: os.tmpdir(),
      LC_ALL: 'C',
      TZ: 'UTC',
      XDG_CACHE_HOME: path.join(this.home, 'cache'),
      XDG_CONFIG_HOME: path.join(this.home, 'config'),
      XDG_RUNTIME_DIR: path.join(this.home, 'run'),
      ...(mark === undefined ? {} : { PEEL_TEST_RUN: mark }),
    };
  }

  /** Runs `peel ARGS`; resolves when it has ended. Rejects where the deadline passes, after killing it. */
  run(args: readonly string[], options: RunOptions = {}): Promise<PeelRun> {
    return runProcess([...(options.wrapper ?? []), process.execPath, MAIN, ...args], {
      ...options,
      env: { ...this.env, ...options.env },
    });
  }

  /** The same with standard output and error on a terminal of 80 columns; both come as `stdout`. */
  runOnTerminal(args: readonly string[], options: RunOptions = {}): Promise<PeelRun> {
    const command = [
      'stty',
      'cols',
      '80',
      '-opost',
      '&&',
      ...[process.execPath, MAIN, ...args].map(shellWord),
    ];
    return runProcess(['script', '--quiet', '--return', '--command', command.join(' '), '/dev/null'], {
      ...options,
      env: { ...this.env, TERM: 'xterm', SHELL: '/bin/sh', ...options.env },
    });
  }

  close(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

async function runProcess(
  words: readonly string[],
  options: RunOptions & { readonly env: NodeJS.ProcessEnv },
): Promise<PeelRun> {
  const [program = '', ...args] = words;
  const child = spawn(program, args, { env: options.env, stdio: ['ignore', 'pipe', 'pipe'] });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    child.kill('SIGKILL');
  }, options.deadlineMs ?? DEADLINE_MS);
  const ended = new Promise<PeelRun>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => {
      resolve({
        status: status ?? undefined,
        signal: signal ?? undefined,
        stdout: Buffer.concat(stdout),
        stderr: Buffer.concat(stderr).toString('utf8'),
      });
    });
  });
  options.onStart?.(child);
  try {
    const run = await ended;
    if (isLate) throw new Error(`'${words.join(' ')}' did not end in time; stderr: ${run.stderr}`);
    return run;
  } finally {
    clearTimeout(timer);
  }
}

let isChecked = false;

function checkBuild(): void {
  if (isChecked) return;
  const built = statSync(MAIN, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const stale = newerThan(path.join(ROOT, 'src'), built);
  if (stale !== undefined) throw new Error(`${stale} is newer than the build: run 'npm run build' first`);
  isChecked = true;
}

function newerThan(folder: string, timeMs: number): string | undefined {
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const file = path.join(folder, name);
    if (name.endsWith('.ts') && statSync(file).mtimeMs > timeMs) return file;
  }
  return undefined;
}

function shellWord(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
