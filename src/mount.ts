/**
 * A mounted image: the file system of an opened image joined with a transport, and what belongs to it in the
 * runtime folder. The order in which it comes down is the reverse of how it went up:
 *
 *   kernel mount -> transport (closed) -> record, own mount point -> image (connections, files)
 *
 * Where the transport can, an image whose layers are not known yet is mounted at once, and grows (src/mount/growth.ts).
 */
import { mkdirSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { PeelError, systemCodeOf } from './errors.ts';
import type { FileSystem, SymlinkPolicy } from './filesystem/filesystem.ts';
import { descriptorOf } from './fuse/mount-device.ts';
import { type MountRecord, removeRecord, startTicksOf, writeRecord } from './fuse/mount-records.ts';
import { nativeTransport } from './fuse/native-transport.ts';
import { checkFuseDevice, checkPrivileges, prepareMountPoint } from './fuse/preflight.ts';
import type { Served } from './fuse/serve.ts';
import type { Transport, TransportOptions } from './fuse/transport.ts';
import type { StartProfile } from './image/start-profile.ts';
import { log } from './log.ts';
import { checkInBackground } from './mount/background-check.ts';
import { type GrowingImage, mountGrowing } from './mount/growth.ts';

/** What is needed of an opened image; `src/image.ts` provides it. */
export interface MountableImage {
  readonly name: string;
  /** Of the manifest: the image that is shown, whatever the tag says later. */
  readonly digest: string;
  filesystem(): Promise<FileSystem>;
  /** Where it is not known as a whole yet: how it becomes known. */
  growing?(): Promise<GrowingImage | undefined>;
  /** Sees to it that every layer can be read, and lets go of what only the file system's making needed. */
  prepareReads?(): Promise<void>;
  /** Checks what nothing verified before it was shown; where it was false, nothing can be read any more. */
  proveUnverified?(isInBackground: boolean): Promise<void>;
  /** Notes what the next start reads, and fetches ahead what earlier ones, or those of the profile, read. */
  watchStart?(profile?: StartProfile): void;
  /** Reads credentials again. */
  reload?(): Promise<void> | void;
  stats?(): object;
  close(): Promise<void>;
}

export interface MountImageOptions extends Omit<TransportOptions, 'source'> {
  readonly runtimeDir: string;
  readonly symlinks?: SymlinkPolicy;
  readonly transport?: Transport;
  /** Folders that must not lie below the mount point: the cache, files that the server reads. */
  readonly outside?: readonly string[];
  readonly logFile?: string;
  /** What nothing verified is not checked in the background either. */
  readonly leavesUnverified?: boolean;
  /** What starts read, in place of what the cache knows of them; off: nothing is noted, nor fetched ahead. */
  readonly profile?: StartProfile | 'off' | undefined;
  /** Called before the kernel is asked to mount. */
  readonly onMounting?: () => void;
}

export interface MountedImage extends Served {
  /**
   * Resolves when all of the image is known. Rejects when a layer cannot be read (the mount goes on with what is known,
   * and tries again for whoever asks for more), with ERR_INTERRUPTED when the mount is closed before. Whoever mounts
   * says so: nobody else does.
   */
  readonly whole: Promise<void>;
}

/** Tries before giving up on a free name for a mount point of ours. */
const MAX_NAMES = 1000;

/** A new folder below the runtime folder, named after the image so that a person knows it again. */
function makeMountPoint(runtimeDir: string, image: MountableImage): string {
  const name = (image.name.split('/').at(-1) ?? '').replace(/[^A-Za-z0-9._-]/g, '-').replace(/^[.-]+/, '');
  const digest = image.digest.slice(image.digest.indexOf(':') + 1);
  const stem = path.join(runtimeDir, 'mnt', `${name.slice(0, 100)}-${digest.slice(0, 12)}`);
  mkdirSync(path.dirname(stem), { recursive: true, mode: 0o700 });
  for (let attempt = 0; attempt < MAX_NAMES; attempt += 1) {
    const candidate = attempt === 0 ? stem : `${stem}.${attempt}`;
    try {
      mkdirSync(candidate, { mode: 0o755 });
      return candidate;
    } catch (error) {
      if (systemCodeOf(error) !== 'EEXIST') throw error;
    }
  }
  throw new PeelError('ERR_MOUNT', `no free name for a mount point beside ${stem}`, {
    facts: { path: stem },
  });
}

function removeFolder(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // somebody has put something there, or removed it: not ours any more
  }
}

/** Where links lead is a question about all layers, so that contained ones are worked out once, for the whole image. */
export function canGrow(transport: Transport, symlinks: SymlinkPolicy): boolean {
  return transport.mountEarly !== undefined && symlinks === 'raw';
}

