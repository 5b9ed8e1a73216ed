/**
 * The snapshotter as a server: one process for one folder, from the socket to the mounts.
 *
 *   folder held ─► what a crash left is removed ─► socket answers ─► mounts in use come back
 */
import { realpath } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { PeelError } from '../../errors.ts';
import type { MountImageOptions } from '../../mount.ts';
import { makeFolders } from '../../storage/make-folders.ts';
import { LazyImages, type OpenImage } from './lazy-images.ts';
import type { PullSecrets } from './pull-secrets.ts';
import { claimAddress, listenAt } from './server.ts';
import { SnapshotFolders } from './snapshot-folders.ts';
import { SnapshotStore } from './snapshot-store.ts';
import { Snapshotter } from './snapshotter.ts';

/** Whoever serves a folder listens there, so that a second one is refused; nobody says anything. */
const HELD_SOCKET = 'held';

export interface ServeOptions {
  /** Of the socket. */
  readonly address: string;
  /** Folder for snapshots and what is known of them. */
  readonly root: string;
  readonly runtimeDir: string;
  /** Folders that must not lie below a mount point: the cache, files that the server reads. */
  readonly outside: readonly string[];
  readonly openImage: OpenImage;
  /** Socket of containerd, to which kubelet's image service is passed on; undefined: it is not served. */
  readonly imageService: string | undefined;
  /** Of kubelet's pulls; whoever opens images asks there. */
  readonly secrets: PullSecrets;
  /** What nothing verified is not checked behind a mount either. */
  readonly leavesUnverified: boolean;
}

export interface ServedSnapshotter {
  /** Reads credentials again. */
  reload(): Promise<void>;
  /** Answers nobody any more, and takes the mounts down. */
  close(): Promise<void>;
}

/** Resolves when containerd may connect. @throws PeelError ERR_USAGE, ERR_CACHE, ERR_IO. */
export async function serveSnapshotter(options: ServeOptions): Promise<ServedSnapshotter> {
  const root = await openRoot(options.root);
  const release = await hold(root);
  try {
    const folders = new SnapshotFolders(root);
    const store = await SnapshotStore.open(path.join(root, 'metadata'), await folders.ids());
    const mountOptions: MountImageOptions = {
      runtimeDir: options.runtimeDir,
      outside: options.outside,
      // Nobody but root reaches the folder: what a container may do is decided by its own mounts.
      allowOther: true,
      suid: true,
      dev: true,
      leavesUnverified: options.leavesUnverified,
    };
    const images = new LazyImages({ openImage: options.openImage, folders, mountOptions });
    const snapshotter = new Snapshotter({ store, folders, images });
    await snapshotter.cleanup();
    await claimAddress(options.address);
    const { imageService: containerd, secrets } = options;
    const imageService = containerd === undefined ? undefined : { containerd, secrets };
    const listening = await listenAt(options.address, snapshotter, imageService);
    snapshotter.restore();
    return {
      reload: () => images.reload(),
      close: async () => {
        await listening.close();
        await images.close();
        await release();
      },
    };
  } catch (error) {
    await release();
    throw error;
  }
}

/** The folder, made where it is missing. @throws PeelError ERR_USAGE where overlayfs could not be told of it. */
async function openRoot(folder: string): Promise<string> {
  await makeFolders(folder);
  const root = await realpath(folder);
  if (!/[:,\\\s]/.test(root)) return root;
  throw new PeelError(
    'ERR_USAGE',
    `the folder ${root} cannot hold snapshots: overlayfs takes no path with a colon, comma, backslash or space`,
    { facts: { path: root } },
  );
}

/** @throws PeelError ERR_USAGE where another process serves the folder. */
async function hold(root: string): Promise<() => Promise<void>> {
  const address = path.join(root, HELD_SOCKET);
  await claimAddress(address);
  const server = net.createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(address, resolve);
  });
  return () => new Promise((resolve) => server.close(() => resolve()));
}
