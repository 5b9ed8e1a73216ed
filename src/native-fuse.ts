/**
 * The FUSE part of the addon (native/fuse_*), typed and validating: mounting, and a session that answers the kernel
 * from a stored tree. JavaScript is asked for what is not cached, in events; see native/fuse_session.h for threads.
 */
import { fileURLToPath } from 'node:url';
import { PeelError } from './errors.ts';
import { addonPart } from './native/addon.ts';
import type { ByteString } from './units.ts';

/** A descriptor, or what kept it away. `errno` is positive. */
export type MountResult =
  | { readonly fd: number }
  | { readonly fd: undefined; readonly errno: number; readonly message: string };

/** Bits of mount(2): <sys/mount.h>. */
export const MOUNT_FLAGS = { readOnly: 1, noSuid: 2, noDev: 4, noAtime: 1024 } as const;

export interface FuseSessionOptions {
  /** The tree is that of the whole image; another one may follow where it is not. */
  readonly isWhole: boolean;
  /** Of the image: no tree that follows has more. */
  readonly layers: number;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  /** The mount has default_permissions. */
  readonly kernelChecks: boolean;
  /** Links that are shown with another target than the tree has; undefined: all as they are. */
  readonly targets: readonly ChangedTarget[] | undefined;
  readonly threads: number;
  /** What is not answered for so long fails with EIO, even while JavaScript is stuck; 0: never. */
  readonly parkedLimitMs: number;
  /** Requests over io_uring, where the kernel has it. */
  readonly overUring: boolean;
  /** The kernel is to read files of so many bytes or more by itself, where it can; undefined: none. */
  readonly passthroughFrom: number | undefined;
}

/** A link is told by the directory that holds it and its inode: it can have several names. */
export interface ChangedTarget {
  readonly directory: number;
  readonly ino: number;
  readonly target: ByteString;
}

export interface AgreedTerms {
  /** 0 over io_uring, else what keeps it away. */
  readonly uringErrno: number;
  readonly hasPassthrough: boolean;
}

export interface FuseEvents {
  /** INIT is done: the mount answers. */
  onReady(minor: number, agreed: AgreedTerms): void;
  /** A read whose bytes are not at hand: `reply` or `fail` with this id. */
  onMiss(id: number, ino: number, offset: number, length: number): void;
  /** Whoever waited for it is gone and was answered. */
  onInterrupted(id: number): void;
  onUsed(layer: number, span: number): void;
  /** A request needs more than the tree says, as the first one since `setTree` or `failWaiting`. */
  onWaiting(): void;
  /** The watchdog ended by itself: 1 when it aborted the connection, 2 when it could not be set up. */
  onUnwatched(status: number): void;
  /** A large file was opened or closed that would be read faster if it had a backing file: `addBacking`. A hint. */
  onWanted(ino: number): void;
  /** The kernel took no backing file, and is not offered another. Once. */
  onRefused(errno: number): void;
  /** Nobody asks any more; the last event. `errno` is 0 after an unmount, ECONNABORTED after an abort. */
  onClosed(errno: number): void;
}

export interface FuseSession {
  /** Serves a mounted descriptor and closes it in the end. Once. */
  start(fd: number): void;
  /** What waits is asked again; @throws PeelError ERR_CACHE where `tree` is not valid. Not after a whole one. */
  setTree(tree: Uint8Array, isWhole: boolean): void;
  /** Ends what waits for more than the tree says. */
  failWaiting(errno: number): void;
  /**
   * From now on every request ends so, and the kernel forgets names' attributes and bytes; what was told as missed is
   * still to be answered. Files that the kernel reads by itself (`addBacking`) and that are open stay readable.
   */
  failAll(errno: number): void;
  /** Puts off the end of `parkedLimitMs` for what waits. */
  noteProgress(): void;
  addLayer(layer: number, spansPath: string, mapPath: string, ends: Float64Array): void;
  markReady(layer: number, span: number): void;
  /**
   * From now on the kernel reads this inode from `path`, which `fd` leads to, where it is opened anew and the file is
   * still there. It has the bytes of the inode, all of them verified. The descriptor stays the caller's.
   */
  addBacking(ino: number, path: string, fd: number): void;
  /** 0, or the errno of the kernel. Nothing happens for an id that is answered already. */
  reply(id: number, bytes: Uint8Array): number;
  fail(id: number, errno: number): number;
  /** Starts the watchdog. 0, or an errno. */
  watch(connection: number, limitMs: number): number;
  /** A path of the inode from the root. Slow, for messages. */
  pathOf(ino: number): Buffer;
  /**
   * Requests by operation; `missed`: reads that came to JavaScript; `waited`: what needed more than the tree said;
   * `io_uring`: requests that came that way; `passthrough`: opens of files that the kernel reads by itself.
   */
  statistics(): Record<string, number>;
  /** Ends the session without an answer for anybody: for one that was not started, or at the end of the process. */
  stop(): void;
}

