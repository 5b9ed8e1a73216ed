/**
 * Mounts in child processes, with a promise kept whatever a test does: after `closeMounts` no server, no
 * mount and no file of it is left. A server that must go is killed with SIGKILL: the kernel then aborts the
 * connection, and whoever hangs in the mount is freed.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { whyNoIoUring } from '../../src/fuse/io-uring.ts';
import type { LiteralNode } from './literal-tree.mjs';

const READY_DEADLINE_MS = 20_000;
const RUN_DEADLINE_MS = 20_000;

/** The compiled program: `npm test` makes it before the tests run. */
export const DIST = process.env['PEEL_TEST_DIST'] ?? path.resolve(import.meta.dirname, '..', '..', 'dist');

/** Why mounts cannot be tested here, or undefined. */
export function whyNoMounts(): string | undefined {
  if (process.geteuid?.() !== 0) return 'mount tests run as root';
  return existsSync('/dev/fuse') ? undefined : 'there is no /dev/fuse';
}

/** Why FUSE over io_uring cannot be tested here, or undefined. Where it can, every native mount uses it. */
export function whyNoUring(): string | undefined {
  return whyNoMounts() ?? whyNoIoUring();
}

export type TransportName = 'native' | 'native by /dev/fuse' | 'fuse-native';
/** All ways to the kernel; the suites of `test/mount/` run over each. */
export const TRANSPORTS: readonly TransportName[] = [
  'native',
  ...(whyNoUring() === undefined ? (['native by /dev/fuse'] as const) : []),
  'fuse-native',
];

/** What `peel mount` is told for one. */
export function transportFlags(transport: TransportName): string[] {
  return transport === 'native by /dev/fuse'
    ? ['--transport', 'native', '--io-uring', 'off']
    : ['--transport', transport];
}

/** The native transport again, with every file that is opened a second time read by the kernel itself. */
export const PASSTHROUGH = 'native, passthrough';
/** Where the kernel has no passthrough, that is as native without it. */
export const WAYS = [...TRANSPORTS, PASSTHROUGH] as const;

export interface MountRequest {
  readonly root: LiteralNode;
  /** Default: native. */
  readonly transport?: (typeof WAYS)[number];
  /** Default: a new empty folder. */
  readonly place?: string;
  readonly name?: string;
  readonly options?: Readonly<Record<string, unknown>>;
  /** The layer also lies there as cached spans, all of them verified. */
  readonly cached?: { readonly folder: string; readonly spanBytes: number };
  /** A program that runs the server: `['unshare', '-m', ...]`. */
  readonly wrapper?: readonly string[];
  /** The server runs as another user, who must be able to read the request. */
  readonly isForAll?: boolean;
}

export interface RunResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const open = new Set<MountChild>();
const folders = new Set<string>();

/** A temporary folder that `closeMounts` removes. */
export function temporaryFolder(): string {
  const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'peel-mount-')));
  folders.add(folder);
  return folder;
}

export function mountTable(): string {
  return readFileSync('/proc/self/mountinfo', 'utf8');
}

/** Runs a program to its end. On the deadline all servers are killed, so that it cannot hang in a mount. */
export function run(
  program: string,
  args: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv; onStart?: (child: ChildProcess) => void } = {},
): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      { maxBuffer: 64 * 1024 * 1024, ...(options.env === undefined ? {} : { env: options.env }) },
      (error, stdout, stderr) => {
        clearTimeout(timer);
        if (isLate) reject(new Error(`${program} ${args.join(' ')}: no end after ${RUN_DEADLINE_MS} ms`));
        else if (error !== null && typeof error.code === 'string') reject(error);
        else resolve({ status: error === null ? 0 : (child.exitCode ?? null), stdout, stderr });
      },
    );
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      child.kill('SIGKILL');
      for (const mount of open) mount.kill('SIGKILL');
    }, RUN_DEADLINE_MS);
    options.onStart?.(child);
    child.stdin?.on('error', () => undefined).end(options.input ?? '');
  });
}

