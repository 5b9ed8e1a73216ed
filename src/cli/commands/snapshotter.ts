import path from 'node:path';
import { PeelError } from '../../errors.ts';
import { openRuntimeDir } from '../../fuse/mount-records.ts';
import { log, prepareLog } from '../../log.ts';
import { defineCommand } from '../command.ts';
import { listenForInterruption } from '../interruption.ts';
import { openOptionsOf } from '../open-images.ts';

const SOCKET_NAME = 'snapshotter.sock';
const DEFAULT_ROOT = '/var/lib/peel/snapshotter';

export const snapshotter = defineCommand({
  name: 'snapshotter',
  summary: 'serve containerd, so that containers start before their image is pulled',
  usage: ['[--address SOCKET] [--root DIR]'],
  details: [
    'A snapshotter for containerd (proxy plugin), as root. Layers of images that can be read lazily are not downloaded: each image is one mount, with overlayfs on top. All others are unpacked as always. docs/SNAPSHOTTER.md says how containerd is told.',
    'The address is printed once containerd may connect. TERM and INT end it and take its mounts down, HUP reads credentials again.',
  ],
  options: {
    address: {
      type: 'string',
      value: 'SOCKET',
      summary: `where containerd connects (default: ${SOCKET_NAME} in the runtime folder)`,
    },
    root: {
      type: 'string',
      value: 'DIR',
      summary: `folder for snapshots, what containers write included (default: ${DEFAULT_ROOT})`,
    },
    'image-service': {
      type: 'string',
      value: 'SOCKET',
      summary:
        "answer kubelet's image service too, through containerd at this socket, and use its pull secrets",
    },
  },
  minArgs: 0,
  maxArgs: 0,
  ownSignals: true,
  async run(context) {
    const { flags, settings, env } = context;
    if (process.geteuid?.() !== 0) {
      throw new PeelError(
        'ERR_PERMISSION',
        'peel snapshotter: what it mounts is for root alone; run it as root',
      );
    }
    const runtimeDir = await openRuntimeDir(env);
    const address = path.resolve(flags.address ?? path.join(runtimeDir, SOCKET_NAME));
    const [{ serveSnapshotter }, { PullSecrets }, { openImage }] = await Promise.all([
      import('../../container/snapshotter/serve.ts'),
      import('../../container/snapshotter/pull-secrets.ts'),
      import('../../image.ts'),
    ]);
    const interruption = listenForInterruption(process, { by: ['SIGTERM', 'SIGINT'], ignored: ['SIGUSR1'] });
    const secrets = new PullSecrets();
    const options = openOptionsOf(settings, env);
    const registry = { ...options.source.registry, authText: () => secrets.authText() };
    const served = await serveSnapshotter({
      address,
      root: path.resolve(flags.root ?? DEFAULT_ROOT),
      runtimeDir,
      outside: [settings.cacheDir, settings.authfile, settings.tlsCa].filter((file) => file !== undefined),
      leavesUnverified: settings.checkUnverified === 'off',
      openImage: (name, how) =>
        openImage(name, { ...options, source: { ...options.source, registry }, ...how }),
      imageService: flags['image-service'] === undefined ? undefined : path.resolve(flags['image-service']),
      secrets,
    });
    prepareLog();
    const reload = (): void => {
      served.reload().then(
        () => log().info('credentials read again'),
        (error: unknown) => log().error({ err: error }, 'reading credentials again failed'),
      );
    };
    process.on('SIGHUP', reload);
    try {
      await context.stdout.write(`${address}\n`);
      await context.stdout.flush();
      await interruption.interrupted.catch(() => undefined);
      return 0;
    } finally {
      process.off('SIGHUP', reload);
      interruption.end();
      await served.close();
    }
  },
});
