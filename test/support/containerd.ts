/**
 * Debian's containerd in a folder of its own, configured for peel as docs/SNAPSHOTTER.md says, and its clients ctr and
 * ctr-remote.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type RunResult, run } from './mount-child.ts';

const START_MS = 20_000;
const DOCUMENTED_ADDRESS = '/run/peel/snapshotter.sock';
const PROGRAMS = ['/usr/bin/containerd', '/usr/bin/ctr', '/usr/bin/ctr-remote', '/usr/sbin/runc'];
/** What a container needs no more than, to speak. */
const TOOLS = ['/bin/sh', '/bin/cat', '/usr/bin/sha256sum', '/bin/sleep', '/bin/ls'];

/** Why containers cannot be started here, or undefined. */
export function whyNoContainerd(): string | undefined {
  const missing = PROGRAMS.find((program) => !existsSync(program));
  return missing === undefined ? undefined : `${missing} is not installed`;
}

/** A gzipped layer with a few programs of this machine and the libraries that they need. */
export function toolsLayer(): Buffer {
  const libraries = TOOLS.flatMap((tool) =>
    [...execFileSync('ldd', [tool], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)].map(
      ([, file = '']) => file,
    ),
  );
  const files = [...new Set([...TOOLS, ...libraries])];
  const options = ['--dereference', '--absolute-names', '--owner=0', '--group=0', '--transform=s,^/*,,'];
  return execFileSync('tar', ['-czf', '-', ...options, ...files], { maxBuffer: 64 * 1024 * 1024 });
}

/** As the guide has it, for a user to copy. */
function documentedConfig(): string {
  const guide = readFileSync(path.join(import.meta.dirname, '../../docs/SNAPSHOTTER.md'), 'utf8');
  const config = /```\n(version = 2\n.*?)```/s.exec(guide)?.[1];
  if (config?.includes(DOCUMENTED_ADDRESS) !== true) throw new Error('the guide has no configuration');
  return config;
}

export class Containerd {
  readonly #folder: string;
  /** Of its socket. */
  readonly address: string;
  #process: ChildProcess | undefined;

  /** `snapshotter`: the socket of peel. `hasCri`: with the services of kubelet. */
  constructor(folder: string, snapshotter: string, hasCri = false) {
    this.#folder = folder;
    this.address = path.join(folder, 'containerd.sock');
    mkdirSync(folder, { recursive: true });
    // Of no use here, and not on every machine.
    const others = ['snapshotter.v1.btrfs', 'snapshotter.v1.zfs', 'snapshotter.v1.aufs'];
    const more = ['snapshotter.v1.devmapper', 'tracing.processor.v1.otlp', 'internal.v1.tracing'];
    if (!hasCri) others.push('grpc.v1.cri');
    const here = [
      `root = "${folder}/root"`,
      `state = "${folder}/state"`,
      `disabled_plugins = ${JSON.stringify([...others, ...more].map((name) => `io.containerd.${name}`))}`,
      '[grpc]',
      `  address = "${this.address}"`,
    ];
    const config = documentedConfig()
      .replace('version = 2', ['version = 2', ...here].join('\n'))
      .replaceAll(DOCUMENTED_ADDRESS, snapshotter);
    writeFileSync(path.join(folder, 'config.toml'), config);
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    const config = path.join(this.#folder, 'config.toml');
    this.#process = spawn('/usr/bin/containerd', ['-c', config, '-l', 'error'], { stdio: 'ignore' });
    const giveUpAt = performance.now() + START_MS;
    while ((await this.ctr('version')).status !== 0) {
      if (performance.now() > giveUpAt) throw new Error('containerd did not start');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  ctr(...args: readonly string[]): Promise<RunResult> {
    return run('/usr/bin/ctr', ['-a', this.address, ...args]);
  }

  /** Pulls as a client does that names the layers. */
  rpull(image: string, namespace = 'default'): Promise<RunResult> {
    const where = ['-a', this.address, '-n', namespace];
    return run('/usr/bin/ctr-remote', [
      ...where,
      'images',
      'rpull',
      '--plain-http',
      '--snapshotter',
      'peel',
      image,
    ]);
  }

  /** runc keeps its containers by name in one place of the machine: this one is nobody else's. */
  container(name: string): string {
    return `peel-test-${process.pid}-${name}`;
  }

  /** A container that is removed when its command has ended. */
  run(image: string, name: string, ...command: readonly string[]): Promise<RunResult> {
    const where = ['run', '--rm', '--snapshotter', 'peel'];
    return this.ctr(...where, image, this.container(name), ...command);
  }

  /** With the containers that still run. */
  async close(): Promise<void> {
    if (this.#process === undefined) return;
    const { stdout } = await this.ctr('task', 'ls', '-q');
    for (const name of stdout.split('\n').filter(Boolean)) await this.ctr('task', 'rm', '-f', name);
    await this.end();
  }

  /** Containers go on. */
  async end(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
    await ended;
    clearTimeout(timer);
  }
}
