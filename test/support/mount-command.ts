/** `peel mount -f` of an OCI layout in a process of its own, with a home, a cache and a runtime folder of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { DIST, type RunResult, run, temporaryFolder } from './mount-child.ts';

const MAIN = path.join(DIST, 'cli/main.js');

export class MountCommand {
  readonly home: string;
  readonly place: string;
  /** Standard error of the server so far. */
  said = '';
  #server: ChildProcess | undefined;

  constructor() {
    this.home = temporaryFolder();
    this.place = path.join(this.home, 'mnt');
    for (const name of ['run', 'cache', 'config', 'mnt']) {
      mkdirSync(path.join(this.home, name), { mode: 0o700 });
    }
  }

  get cacheDir(): string {
    return path.join(this.home, 'cache/peel');
  }

  get pid(): number {
    return this.#server?.pid ?? -1;
  }

  get hasEnded(): boolean {
    return this.#server === undefined || this.#server.exitCode !== null || this.#server.signalCode !== null;
  }

  layerFolder(digest: string): string {
    return path.join(this.cacheDir, 'v1/layers/sha256', digest.slice('sha256:'.length));
  }

  /** Resolves when the mount answers. */
  async start(image: string, flags: readonly string[] = []): Promise<void> {
    this.said = '';
    const args = [MAIN, 'mount', '-f', '--log-level', 'warn', ...flags, image, this.place];
    const server = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], env: this.#env() });
    this.#server = server;
    server.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.said += text;
    });
    await Promise.race([
      once(server.stdout, 'data'),
      once(server, 'exit').then(() => Promise.reject(new Error(`no mount: ${this.said}`))),
    ]);
  }

  /** Another command of peel, with the same cache. */
  peel(...args: readonly string[]): Promise<RunResult> {
    return run(process.execPath, [MAIN, ...args], { env: this.#env() });
  }

  /** Requests so far by operation. */
  async requests(): Promise<Record<string, number>> {
    const before = this.said.length;
    this.#server?.kill('SIGUSR1');
    await expect.poll(() => this.said.slice(before), { timeout: 5000 }).toContain('"msg":"statistics"');
    const lines = this.said.slice(before).split('\n');
    const line = lines.find((each) => each.includes('"requests"')) ?? '{}';
    return (JSON.parse(line) as { requests: Record<string, number> }).requests;
  }

  /** Resolves when the server has ended. */
  async end(signal: NodeJS.Signals): Promise<void> {
    if (this.hasEnded || this.#server === undefined) return;
    const ended = once(this.#server, 'exit');
    this.#server.kill(signal);
    await ended;
  }

  #env(): NodeJS.ProcessEnv {
    const { PATH, PEEL_TEST_RUN, LD_PRELOAD, ASAN_OPTIONS } = process.env;
    return {
      PATH,
      HOME: this.home,
      XDG_RUNTIME_DIR: path.join(this.home, 'run'),
      XDG_CACHE_HOME: path.join(this.home, 'cache'),
      XDG_CONFIG_HOME: path.join(this.home, 'config'),
      ...(PEEL_TEST_RUN === undefined ? {} : { PEEL_TEST_RUN }),
      ...(LD_PRELOAD === undefined ? {} : { LD_PRELOAD, ASAN_OPTIONS }),
    };
  }
}
