/** The options of a mount, which `mount`, `run` and `bundle` share: their table, and what they say. */
import { PeelError } from '../errors.ts';
import { TRANSPORT_NAMES, TRANSPORTS, type TransportName } from '../fuse/transports.ts';
import type { StartProfile } from '../image/start-profile.ts';
import type { MountImageOptions } from '../mount.ts';
import type { Flags, ImageOptions } from './command.ts';
import { readProfileFile } from './profile-file.ts';
import type { Settings } from './settings.ts';

export const DEFAULT_TRANSPORT: TransportName = 'native';

export const MOUNT_OPTIONS = {
  passthrough: {
    type: 'boolean',
    summary: 'the kernel reads large files from the cache by itself (root, Linux 6.9); open(2) costs more',
  },
  profile: {
    type: 'string',
    value: 'FILE',
    summary:
      "fetch ahead what this profile names ('peel profile export' made it), not what starts noted here",
  },
  'no-profile': {
    type: 'boolean',
    summary: 'do not note what a start reads, and fetch nothing ahead of it',
  },
  'read-timeout': {
    type: 'string',
    value: 'S',
    summary:
      'seconds until a read without bytes, or a look at what is not indexed while nothing comes, ends with EIO; 0 waits for ever (default: 60)',
  },
  transport: {
    type: 'string',
    value: 'native|fuse-native',
    summary: `how the kernel is answered: by native threads, or through libfuse 2 (default: ${DEFAULT_TRANSPORT})`,
  },
  'io-uring': {
    type: 'string',
    value: 'auto|off',
    summary: 'native: requests over io_uring where the kernel has it on, or never (default: auto)',
  },
  watchdog: {
    type: 'string',
    value: 'S',
    summary: 'native: seconds without a sign of life until the mount is cut off; 0 never (default: 90)',
  },
} as const;

/** Smaller files gain nothing that an OPEN of their backing file would not cost again: docs/ARCHITECTURE.md. */
const PASSTHROUGH_FROM_BYTES = 1024 * 1024;
const DEFAULT_READ_TIMEOUT_S = 60;
const DEFAULT_WATCHDOG_S = 90;
/** The watchdog is a guard against what never ends by itself. */
const MAX_WATCHDOG_S = 24 * 60 * 60;
/** A read ends at the latest so long after its deadline. */
const BACKSTOP_MS = 1000;
/** setTimeout takes 31 bits of milliseconds. */
const MAX_TIMEOUT_S = 2_000_000;

/** What the flags say of the mount. */
export type FlaggedMountOptions = Required<
  Pick<MountImageOptions, 'readTimeoutMs' | 'transport' | 'watchdogMs' | 'ioUring'>
> &
  Pick<MountImageOptions, 'passthroughFrom' | 'profile'>;

/** @throws PeelError ERR_USAGE. */
export function readMountFlags(flags: Flags<typeof MOUNT_OPTIONS>): FlaggedMountOptions {
  const transport = TRANSPORT_NAMES.find((name) => name === (flags.transport ?? DEFAULT_TRANSPORT));
  if (transport === undefined) {
    throw new PeelError('ERR_USAGE', `--transport: '${flags.transport}' is neither native nor fuse-native`);
  }
  const ioUring = flags['io-uring'] ?? 'auto';
  if (ioUring !== 'auto' && ioUring !== 'off') {
    throw new PeelError('ERR_USAGE', `--io-uring: '${ioUring}' is neither auto nor off`);
  }
  if (flags.passthrough && transport !== 'native') {
    throw new PeelError('ERR_USAGE', `--passthrough: not with --transport ${transport}`);
  }
  const watchdog = parseSeconds(flags.watchdog, '--watchdog', DEFAULT_WATCHDOG_S, 0);
  if (watchdog > MAX_WATCHDOG_S) {
    throw new PeelError('ERR_USAGE', `--watchdog: ${watchdog} s is more than a day, ${MAX_WATCHDOG_S} s`);
  }
  return {
    profile: profileOf(flags),
    readTimeoutMs: parseSeconds(flags['read-timeout'], '--read-timeout', DEFAULT_READ_TIMEOUT_S, 0) * 1000,
    transport: TRANSPORTS[transport],
    watchdogMs: watchdog * 1000,
    ioUring: ioUring === 'auto',
    ...(flags.passthrough ? { passthroughFrom: PASSTHROUGH_FROM_BYTES } : {}),
  };
}

function profileOf(
  flags: Pick<Flags<typeof MOUNT_OPTIONS>, 'profile' | 'no-profile'>,
): StartProfile | 'off' | undefined {
  if (flags.profile === undefined) return flags['no-profile'] ? 'off' : undefined;
  if (!flags['no-profile']) return readProfileFile(flags.profile);
  throw new PeelError('ERR_USAGE', '--profile and --no-profile exclude each other');
}

/** @throws PeelError ERR_USAGE. */
export function parseSeconds(
  text: string | undefined,
  what: string,
  otherwise: number,
  least: number,
): number {
  if (text === undefined) return otherwise;
  const value = /^\d{1,9}(\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= MAX_TIMEOUT_S) return value;
  throw new PeelError(
    'ERR_USAGE',
    `${what}: '${text}' is not a number of seconds from ${least} to ${MAX_TIMEOUT_S}`,
  );
}

/**
 * What follows for an image that is mounted, and for its mount. The image's own deadline knows the layer and the range; the
 * transport's comes behind it, for what is deaf.
 */
export function servedOptionsOf(
  readTimeoutMs: number,
  { checkUnverified }: Pick<Settings, 'checkUnverified'>,
): {
  readonly image: ImageOptions;
  readonly mount: Pick<MountImageOptions, 'readTimeoutMs' | 'leavesUnverified'>;
} {
  return {
    image: { readDeadlineMs: readTimeoutMs, isServed: true },
    mount: {
      leavesUnverified: checkUnverified === 'off',
      ...(readTimeoutMs === 0 ? {} : { readTimeoutMs: readTimeoutMs + BACKSTOP_MS }),
    },
  };
}
