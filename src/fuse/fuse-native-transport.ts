/**
 * The transport over fuse-native, a binding of libfuse 2: portable, path-based, every request through
 * JavaScript. It serves until the native transport of this project takes its place as the default.
 *
 * Threads: libfuse has one thread per request that waits, and each waits on a semaphore until its reply; so
 * a slow read holds a thread and nobody else, and every request must be replied to exactly once.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import type Fuse from 'fuse-native';
import { isPeelError, PeelError, systemCodeOf } from '../errors.ts';
import type { FileSystem } from '../filesystem/filesystem.ts';
import { log } from '../log.ts';
import type { Node } from '../tree/node.ts';
import { withDeadline } from './deadline.ts';
import { countUnreachable, operationsOf } from './fuse-native-operations.ts';
import { descriptorOf, safeSource } from './mount-device.ts';
import { mountAt } from './mount-table.ts';
import {
  DEFAULT_READ_TIMEOUT_MS,
  type MountedTransport,
  type Transport,
  type TransportOptions,
} from './transport.ts';
import { unmountPath } from './unmount.ts';

/** An image never changes, so what the kernel once knows it may keep: one year, in seconds. */
const KEEP_SECONDS = 365 * 24 * 60 * 60;
/** Reads ahead that may wait at once. The kernel's default of 12 would let a dozen slow files stop all others. */
const MAX_BACKGROUND = 256;
/** fuse-native copies the mount point and the options into arrays of 1024 bytes and cuts without a word. */
const MAX_ARGUMENT = 1023;
/** The kernel asks again for a page that failed while read ahead: after an interruption that must not wait long. */
const STOPPING_READ_TIMEOUT_MS = 1000;
/** How often to look whether the kernel has closed the connection: libfuse 2 tells nobody. */
const WATCH_MS = 200;
const WATCH_AFTER_UNMOUNT_MS = 10;

export function fuseOptions(options: TransportOptions): string {
  const list = [
    'ro',
    options.suid === true ? 'suid' : 'nosuid',
    options.dev === true ? 'dev' : 'nodev',
    'noatime',
    'default_permissions',
    'use_ino',
    `fsname=${safeSource(options.source)}`,
    'subtype=peel',
    `attr_timeout=${KEEP_SECONDS}`,
    `entry_timeout=${KEEP_SECONDS}`,
    `negative_timeout=${KEEP_SECONDS}`,
    'kernel_cache',
    `max_background=${MAX_BACKGROUND}`,
    `congestion_threshold=${MAX_BACKGROUND}`,
  ];
  if (options.allowOther === true) list.push('allow_other');
  if (options.nonEmpty === true) list.push('nonempty');
  return `-o${list.join(',')}`;
}

/** Descriptors of this process on /dev/fuse. */
function fuseDescriptors(): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((descriptor) => isFuseDescriptor(descriptor));
}