declare const native: unique symbol;
type SessionHandle = object & { readonly [native]: 'fuse session' };

interface FuseAddon {
  mountFuse(path: Uint8Array, source: Uint8Array, flags: number, options: Uint8Array): number;
  mountFuseWithHelper(
    program: Uint8Array,
    path: Uint8Array,
    options: Uint8Array,
    limitMs: number,
  ): Promise<{ readonly result: number; readonly message: Buffer }>;
  openFuseSession(
    tree: Uint8Array,
    isWhole: boolean,
    layers: number,
    uid: number,
    gid: number,
    kernelChecks: boolean,
    containsLinks: boolean,
    targets: Float64Array,
    targetBytes: Uint8Array,
    threads: number,
    parkedLimitMs: number,
    overUring: boolean,
    passthroughFrom: number,
    onEvents: (events: Float64Array) => void,
  ): SessionHandle;
  startFuseSession(session: SessionHandle, fd: number): void;
  setFuseTree(session: SessionHandle, tree: Uint8Array, isWhole: boolean): void;
  failFuseWaiting(session: SessionHandle, errno: number): void;
  failFuseAll(session: SessionHandle, errno: number): void;
  noteFuseProgress(session: SessionHandle): void;
  stopFuseSession(session: SessionHandle): void;
  addFuseLayer(
    session: SessionHandle,
    layer: number,
    spansPath: Uint8Array,
    mapPath: Uint8Array,
    ends: Float64Array,
  ): boolean;
  markFuseSpan(session: SessionHandle, layer: number, span: number): void;
  addFuseBacking(session: SessionHandle, ino: number, path: Uint8Array, fd: number): boolean;
  replyFuse(session: SessionHandle, id: number, bytes: Uint8Array): number;
  failFuse(session: SessionHandle, id: number, errno: number): number;
  watchFuse(session: SessionHandle, program: Uint8Array, connection: number, limitMs: number): number;
  fusePathOf(session: SessionHandle, ino: number): Buffer;
  fuseStatistics(session: SessionHandle): Record<string, number>;
}

/** As in native/fuse_session.h. */
const EVENT = {
  miss: 0,
  interrupted: 1,
  used: 2,
  ready: 3,
  closed: 4,
  unwatched: 5,
  waiting: 6,
  wanted: 7,
  refused: 8,
} as const;
const NUMBERS_PER_EVENT = 5;
/** Of the upper half of INIT's features: native/fuse_protocol.h. */
const PASSTHROUGH = 1 << 5;
const WATCHDOG = fileURLToPath(new URL('../build/Release/peel-watchdog', import.meta.url));
const NO_TARGETS = { table: new Float64Array(0), bytes: Buffer.alloc(0) };

const bytesOf = (text: string): Buffer => Buffer.from(text, 'utf8');

/** mount(2). `options` is what FUSE takes beside descriptor and owner. */
export function mountFuse(path: string, source: string, flags: number, options: string): MountResult {
  const result = fuseAddon().mountFuse(bytesOf(path), bytesOf(source), flags, bytesOf(options));
  return result >= 0 ? { fd: result } : { fd: undefined, errno: -result, message: '' };
}

/** Through fusermount3, for users. Never rejects for what it says. */
export async function mountFuseWithHelper(
  program: string,
  path: string,
  options: string,
  limitMs: number,
): Promise<MountResult> {
  const { result, message } = await fuseAddon().mountFuseWithHelper(
    bytesOf(program),
    bytesOf(path),
    bytesOf(options),
    limitMs,
  );
  return result >= 0
    ? { fd: result }
    : { fd: undefined, errno: -result, message: message.toString('utf8').trim() };
}

