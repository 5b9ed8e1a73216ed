/**
 * `peel snapshotter` in a process of its own, with a home, a cache and a runtime folder of its own, and a client of its
 * socket. `closeSnapshotters` ends all of them and takes down what they have mounted.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { type Client, credentials, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import { type RequestMessage, snapshotsService } from '../../src/container/snapshotter/api.ts';
import { closeMounts, DIST, temporaryFolder } from './mount-child.ts';

const CALL_MS = 20_000;

export interface MountAnswer {
  readonly mounts: readonly {
    readonly type: string;
    readonly source: string;
    readonly options: readonly string[];
  }[];
}

type Methods = Readonly<
  Record<
    string,
    (
      request: object,
      options: object,
      callback: (error: ServiceError | null, answer: object) => void,
    ) => NodeJS.EventEmitter
  >
>;

const open = new Set<SnapshotterServer>();

export class SnapshotterServer {
  readonly home = temporaryFolder();
  readonly root = path.join(this.home, 'root');
  readonly address = path.join(this.home, 'peel.sock');
  /** Standard error so far. */
  said = '';
  #process: ChildProcess | undefined;
  #client: (Client & Methods) | undefined;

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  upper(id: number): string {
    return path.join(this.root, 'snapshots', String(id), 'fs');
  }

  /** Resolves when it may be called. Rejects with what it said where it ended instead. */
  async start(flags: readonly string[] = []): Promise<void> {
    open.add(this);
    for (const name of ['run', 'cache', 'config']) {
      mkdirSync(path.join(this.home, name), { recursive: true, mode: 0o700 });
    }
    const args = ['snapshotter', '--address', this.address, '--root', this.root, '--log-level', 'info'];
    const { PATH, PEEL_TEST_RUN, LD_PRELOAD, ASAN_OPTIONS } = process.env;
    const server = spawn(process.execPath, [path.join(DIST, 'cli/main.js'), ...args, ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: '/',
      env: {
        PATH,
        HOME: this.home,
        XDG_RUNTIME_DIR: path.join(this.home, 'run'),
        XDG_CACHE_HOME: path.join(this.home, 'cache'),
        XDG_CONFIG_HOME: path.join(this.home, 'config'),
        ...(PEEL_TEST_RUN === undefined ? {} : { PEEL_TEST_RUN }),
        ...(LD_PRELOAD === undefined ? {} : { LD_PRELOAD, ASAN_OPTIONS }),
      },
    });
    this.#process = server;
    server.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.said += text;
    });
    const lines = createInterface(server.stdout);
    await Promise.race([
      once(lines, 'line'),
      once(server, 'close').then(() => Promise.reject(new Error(`no snapshotter: ${this.said}`))),
    ]);
    const Snapshots = makeGenericClientConstructor(snapshotsService(), 'Snapshots');
    this.#client = new Snapshots(`unix://${this.address}`, credentials.createInsecure()) as Client & Methods;
  }

  /** Rejects with what gRPC says: `code` is its status. */
  call<Answer = object>(method: string, request: Partial<RequestMessage>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const client = this.#client;
      const deadline = Date.now() + CALL_MS;
      client?.[method]?.call(client, request, { deadline }, (error: ServiceError | null, answer: object) => {
        if (error === null) resolve(answer as Answer);
        else reject(error);
      });
    });
  }

  /** A message of kubelet, as bytes. */
  callImageService(method: string, message: Buffer): Promise<Buffer> {
    const same = (bytes: Buffer): Buffer => bytes;
    const name = `/runtime.v1.ImageService/${method}`;
    return new Promise((resolve, reject) => {
      this.#client?.makeUnaryRequest(
        name,
        same,
        same,
        message,
        (error: ServiceError | null, answer?: Buffer) => {
          if (error === null) resolve(answer ?? Buffer.alloc(0));
          else reject(error);
        },
      );
    });
  }

  /** The names of the snapshots that match. */
  async list(...filters: readonly string[]): Promise<string[]> {
    const client = this.#client;
    const method = client?.['List'] as unknown as (request: object, options: object) => AsyncIterable<object>;
    const names: string[] = [];
    for await (const message of method.call(client, { filters }, { deadline: Date.now() + CALL_MS })) {
      names.push(...(message as { info: readonly { name: string }[] }).info.map(({ name }) => name));
    }
    return names.sort();
  }

  /** Resolves with its exit status when it has ended. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    this.#client?.close();
    const server = this.#process;
    if (server === undefined) return null;
    if (server.exitCode === null && server.signalCode === null) {
      const ended = once(server, 'close');
      server.kill(signal);
      await ended;
    }
    return server.exitCode;
  }
}

/** For afterEach or afterAll; rejects where a mount was left. */
export async function closeSnapshotters(): Promise<void> {
  for (const server of open) await server.end('SIGKILL');
  open.clear();
  await closeMounts();
}
