/**
 * `peel bundle`: config.json and rootfs of an image for `runc run` and `crun run`. A process in the background serves
 * it; `peel umount DIR` takes it apart.
 */
import { mkdirSync, readdirSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { makeBundle } from '../../container/bundle.ts';
import { type BundleRecord, takeApart } from '../../container/bundle-folder.ts';
import type { ContainerOptions } from '../../container/oci-config.ts';
import { isInUserNamespace } from '../../container/user-namespace.ts';
import { PeelError, systemCodeOf } from '../../errors.ts';
import { ReadyPipe } from '../../fuse/background.ts';
import { openRuntimeDir, startTicksOf } from '../../fuse/mount-records.ts';
import { serve } from '../../fuse/serve.ts';
import type { MountImageOptions } from '../../mount.ts';
import { BEFORE_SERVING, type ServedPlace, serveForParent, startInBackground } from '../background-server.ts';
import { type Context, defineCommand, type ImageOptions } from '../command.ts';
import { CONTAINER_OPTIONS, readContainerFlags } from '../container-flags.ts';
import { listenForInterruption } from '../interruption.ts';
import { MOUNT_OPTIONS, readMountFlags, servedOptionsOf } from '../mount-flags.ts';

const OPTIONS = { ...CONTAINER_OPTIONS, ...MOUNT_OPTIONS } as const;

type BundleContext = Context<typeof OPTIONS>;

const TIMEOUT_MS = 30_000;

interface BundleCommand {
  readonly imageName: string;
  readonly place: string;
  readonly container: ContainerOptions;
  readonly mount: MountImageOptions;
  readonly imageOptions: ImageOptions;
}

export const bundle = defineCommand({
  name: 'bundle',
  summary: 'make an OCI bundle that runc and crun run',
  usage: ['[OPTION...] IMAGE DIR [COMMAND [ARG...]]'],
  details: [
    'DIR is made, or is empty: config.json, and rootfs over a mount of the image, served in the background. It is there as soon as the upper layers answer.',
    "'peel umount DIR' takes it apart, with what containers have written.",
  ],
  options: OPTIONS,
  minArgs: 2,
  maxArgs: Number.POSITIVE_INFINITY,
  optionsFirst: true,
  ownSignals: true,
  async run(context) {
    const [imageName = '', place = '', ...command] = context.args;
    const flags = readMountFlags(context.flags);
    const forServed = servedOptionsOf(flags.readTimeoutMs, context.settings);
    const parsed: BundleCommand = {
      imageName,
      place,
      container: readContainerFlags(context.flags, command, context.env, undefined),
      mount: { ...flags, ...forServed.mount, runtimeDir: await openRuntimeDir(context.env) },
      imageOptions: forServed.image,
    };
    const pipe = ReadyPipe.inherited(context.env);
    if (pipe === undefined) return startInBackground(context, imageName, TIMEOUT_MS);
    return serveForParent(context, parsed.mount.runtimeDir, pipe, (logFile) =>
      makeAndServe(context, parsed, pipe, logFile),
    );
  },
});

async function makeAndServe(
  context: BundleContext,
  { imageName, place, container, mount, imageOptions }: BundleCommand,
  pipe: ReadyPipe,
  logFile: string,
): Promise<ServedPlace> {
  const interruption = listenForInterruption(process, BEFORE_SERVING);
  try {
    const image = await Promise.race([context.openImage(imageName, imageOptions), interruption.interrupted]);
    const { folder, ownsFolder } = prepareFolder(place);
    const record: BundleRecord = {
      pid: process.pid,
      startTicks: startTicksOf(process.pid) ?? '',
      image: image.name,
      digest: image.digest,
      ownsFolder,
      container: undefined,
    };
    const making = makeBundle({
      image,
      folder,
      record,
      mount: { ...mount, logFile, outside: [context.settings.cacheDir], onMounting: () => pipe.mounting() },
      container,
      shortName: path.basename(folder),
      inUserNamespace: isInUserNamespace(),
      cgroupsPath: undefined,
      isVolatile: false,
    });
    try {
      const made = await Promise.race([making, interruption.interrupted]);
      pipe.mounted();
      const served = serve(
        { ...made.mounted, unmount: ({ lazy }) => made.unmount(lazy) },
        { signals: process, tell: () => undefined },
      );
      return { place: folder, served, unmount: () => takeApart(folder, record, { lazy: true }) };
    } catch (error) {
      if (interruption.signal.aborted) {
        await image.close();
        const [made] = await Promise.allSettled([making]);
        if (made.status === 'fulfilled') await takeApart(folder, record, { lazy: true });
      }
      throw error;
    }
  } finally {
    interruption.end();
  }
}

/** @throws PeelError ERR_MOUNT_POINT_MISSING, ERR_MOUNT_POINT_BUSY, ERR_MOUNT. */
function prepareFolder(place: string): { readonly folder: string; readonly ownsFolder: boolean } {
  const facts = { path: place };
  try {
    // Nobody else goes in: setuid programs of an image are no business of the host's users.
    mkdirSync(place, { mode: 0o700 });
    return { folder: realpathSync(place), ownsFolder: true };
  } catch (error) {
    const code = systemCodeOf(error);
    if (code !== 'EEXIST') {
      throw new PeelError('ERR_MOUNT_POINT_MISSING', `making the bundle ${place}: ${code ?? String(error)}`, {
        facts,
        cause: error,
      });
    }
  }
  const folder = realpathSync(place);
  try {
    if (readdirSync(folder).length === 0) return { folder, ownsFolder: false };
  } catch (error) {
    throw new PeelError('ERR_MOUNT', `making the bundle ${place}: ${systemCodeOf(error) ?? String(error)}`, {
      facts,
      cause: error,
    });
  }
  throw new PeelError(
    'ERR_MOUNT_POINT_BUSY',
    `making the bundle ${place}: the folder is not empty; name a new one ('peel umount' takes an old bundle apart)`,
    { facts },
  );
}
