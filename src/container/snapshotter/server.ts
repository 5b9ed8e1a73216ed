/** The socket that containerd connects to: a file that this user alone may open. */
import { chmod, lstat, rm } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { PeelError, systemCodeOf } from '../../errors.ts';
import { makeFolders } from '../../storage/make-folders.ts';
import { snapshotsService } from './api.ts';
import { addImageService, IMAGE_SERVICE_LIMITS } from './image-service.ts';
import type { PullSecrets } from './pull-secrets.ts';
import { snapshotsHandlers } from './service.ts';
import type { Snapshotter } from './snapshotter.ts';

/** sun_path of unix(7), with its end. */
const MAX_ADDRESS_BYTES = 107;
/** What is being answered when the server stops has so long. */
const SHUTDOWN_MS = 2000;

export interface ListeningSnapshotter {
  /** Answers nobody any more. */
  close(): Promise<void>;
}

/** @throws PeelError ERR_IO. `imageService`: kubelet's calls are passed on to that socket of containerd. */
export async function listenAt(
  address: string,
  snapshotter: Snapshotter,
  imageService?: { readonly containerd: string; readonly secrets: PullSecrets },
): Promise<ListeningSnapshotter> {
  const server = new Server(IMAGE_SERVICE_LIMITS);
  server.addService(snapshotsService(), snapshotsHandlers(snapshotter));
  const disconnect =
    imageService === undefined
      ? undefined
      : addImageService(server, imageService.containerd, imageService.secrets);
  await bind(server, address);
  await chmod(address, 0o600);
  return {
    close: () =>
      new Promise((resolve) => {
        const timer = setTimeout(() => server.forceShutdown(), SHUTDOWN_MS);
        server.tryShutdown(() => {
          clearTimeout(timer);
          disconnect?.();
          resolve();
        });
      }),
  };
}

/** Makes room for the socket. @throws PeelError ERR_USAGE, ERR_IO. */
export async function claimAddress(address: string): Promise<void> {
  const facts = { path: address };
  if (!path.isAbsolute(address) || Buffer.byteLength(address) > MAX_ADDRESS_BYTES) {
    throw new PeelError(
      'ERR_USAGE',
      `the address ${address} must be the absolute path of a socket, of at most ${MAX_ADDRESS_BYTES} bytes`,
      { facts },
    );
  }
  await makeFolders(path.dirname(address));
  const found = await lstat(address).catch((error: unknown) => {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
  });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new PeelError('ERR_USAGE', `the address ${address} is taken: what lies there is not a socket`, {
      facts,
    });
  }
  if (await isServed(address)) {
    throw new PeelError('ERR_USAGE', `the address ${address} is taken: another server answers there`, {
      facts,
    });
  }
  await rm(address, { force: true });
}

function bind(server: Server, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix://${address}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else {
        const message = `listening at ${address}: ${error.message}`;
        reject(new PeelError('ERR_IO', message, { facts: { path: address }, cause: error }));
      }
    });
  });
}

function isServed(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(address);
    const done = (isThere: boolean): void => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once('connect', () => done(true)).once('error', () => done(false));
  });
}
