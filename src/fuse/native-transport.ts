/**
 * The transport that speaks the kernel's protocol in native threads (native/fuse_*): names, attributes and bytes
 * that are cached are answered there, from the stored tree and the cache files; what is missing comes here, once.
 *
 *   kernel ──► native threads ──┬── stored tree, spans on disk ──► kernel
 *                               └── miss ──► MissedReads ──► FileSystem.read ──► kernel
 *
 * A watchdog process aborts the connection when this one is stopped or stuck (P9).
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { PeelError } from '../errors.ts';
import type { SpanWatcher } from '../filesystem/contents.ts';
import type { FileSystem } from '../filesystem/filesystem.ts';
import { log } from '../log.ts';
import { type FuseEvents, type FuseSession, openFuseSession } from '../native-fuse.ts';
import { encodeTree } from '../tree/encode-tree.ts';
import { openMappedTree } from '../tree/mapped-tree.ts';
import { containedLinks } from './contained-links.ts';
import { answersNotConnected } from './dead-mounts.ts';
import { MissedReads } from './missed-reads.ts';
import { descriptorOf, openMountedDevice } from './mount-device.ts';
import { type MountEntry, mountAt, readMountTable } from './mount-table.ts';
import { Passthrough } from './passthrough.ts';
import { whyNoPassthrough } from './preflight.ts';
import { setReadAhead } from './read-ahead.ts';
import {
  DEFAULT_READ_TIMEOUT_MS,
  type EarlyOptions,
  type GrowingMount,
  type Transport,
  type TransportOptions,
} from './transport.ts';
import { unmountPath } from './unmount.ts';

const DEFAULT_WATCHDOG_MS = 90_000;
/** The deadline of a read is kept here; the native side ends a read so long after it, should nothing run here. */
const PARKED_GRACE_MS = 2000;
/** Threads wait for the disk, so there are more than processors; each costs a megabyte once it read as much. */
const MIN_THREADS = 4;
const MAX_THREADS = 16;
/** A tree that has no key of its own is encoded for one mount. */
const NO_KEY = Buffer.alloc(32);

/** The mount of a descriptor that was handed to us, if this process can see it. */
function mountOfDescriptor(descriptor: number): MountEntry | undefined {
  try {
    const info = readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1');
    const connection = /^fuse_connection:\s*(\d+)$/m.exec(info)?.[1];
    if (connection === undefined) return undefined;
    return readMountTable().find(
      (entry) => entry.major === 0 && entry.minor === Number(connection) && entry.type.startsWith('fuse'),
    );
  } catch {
    return undefined; // before Linux 6.x there is no such line; a closed descriptor is found out later
  }
}

class MountedNative implements GrowingMount {
  readonly closed: Promise<void>;
  readonly #contents: FileSystem['contents'];
  readonly #mountPoint: string;
  readonly #options: TransportOptions;
  readonly #session: FuseSession;
  readonly #reads: MissedReads;
  readonly #onWaiting: () => void;
  readonly #passthrough: Passthrough;
  /** Files of so many bytes or more are to have backing files; undefined: none. */
  readonly #passthroughFrom: number | undefined;
  #entry: MountEntry | undefined;
  #isUnmounted = false;
  #isUnmounting = false;
  #isClosed = false;
  #reportReady: (error?: PeelError) => void = () => undefined;
  #reportClosed: () => void = () => undefined;