/**
 * @param tree a stored tree; a whole one must not change while the session lives, others are copied.
 * @throws PeelError ERR_CACHE where `tree` is not valid.
 */
export function openFuseSession(
  tree: Uint8Array,
  options: FuseSessionOptions,
  events: FuseEvents,
): FuseSession {
  const addon = fuseAddon();
  const targets = options.targets === undefined ? NO_TARGETS : packTargets(options.targets);
  const handle = withValidTree(() =>
    addon.openFuseSession(
      tree,
      options.isWhole,
      options.layers,
      options.uid ?? -1,
      options.gid ?? -1,
      options.kernelChecks,
      options.targets !== undefined,
      targets.table,
      targets.bytes,
      options.threads,
      options.parkedLimitMs,
      options.overUring,
      options.passthroughFrom ?? -1,
      (numbers) => dispatch(numbers, events),
    ),
  );
  return {
    start: (fd) => addon.startFuseSession(handle, fd),
    setTree: (next, isWhole) => withValidTree(() => addon.setFuseTree(handle, next, isWhole)),
    failWaiting: (errno) => addon.failFuseWaiting(handle, errno),
    failAll: (errno) => addon.failFuseAll(handle, errno),
    noteProgress: () => addon.noteFuseProgress(handle),
    addLayer: (layer, spansPath, mapPath, ends) => {
      addon.addFuseLayer(handle, layer, bytesOf(spansPath), bytesOf(mapPath), ends);
    },
    markReady: (layer, span) => addon.markFuseSpan(handle, layer, span),
    addBacking: (ino, path, fd) => {
      addon.addFuseBacking(handle, ino, bytesOf(path), fd);
    },
    reply: (id, bytes) => addon.replyFuse(handle, id, bytes),
    fail: (id, errno) => addon.failFuse(handle, id, errno),
    watch: (connection, limitMs) => addon.watchFuse(handle, bytesOf(WATCHDOG), connection, limitMs),
    pathOf: (ino) => addon.fusePathOf(handle, ino),
    statistics: () => addon.fuseStatistics(handle),
    stop: () => addon.stopFuseSession(handle),
  };
}

function withValidTree<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (error instanceof TypeError || !(error instanceof Error)) throw error;
    throw new PeelError('ERR_CACHE', `stored tree: ${error.message}`, { cause: error });
  }
}

function dispatch(numbers: Float64Array, events: FuseEvents): void {
  for (let at = 0; at + NUMBERS_PER_EVENT <= numbers.length; at += NUMBERS_PER_EVENT) {
    const [kind, id = 0, ino = 0, offset = 0, length = 0] = numbers.subarray(at, at + NUMBERS_PER_EVENT);
    if (kind === EVENT.miss) events.onMiss(id, ino, offset, length);
    else if (kind === EVENT.interrupted) events.onInterrupted(id);
    else if (kind === EVENT.used) events.onUsed(ino, offset);
    else if (kind === EVENT.waiting) events.onWaiting();
    else if (kind === EVENT.ready) {
      events.onReady(id, { uringErrno: length, hasPassthrough: (offset & PASSTHROUGH) !== 0 });
    } else if (kind === EVENT.closed) events.onClosed(id);
    else if (kind === EVENT.unwatched) events.onUnwatched(id);
    else if (kind === EVENT.wanted) events.onWanted(ino);
    else if (kind === EVENT.refused) events.onRefused(id);
  }
}

function packTargets(targets: readonly ChangedTarget[]): { table: Float64Array; bytes: Buffer } {
  const table = new Float64Array(4 * targets.length);
  const parts: Buffer[] = [];
  let end = 0;
  for (const [index, { directory, ino, target }] of targets.entries()) {
    const bytes = Buffer.from(target, 'latin1');
    parts.push(bytes);
    table.set([directory, ino, end, end + bytes.length], 4 * index);
    end += bytes.length;
  }
  return { table, bytes: Buffer.concat(parts) };
}

function fuseAddon(): FuseAddon {
  return addonPart() as FuseAddon;
}
