/**
 * An OCI bundle over a mount: what `peel bundle` leaves for a runtime, and `peel run` starts one from.
 *
 *   image ─► FUSE mount (grows) ─► overlayfs ─► rootfs ─┐
 *        └─► config ─► config.json ─────────────────────┴─► a bundle
 */
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { PeelError } from '../errors.ts';
import type { Image } from '../image.ts';
import { log } from '../log.ts';
import { logMissing } from '../mount/growth.ts';
import { type MountedImage, type MountImageOptions, mountImage } from '../mount.ts';
import { type BundleRecord, layOut, PLACES, takeApart, unmountBundle } from './bundle-folder.ts';
import { imageDefaultsOf } from './image-defaults.ts';
import { type Network, writeNetworkFiles } from './network-files.ts';
import { type ConfigParts, type ContainerOptions, ociConfigOf } from './oci-config.ts';
import { mountRootfs } from './overlay.ts';
import { type ContainerUser, findUser } from './user.ts';
import { areMapped, isInUserNamespace, mayHaveGroups } from './user-namespace.ts';

export interface BundleOptions {
  readonly image: Image;
  /** Absolute, without links, existing and empty. */
  readonly folder: string;
  readonly record: BundleRecord;
  readonly mount: MountImageOptions;
  readonly container: ContainerOptions;
  /** The name that the container has without --hostname. */
  readonly shortName: string;
  readonly inUserNamespace: boolean;
  readonly cgroupsPath: string | undefined;
  /** The changes go with the container. */
  readonly isVolatile: boolean;
}

export interface Bundle {
  readonly mounted: MountedImage;
  /** Of the image; empty where it names none. */
  readonly stopSignal: string;
  /** The command, for messages. */
  readonly command: string;
  /** Unmounts; what was written stays. */
  unmount(lazy: boolean): Promise<void>;
}

function hostnameOf(container: ContainerOptions, network: Network, shortName: string): string {
  return container.hostname ?? (network === 'host' ? os.hostname() : shortName);
}

/**
 * The user as far as this user namespace has users: where no process may have groups, without them.
 * @throws PeelError ERR_CONTAINER for one that it does not have.
 */
function userHere(user: ContainerUser): ContainerUser {
  if (!isInUserNamespace()) return user;
  const groups = mayHaveGroups() ? user.additionalGids : [];
  if (areMapped([user.uid], 'uid_map') && areMapped([user.gid, ...groups], 'gid_map')) {
    return { ...user, additionalGids: groups };
  }
  throw new PeelError(
    'ERR_CONTAINER',
    `the container's user ${user.uid}:${user.gid}: without root of the host there is none of that number here; ` +
      'use -u 0, or install newuidmap (package uidmap) and give this user a range in /etc/subuid and /etc/subgid',
  );
}

/**
 * Lays the folder out, mounts, and writes config.json. Resolves before all of the image is known; what is not known
 * yet makes its reader wait. Where it rejects, nothing of it is left.
 * @throws PeelError what mounting and reading the image say, ERR_CONTAINER, ERR_USAGE.
 */
export async function makeBundle(options: BundleOptions): Promise<Bundle> {
  const { image, folder, record, container } = options;
  const defaults = imageDefaultsOf(image.config);
  layOut(folder, record);
  try {
    const mounted = await mountImage(image, path.join(folder, PLACES.lower), options.mount);
    mounted.whole.catch(logMissing);
    await mountRootfs({
      folder,
      lower: PLACES.lower,
      upper: PLACES.upper,
      work: PLACES.work,
      target: PLACES.rootfs,
      isVolatile: options.isVolatile,
      inUserNamespace: options.inUserNamespace,
    });
    const hostname = hostnameOf(container, container.network, options.shortName);
    const parts: ConfigParts = {
      config: image.config,
      defaults,
      options: container,
      user: userHere(await findUser(image, container.user ?? defaults.user)),
      hostname,
      networkMounts: writeNetworkFiles(path.join(folder, PLACES.etc), {
        network: container.network,
        hostname,
        isReadOnly: container.isReadOnly,
      }),
      inUserNamespace: options.inUserNamespace,
      cgroupsPath: options.cgroupsPath,
    };
    const config = ociConfigOf(parts);
    writeFileSync(path.join(folder, PLACES.config), `${JSON.stringify(config, undefined, 2)}\n`, {
      mode: 0o600,
    });
    return {
      mounted,
      stopSignal: defaults.stopSignal,
      command:
        container.command[0] ?? container.entrypoint?.[0] ?? defaults.entrypoint[0] ?? defaults.cmd[0] ?? '',
      unmount: (lazy) => unmountBundle(folder, lazy),
    };
  } catch (error) {
    await takeApart(folder, record, { lazy: true }).catch((failure: unknown) => {
      log().warn({ err: failure, folder }, 'a bundle that failed is left behind');
    });
    throw error;
  }
}