function isFuseDescriptor(descriptor: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`) === '/dev/fuse';
  } catch {
    return false; // closed
  }
}

async function loadFuseNative(): Promise<typeof Fuse> {
  try {
    return (await import('fuse-native')).default;
  } catch (error) {
    throw new PeelError(
      'ERR_NO_FUSE',
      `fuse-native does not load: ${error instanceof Error ? error.message : String(error)}; ` +
        'it needs libfuse 2 (Debian: libfuse2, elsewhere fuse-libs or fuse2)',
      { cause: error },
    );
  }
}

/** Loads fuse-native and the libfuse below it. @throws PeelError ERR_NO_FUSE. For `doctor`. */
export async function checkFuseNative(): Promise<void> {
  await loadFuseNative();
}

function mountFailure(mountPoint: string, error: unknown): PeelError {
  const facts = { path: mountPoint };
  const message = error instanceof Error ? error.message : String(error);
  if (systemCodeOf(error) === 'EACCES' || process.geteuid?.() !== 0) {
    return new PeelError(
      'ERR_PERMISSION',
      `mounting on ${mountPoint}: ${message}; without root it takes a /dev/fuse that this user may open, ` +
        'fusermount3, and a mount point of their own (allow_other also user_allow_other in /etc/fuse.conf)',
      { facts, cause: error },
    );
  }
  return new PeelError('ERR_MOUNT', `mounting on ${mountPoint}: ${message}; the kernel refused (see dmesg)`, {
    facts,
    cause: error,
  });
}

class MountedFuseNative implements MountedTransport {
  readonly closed: Promise<void>;
  readonly #mountPoint: string;
  readonly #filesystem: FileSystem;
  readonly #options: TransportOptions;
  readonly #counts: Record<string, number> = {};
  #stop = new AbortController();
  #isStopping = false;
  #mountID: number | undefined;
  #isUnmounted = false;
  #watchMs = WATCH_MS;
  #wake: (() => void) | undefined;
  #reportClosed: () => void = () => undefined;

  constructor(filesystem: FileSystem, mountPoint: string, options: TransportOptions) {
    this.#filesystem = filesystem;
    this.#mountPoint = mountPoint;
    this.#options = options;
    this.closed = new Promise((resolve) => {
      this.#reportClosed = resolve;
    });
  }

  async open(): Promise<void> {
    const FuseNative = await loadFuseNative();
    const operations = operationsOf({
      filesystem: this.#filesystem,
      uid: this.#options.uid,
      gid: this.#options.gid,
      read: (node, offset, length) => this.#read(node, offset, length),
      count: (operation) => this.#count(operation),
      report: (operation, path, error) => this.#report(operation, path, error),
    });
    const implemented = Object.keys(operations).map((name) => [name.slice('_op_'.length), () => undefined]);
    const fuse = new FuseNative(this.#mountPoint, Object.fromEntries(implemented), { timeout: false });
    Object.assign(fuse, operations);
    fuse._fuseOptions = () => fuseOptions(this.#options);
    // By the time that `unmount` of the instance runs, the mount is gone: it only frees what it holds.
    FuseNative.unmount = (_mountPoint, callback) => callback(null);

    const before = new Set(fuseDescriptors());
    await new Promise<void>((resolve, reject) => {
      fuse.mount((error) => (error === null ? resolve() : reject(mountFailure(this.#mountPoint, error))));
    });
    this.#mountID = mountAt(this.#mountPoint)?.id;
    const descriptor = fuseDescriptors().find((candidate) => !before.has(candidate));
    void this.#watch(() => descriptor !== undefined && isFuseDescriptor(descriptor)).then(() =>
      fuse.unmount(() => this.#reportClosed()),
    );
  }

  interruptReads(): void {
    this.#isStopping = true;
    this.#stop.abort(new PeelError('ERR_IO', `${this.#mountPoint} is being unmounted`));
    this.#stop = new AbortController();
  }

  async unmount(options: { readonly lazy: boolean }): Promise<void> {
    if (this.#isUnmounted) return;
    // Somebody may have detached it already and mounted another thing on the place, which is not ours to touch.
    if (mountAt(this.#mountPoint)?.id === this.#mountID) await unmountPath(this.#mountPoint, options);
    this.#isUnmounted = true;
    if (!options.lazy) this.#watchMs = WATCH_AFTER_UNMOUNT_MS;
    this.#wake?.();
  }

  statistics(): Readonly<Record<string, number>> {
    return { ...this.#counts };
  }

  #count(name: string): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + 1;
  }

  async #read(node: Node, offset: number, length: number): Promise<Buffer> {
    try {
      return await withDeadline(
        (signal) => this.#filesystem.read(node, offset, length, signal),
        this.#readTimeoutMs(),
        this.#stop.signal,
      );
    } catch (error) {
      if (!isPeelError(error) || node.content === undefined) throw error;
      // Whoever reads the log finds the place, however little the failure itself knows of it (P8).
      const { layer } = node.content;
      throw new PeelError(
        error.code,
        `layer ${layer}, file bytes ${offset}-${offset + length}: ${error.message}`,
        {
          facts: { layer, offset, length, ...error.facts },
          cause: error,
        },
      );
    }
  }

  #readTimeoutMs(): number {
    const timeout = this.#options.readTimeoutMs ?? DEFAULT_READ_TIMEOUT_MS;
    if (!this.#isStopping) return timeout;
    return timeout === 0 ? STOPPING_READ_TIMEOUT_MS : Math.min(timeout, STOPPING_READ_TIMEOUT_MS);
  }

  /** One line for each request that failed; the page is not cached, so the next read tries again. */
  #report(operation: string, path: string, error: unknown): void {
    this.#count('failed');
    const facts = isPeelError(error) ? { code: error.code, ...error.facts } : { code: 'bug', err: error };
    const message = error instanceof Error ? error.message : String(error);
    log().error({ ...facts, operation, file: path }, `${operation} ${path}: ${message}`);
  }

  /** Resolves when libfuse has closed its descriptor: the kernel told it that the mount is gone for good. */
  async #watch(isOpen: () => boolean): Promise<void> {
    while (isOpen()) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.#watchMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#isUnmounted = true;
  }
}

export const fuseNativeTransport: Transport = {
  name: 'fuse-native',

  async mount(filesystem, mountPoint, options) {
    if (Buffer.byteLength(mountPoint) > MAX_ARGUMENT) {
      throw new PeelError(
        'ERR_MOUNT',
        `mounting on ${mountPoint}: its path has ${Buffer.byteLength(mountPoint)} bytes, at most ${MAX_ARGUMENT} pass`,
      );
    }
    if (descriptorOf(mountPoint) !== undefined) {
      throw new PeelError(
        'ERR_UNSUPPORTED',
        `serving ${mountPoint}: the fuse-native transport mounts itself`,
      );
    }
    const unreachable = countUnreachable(filesystem.root);
    if (unreachable > 0) {
      log().warn(
        { unreachable },
        `${unreachable} names are not UTF-8: this transport cannot show them (peel ls and peel cat can)`,
      );
    }
    const mounted = new MountedFuseNative(filesystem, mountPoint, options);
    await mounted.open();
    return mounted;
  },
};