/** The JSON that a Python program prints; its arguments are in sys.argv[1:]. */
export async function python(program: string, ...args: readonly string[]): Promise<unknown> {
  const { status, stdout, stderr } = await run('python3', ['-', ...args], { input: program });
  if (status !== 0) throw new Error(`python3 ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as unknown;
}

export class MountChild {
  readonly folder: string;
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
  readonly #child: ChildProcess;
  mountPoint = '';
  /** Lines of standard output so far. */
  readonly said: string[] = [];
  stderr = '';

  constructor(child: ChildProcess, folder: string) {
    this.#child = child;
    this.folder = folder;
    this.exited = new Promise((resolve) => {
      child.once('close', (code, signal) => resolve({ code, signal }));
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (more: string) => {
      text += more;
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      this.said.push(...lines);
      child.emit('said');
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The first line that begins with `word`, without it. Rejects when the server ends or time runs out before. */
  async heard(word: string): Promise<string> {
    const deadline = Date.now() + READY_DEADLINE_MS;
    for (;;) {
      const line = this.said.find((each) => each === word || each.startsWith(`${word} `));
      if (line !== undefined) return line.slice(word.length + 1);
      const left = deadline - Date.now();
      const hasEnded = this.#child.exitCode !== null || this.#child.signalCode !== null;
      if (left <= 0 || hasEnded) {
        throw new Error(`the server did not say '${word}': ${this.said.join('; ')} ${this.stderr}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, Math.min(left, 100));
        const child = this.#child;
        function done(): void {
          clearTimeout(timer);
          child.off('said', done);
          resolve();
        }
        child.once('said', done);
      });
    }
  }

  /** How often the server was asked for each operation so far; it writes that to its log at SIGUSR1. */
  async requests(): Promise<Readonly<Record<string, number>>> {
    const before = this.stderr.length;
    const deadline = Date.now() + READY_DEADLINE_MS;
    this.kill('SIGUSR1');
    for (;;) {
      const lines = this.stderr.slice(before).split('\n').slice(0, -1);
      const line = lines.find((each) => each.includes('"msg":"statistics"'));
      if (line !== undefined)
        return (JSON.parse(line) as { requests: Readonly<Record<string, number>> }).requests;
      if (Date.now() > deadline) throw new Error(`the server wrote no statistics: ${this.stderr}`);
      await new Promise((resolve) => {
        setTimeout(resolve, 20);
      });
    }
  }

  /** Resolves when the server says in its statistics that it was asked for `operation`. */
  async untilAsked(operation: string): Promise<void> {
    const deadline = Date.now() + READY_DEADLINE_MS;
    while (((await this.requests())[operation] ?? 0) === 0) {
      if (Date.now() > deadline) throw new Error(`nobody asked for ${operation}: ${this.stderr}`);
      await new Promise((resolve) => {
        setTimeout(resolve, 30);
      });
    }
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await this.exited;
    }
    open.delete(this);
  }
}

function startServer(request: MountRequest): MountChild {
  const folder = temporaryFolder();
  const place = request.place ?? path.join(folder, 'mnt');
  if (request.place === undefined) mkdirSync(place);
  const file = path.join(folder, 'request.json');
  const isPassthrough = request.transport === PASSTHROUGH;
  writeFileSync(
    file,
    JSON.stringify({
      dist: DIST,
      name: request.name ?? 'test/literal',
      root: request.root,
      transport: request.transport === 'fuse-native' ? 'fuse-native' : 'native',
      backingFolder: isPassthrough ? folder : undefined,
      spansFolder: request.cached?.folder,
      spanBytes: request.cached?.spanBytes,
      place: request.place === '' ? undefined : place,
      options: {
        runtimeDir: path.join(folder, 'run'),
        ioUring: request.transport !== 'native by /dev/fuse',
        ...(isPassthrough ? { passthroughFrom: 1 } : {}),
        ...request.options,
      },
    }),
  );
  if (request.isForAll === true) chmodSync(folder, 0o755);
  const server = [process.execPath, path.join(import.meta.dirname, 'mount-server.mjs'), file];
  const [program = '', ...args] = [...(request.wrapper ?? []), ...server];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
  const mount = new MountChild(child, folder);
  open.add(mount);
  return mount;
}

/** Mounts a literal tree; resolves when the mount answers. `place: ''` leaves the place to the program. */
export async function mountLiteral(request: MountRequest): Promise<MountChild> {
  const mount = startServer(request);
  mount.mountPoint = await mount.heard('ready');
  return mount;
}

/** `peel mount -f ARGS... DIR` with a home of its own; resolves when the mount answers. */
export async function mountCommand(args: readonly string[]): Promise<MountChild> {
  const folder = temporaryFolder();
  const place = path.join(folder, 'mnt');
  for (const name of ['mnt', 'run', 'cache', 'config']) mkdirSync(path.join(folder, name), { mode: 0o700 });
  const mark = process.env['PEEL_TEST_RUN'];
  const child = spawn(process.execPath, [path.join(DIST, 'cli/main.js'), 'mount', '-f', ...args, place], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    env: {
      PATH: process.env['PATH'],
      HOME: folder,
      LC_ALL: 'C',
      XDG_RUNTIME_DIR: path.join(folder, 'run'),
      XDG_CACHE_HOME: path.join(folder, 'cache'),
      XDG_CONFIG_HOME: path.join(folder, 'config'),
      ...(mark === undefined ? {} : { PEEL_TEST_RUN: mark }),
    },
  });
  const mount = new MountChild(child, folder);
  open.add(mount);
  await mount.heard(place);
  mount.mountPoint = place;
  return mount;
}

/** For mounts that must be refused: what the server says, as `CODE message`. */
export async function refusedMount(request: MountRequest): Promise<string> {
  const mount = startServer(request);
  const said = await mount.heard('failed');
  await mount.exited;
  open.delete(mount);
  return said;
}

function mountPoints(): string[] {
  return mountTable()
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
}

function isBelow(place: string, folder: string): boolean {
  return place === folder || place.startsWith(`${folder}/`);
}

/** Ends everything; rejects when a mount was left in spite of it. For afterEach. */
export async function closeMounts(): Promise<void> {
  for (const mount of open) await mount.close();
  const failures: unknown[] = [];
  for (const folder of folders) {
    try {
      for (const mountPoint of mountPoints().reverse()) {
        if (isBelow(mountPoint, folder)) await run('umount', ['-l', '-i', mountPoint]);
      }
      rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      failures.push(error);
    }
  }
  const left = mountPoints().filter((each) => [...folders].some((folder) => isBelow(each, folder)));
  folders.clear();
  if (left.length > 0) failures.push(new Error(`mounts are left: ${left.join(' ')}`));
  if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('; '));
}