  /** `early`: the file system is that of the upper layers alone. */
  constructor(filesystem: FileSystem, mountPoint: string, options: TransportOptions, early?: EarlyOptions) {
    this.#contents = filesystem.contents;
    this.#onWaiting = early?.onWaiting ?? (() => undefined);
    this.#mountPoint = mountPoint;
    this.#options = options;
    this.closed = new Promise((resolve) => {
      this.#reportClosed = resolve;
    });
    this.#passthroughFrom = this.#wantedPassthrough();
    const stored = storedFormOf(filesystem);
    const timeoutMs = options.readTimeoutMs ?? DEFAULT_READ_TIMEOUT_MS;
    this.#session = openFuseSession(
      stored,
      {
        isWhole: early === undefined,
        layers: early?.layers ?? 0,
        uid: options.uid,
        gid: options.gid,
        // Of a mount that somebody else made nobody says.
        kernelChecks: descriptorOf(mountPoint) === undefined,
        targets: containedLinks(filesystem),
        threads: Math.min(MAX_THREADS, Math.max(MIN_THREADS, availableParallelism())),
        parkedLimitMs: timeoutMs === 0 ? 0 : timeoutMs + PARKED_GRACE_MS,
        // Hundreds may wait for a layer, and an io_uring hands out no more while all that it handed out waits.
        overUring: (options.ioUring ?? true) && early === undefined,
        passthroughFrom: this.#passthroughFrom,
      },
      this.#events(),
    );
    const shown = { filesystem, tree: openMappedTree(stored) };
    this.#reads = new MissedReads({ session: this.#session, timeoutMs }, shown);
    this.#passthrough = new Passthrough(this.#session, shown);
  }

  grow(filesystem: FileSystem, isWhole: boolean): void {
    if (this.#isClosed) return;
    const stored = storedFormOf(filesystem);
    this.#session.setTree(stored, isWhole);
    const shown = { filesystem, tree: openMappedTree(stored) };
    this.#reads.show(shown);
    this.#passthrough.show(shown);
  }

  failWaiting(): void {
    if (!this.#isClosed) this.#session.failWaiting(constants.errno.EIO);
  }

  noteProgress(): void {
    if (!this.#isClosed) this.#session.noteProgress();
  }

  async open(): Promise<void> {
    let descriptor: number;
    try {
      descriptor = await openMountedDevice(this.#mountPoint, this.#options);
    } catch (error) {
      this.#session.stop();
      throw error;
    }
    this.#entry =
      descriptorOf(this.#mountPoint) === undefined
        ? mountAt(this.#mountPoint)
        : mountOfDescriptor(descriptor);
    const ready = new Promise<void>((resolve, reject) => {
      this.#reportReady = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.#contents.watch?.(this.#watcher());
    this.#session.start(descriptor);
    await ready;
    if (this.#entry !== undefined) setReadAhead(this.#entry);
    this.#startWatchdog();
  }

  interruptReads(): void {
    this.#reads.interruptAll(new PeelError('ERR_IO', `${this.#mountPoint} is being unmounted`));
  }

  async unmount(options: { readonly lazy: boolean }): Promise<void> {
    if (this.#isUnmounted) return;
    if (this.#entry === undefined) {
      throw new PeelError(
        'ERR_MOUNT',
        `${this.#mountPoint} was mounted by somebody else, where this process cannot see it: it is unmounted there`,
      );
    }
    // Somebody may have detached it already and mounted another thing on the place, which is not ours to touch.
    this.#isUnmounting = true;
    const { mountPoint, id } = this.#entry;
    try {
      if (mountAt(mountPoint)?.id === id) await unmountPath(mountPoint, options);
    } catch (error) {
      this.#isUnmounting = false;
      throw error;
    }
    this.#isUnmounted = true;
  }

  statistics(): Readonly<Record<string, number>> {
    const { failed } = this.#reads;
    return { ...this.#session.statistics(), ...(failed === 0 ? {} : { failed }) };
  }

  #events(): FuseEvents {
    return {
      onReady: (minor, { uringErrno, hasPassthrough }) => {
        const ioUring = uringErrno === 0 ? 'yes' : `no: ${nameOf(uringErrno)}`;
        log().debug(
          { mountPoint: this.#mountPoint, protocol: `7.${minor}`, ioUring, hasPassthrough },
          'the kernel has agreed',
        );
        if (this.#passthroughFrom !== undefined && !hasPassthrough) {
          this.#warnOfPassthrough('this kernel was built without it');
        }
        this.#reportReady();
      },
      onMiss: (id, ino, offset, length) => void this.#reads.answer(id, ino, offset, length),
      onInterrupted: (id) => this.#reads.interrupt(id),
      onUsed: (layer, span) => this.#contents.noteUse?.(layer, span),
      onWaiting: () => this.#onWaiting(),
      onWanted: (ino) => this.#passthrough.want(ino),
      onRefused: (errno) => this.#warnOfPassthrough(reasonOfRefusal(errno)),
      onUnwatched: (status) => {
        if (status !== 1) log().warn(`the watchdog of ${this.#mountPoint} ended (status ${status})`);
      },
      onClosed: (errno) => void this.#onClosed(errno),
    };
  }

  #watcher(): SpanWatcher {
    return {
      layerOpened: (layer, { spansPath, mapPath, ends }) =>
        this.#session.addLayer(layer, spansPath, mapPath, ends),
      spanStored: (layer, span) => this.#session.markReady(layer, span),
      disproved: () => {
        if (!this.#isClosed) this.#session.failAll(constants.errno.EIO);
      },
    };
  }

  /** Where it cannot be had it is not asked for: the open(2) of every file would cost more, and gain nothing. */
  #wantedPassthrough(): number | undefined {
    const { passthroughFrom } = this.#options;
    const lacking = passthroughFrom === undefined ? undefined : whyNoPassthrough();
    if (lacking === undefined) return passthroughFrom;
    this.#warnOfPassthrough(lacking);
    return undefined;
  }

  /** What was asked for is speed: without it the mount shows the same. */
  #warnOfPassthrough(reason: string): void {
    log().warn(`no passthrough for ${this.#mountPoint}: ${reason}; all files are read through the server`);
  }

  #startWatchdog(): void {
    const limitMs = this.#options.watchdogMs ?? DEFAULT_WATCHDOG_MS;
    if (limitMs === 0) return;
    const connection = this.#entry?.minor;
    const errno = connection === undefined ? 0 : this.#session.watch(connection, limitMs);
    if (connection !== undefined && errno === 0) return;
    const reason = errno === 0 ? 'its connection has no known number' : nameOf(errno);
    log().warn(`no watchdog for ${this.#mountPoint}: ${reason}`);
  }

  /** The kernel has closed the connection; after an abort the mount is still in the tree, and dead. */
  async #onClosed(errno: number): Promise<void> {
    this.#isClosed = true;
    const what = errno === 0 ? 'unmounted before it answered' : nameOf(errno);
    this.#reportReady(new PeelError('ERR_MOUNT', `mounting on ${this.#mountPoint}: ${what}`));
    this.interruptReads();
    const ended = this.#passthrough.close();
    if (!this.#isUnmounting) {
      if (errno !== 0) {
        log().error({ mountPoint: this.#mountPoint }, `the connection to the kernel ended: ${nameOf(errno)}`);
      }
      // After umount -f of a mount in use, too, which the kernel tells us as if it were unmounted.
      if (await this.#isStillThere()) {
        await this.unmount({ lazy: true }).catch((error: unknown) => {
          log().warn({ err: error }, `${this.#mountPoint} is dead and could not be unmounted`);
        });
      }
    }
    await ended;
    this.#isUnmounted = true;
    this.#reportClosed();
  }

  /** What lies there may be a later mount, with all numbers of ours: the kernel gives them out again at once. */
  async #isStillThere(): Promise<boolean> {
    if (this.#entry === undefined) return false;
    const { mountPoint, id } = this.#entry;
    return mountAt(mountPoint)?.id === id && (await answersNotConnected(mountPoint));
  }
}

function storedFormOf({ tree }: FileSystem): Uint8Array {
  return tree.stored ?? encodeTree(tree, NO_KEY);
}

function reasonOfRefusal(errno: number): string {
  const name = nameOf(errno);
  if (name === 'EPERM') return 'it takes CAP_SYS_ADMIN outside of user namespaces (EPERM)';
  if (name === 'ELOOP')
    return 'the cache lies on a stacked file system, such as the overlayfs of a container (ELOOP)';
  return `the kernel took no file of the cache (${name})`;
}

function nameOf(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[0] ?? `errno ${errno}`;
}

export const nativeTransport: Transport = {
  name: 'native',

  async mount(filesystem, mountPoint, options) {
    const mounted = new MountedNative(filesystem, mountPoint, options);
    await mounted.open();
    return mounted;
  },

  async mountEarly(filesystem, mountPoint, options, early) {
    const mounted = new MountedNative(filesystem, mountPoint, options, early);
    await mounted.open();
    return mounted;
  },
};