/** Who lists mounts is told a little less. */
function rewriteRecord(runtimeDir: string, record: MountRecord): void {
  try {
    writeRecord(runtimeDir, record);
  } catch (error) {
    log().warn({ err: error }, `the record of ${record.mountPoint} cannot be written`);
  }
}

/**
 * Mounts an image over `place` (undefined: a folder made below the runtime folder; /dev/fd/N: serves that mounted
 * descriptor). Resolves when the mount answers: that may be long before the image is `whole`. The image is closed when the mount is gone; it stays the caller's when this rejects.
 * @throws PeelError ERR_NO_FUSE, ERR_PERMISSION, ERR_MOUNT_POINT_MISSING, ERR_MOUNT_POINT_BUSY, ERR_MOUNT,
 * ERR_USAGE (the cache lies below the mount point), and whatever opening the image's layers says.
 */
export async function mountImage(
  image: MountableImage,
  place: string | undefined,
  options: MountImageOptions,
): Promise<MountedImage> {
  // A descriptor that was mounted by somebody else needs nothing of us, and has no folder.
  const isHanded = place !== undefined && descriptorOf(place) !== undefined;
  if (!isHanded) {
    checkFuseDevice();
    checkPrivileges();
  }
  const mountPointOptions = {
    nonEmpty: options.nonEmpty ?? false,
    runtimeDir: options.runtimeDir,
    outside: [...(options.outside ?? []), options.runtimeDir],
  };
  // Before the layers are indexed, which may take long, and again after.
  if (place !== undefined && !isHanded) await prepareMountPoint(place, mountPointOptions);
  const transport = options.transport ?? nativeTransport;
  const { symlinks = 'raw' } = options;
  if (options.profile !== 'off') image.watchStart?.(options.profile);
  const growing = canGrow(transport, symlinks) ? await image.growing?.() : undefined;
  const filesystem = growing?.start ?? (await image.filesystem()).withSymlinks(symlinks);
  if (growing === undefined) await image.prepareReads?.();
  options.onMounting?.();

  const ownMountPoint = place === undefined ? makeMountPoint(options.runtimeDir, image) : undefined;
  let recorded: MountRecord | undefined;
  try {
    const mountPoint = isHanded
      ? place
      : await prepareMountPoint(ownMountPoint ?? place ?? '', mountPointOptions);
    const ending = new AbortController();
    const check = (): void => {
      if (options.leavesUnverified === true || image.proveUnverified === undefined) return;
      void checkInBackground(
        mountPoint,
        () => image.proveUnverified?.(true) ?? Promise.resolve(),
        ending.signal,
      );
    };
    let record: MountRecord = {
      pid: process.pid,
      startTicks: startTicksOf(process.pid) ?? '',
      mountPoint,
      image: image.name,
      digest: image.digest,
      startedAt: new Date().toISOString(),
      ownsMountPoint: ownMountPoint !== undefined,
      log: options.logFile,
      state: growing === undefined ? 'whole' : 'growing',
    };
    // The number of a descriptor finds no mount: whoever mounted it keeps the books.
    if (!isHanded) {
      writeRecord(options.runtimeDir, record);
      recorded = record;
    }
    const transportOptions: TransportOptions = { ...options, source: `peel:${image.name}` };
    const { mounted, whole, growth } =
      growing === undefined
        ? {
            mounted: await transport.mount(filesystem, mountPoint, transportOptions),
            whole: Promise.resolve(),
          }
        : await mountGrowing(transport, growing, mountPoint, transportOptions, (state) => {
            record = { ...record, state };
            if (!isHanded) rewriteRecord(options.runtimeDir, record);
            if (state === 'whole') check();
          });
    if (growing === undefined) check();
    const closed = mounted.closed.then(async () => {
      ending.abort();
      growth?.end();
      if (!isHanded) removeRecord(options.runtimeDir, record);
      if (ownMountPoint !== undefined) removeFolder(ownMountPoint);
      await image.close();
      log().info({ mountPoint }, 'unmounted');
    });
    log().info({ mountPoint, image: image.name, digest: image.digest, transport: transport.name }, 'mounted');
    return {
      mountPoint,
      closed,
      whole,
      interruptReads: () => {
        growth?.end();
        mounted.interruptReads();
      },
      unmount: (unmountOptions) => mounted.unmount(unmountOptions),
      statistics: () => ({ ...image.stats?.(), state: record.state, requests: mounted.statistics() }),
      reload: async () => {
        await image.reload?.();
      },
    };
  } catch (error) {
    if (recorded !== undefined) removeRecord(options.runtimeDir, recorded);
    if (ownMountPoint !== undefined) removeFolder(ownMountPoint);
    throw error;
  }
}
