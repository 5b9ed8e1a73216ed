/**
 * What stands between the kernel and a FileSystem. A transport mounts it and answers requests; what the
 * answers mean is decided in `src/filesystem/`.
 */
import type { FileSystem } from '../filesystem/filesystem.ts';

export const DEFAULT_READ_TIMEOUT_MS = 60_000;

export interface TransportOptions {
  /** What `mount` and `df` show as the source. Anything outside a safe alphabet is replaced. */
  readonly source: string;
  /** Others than the user who mounts may look. Off by default. */
  readonly allowOther?: boolean;
  /** Honour setuid and setgid bits. Off by default; an overlay on top honours them anyway. */
  readonly suid?: boolean;
  /** Let device nodes be opened. Off by default. */
  readonly dev?: boolean;
  /** Every file belongs to this user, whatever the image says. */
  readonly uid?: number;
  readonly gid?: number;
  /** Mount over a folder that has entries. Off by default. */
  readonly nonEmpty?: boolean;
  /** Milliseconds until a read that has no bytes yet ends with EIO (default 60 000); 0 waits for ever. */
  readonly readTimeoutMs?: number;
  /**
   * Milliseconds without a sign of life from this process after which the mount is aborted, so that its readers
   * are freed (default 90 000); 0: no watchdog. Native transport only.
   */
  readonly watchdogMs?: number;
  /** Requests over io_uring, where the kernel has it on. On by default. Native transport only. */
  readonly ioUring?: boolean;
  /**
   * Files of so many bytes or more are read by the kernel itself, from backing files of the cache, where it can do so
   * (Linux 6.9, CAP_SYS_ADMIN); undefined: none. Costs a message for each open(2). Native transport only.
   */
  readonly passthroughFrom?: number;
}

export interface MountedTransport {
  /** Resolves when the kernel has let go of the file system, whoever unmounted it: nobody can ask any more. */
  readonly closed: Promise<void>;
  /** Ends the reads that are waiting with EIO. Later reads are served as far as their bytes come within a second. */
  interruptReads(): void;
  /**
   * Takes the mount out of the tree. `lazy` does so while it is in use; it is served until the last user leaves.
   * @throws PeelError ERR_MOUNT_POINT_BUSY when it is in use and not `lazy`. Does nothing once it is unmounted.
   */
  unmount(options: { readonly lazy: boolean }): Promise<void>;
  /** Requests so far, by operation, and reads that failed. */
  statistics(): Readonly<Record<string, number>>;
}

/** A mount that answers before all of the image is known. */
export interface GrowingMount extends MountedTransport {
  /** From now on `filesystem` is shown, which knows more than the one before; the whole one is the last. */
  grow(filesystem: FileSystem, isWhole: boolean): void;
  /** Ends with EIO whoever waits for what is not known. */
  failWaiting(): void;
  /** Whoever waits does not wait in vain: more is being read. */
  noteProgress(): void;
}

export interface EarlyOptions {
  /** Of the image: no file system has more. */
  readonly layers: number;
  /** Somebody waits for what is not known, as the first one since it grew or failed. */
  readonly onWaiting: () => void;
}

export interface Transport {
  readonly name: string;
  /** Resolves when the mount answers. @throws PeelError ERR_NO_FUSE, ERR_PERMISSION, ERR_MOUNT. */
  mount(filesystem: FileSystem, mountPoint: string, options: TransportOptions): Promise<MountedTransport>;
  /**
   * The same with a file system of the upper layers alone: what it does not say by itself waits until it has grown.
   * Not under the policy `contain` for symbolic links. Where a transport has no such method, it shows whole ones alone.
   */
  mountEarly?(
    filesystem: FileSystem,
    mountPoint: string,
    options: TransportOptions,
    early: EarlyOptions,
  ): Promise<GrowingMount>;
}
