/** The mounts that a user asks for: `-v HOST:CONTAINER[:ro]` and `--tmpfs CONTAINER[:OPTIONS]`. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { PeelError } from '../errors.ts';
import type { OciMount } from './default-mounts.ts';

/** Of --volume; the values for SELinux labels are taken and mean nothing here. */
const VOLUME_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  ro: ['ro'],
  rw: ['rw'],
  z: [],
  Z: [],
  nocopy: [],
  nosuid: ['nosuid'],
  nodev: ['nodev'],
  noexec: ['noexec'],
  private: ['private'],
  rprivate: ['rprivate'],
  slave: ['slave'],
  rslave: ['rslave'],
  shared: ['shared'],
  rshared: ['rshared'],
};
const TMPFS_FLAG =
  /^(?:ro|rw|(?:no)?(?:exec|suid|dev|atime)|(?:size|nr_inodes)=\d+[kmgKMG%]?|mode=[0-7]{1,4}|[ug]id=\d{1,10})$/;

/** @throws PeelError ERR_USAGE. */
function parseDestination(text: string, option: string): string {
  const destination = path.posix.normalize(text);
  if (!text.startsWith('/') || destination === '/') {
    throw new PeelError('ERR_USAGE', `${option}: '${text}' is not an absolute path below / in the container`);
  }
  return destination.replace(/(?<=.)\/$/, '');
}

/** @throws PeelError ERR_USAGE; ERR_CONTAINER where the host has nothing at that place. */
export function parseVolume(text: string): OciMount {
  const [from = '', to, flags, ...rest] = text.split(':');
  if (to === undefined || rest.length > 0) {
    throw new PeelError('ERR_USAGE', `--volume ${text}: write HOST-PATH:CONTAINER-PATH[:ro]`);
  }
  if (!/^(?:\/|\.\.?(?:\/|$)|~\/)/.test(from)) {
    throw new PeelError(
      'ERR_USAGE',
      `--volume ${text}: '${from}' is no path; peel has no named volumes, name a file or folder of the host`,
    );
  }
  const source = path.resolve(from);
  if (!existsSync(source)) {
    throw new PeelError('ERR_CONTAINER', `--volume ${text}: ${source} does not exist; make it first`);
  }
  const options = (flags ?? '').split(',').filter(Boolean);
  const unknown = options.find((option) => !Object.hasOwn(VOLUME_OPTIONS, option));
  if (unknown !== undefined)
    throw new PeelError('ERR_USAGE', `--volume ${text}: unknown option '${unknown}'`);
  const given = options.flatMap((option) => VOLUME_OPTIONS[option] ?? []);
  const isPropagation = (option: string): boolean => /(?:private|slave|shared)$/.test(option);
  return {
    destination: parseDestination(to, `--volume ${text}`),
    type: 'bind',
    source,
    options: ['rbind', ...given, ...(given.some(isPropagation) ? [] : ['rprivate'])],
  };
}

/** @throws PeelError ERR_USAGE. */
export function parseTmpfs(text: string): OciMount {
  const colon = text.indexOf(':');
  const place = colon === -1 ? text : text.slice(0, colon);
  const options =
    colon === -1
      ? []
      : text
          .slice(colon + 1)
          .split(',')
          .filter(Boolean);
  const unknown = options.find((option) => !TMPFS_FLAG.test(option));
  if (unknown !== undefined) throw new PeelError('ERR_USAGE', `--tmpfs ${text}: unknown option '${unknown}'`);
  const isSet = (flag: string): boolean => options.includes(flag) || options.includes(`no${flag}`);
  const defaults = ['exec', 'suid', 'dev'].filter((flag) => !isSet(flag)).map((flag) => `no${flag}`);
  return {
    destination: parseDestination(place, `--tmpfs ${text}`),
    type: 'tmpfs',
    source: 'tmpfs',
    options: [
      ...defaults,
      ...options,
      ...(options.some((each) => each.startsWith('mode=')) ? [] : ['mode=1777']),
    ],
  };
}

/** `later` over `earlier` where both name a place; shallow places first, so that none hides another. */
export function joinMounts(earlier: readonly OciMount[], later: readonly OciMount[]): OciMount[] {
  const places = new Set(later.map(({ destination }) => destination));
  const depth = ({ destination }: OciMount): number => destination.split('/').length;
  return [
    ...earlier.filter(({ destination }) => !places.has(destination)),
    ...later.toSorted((a, b) => depth(a) - depth(b)),
  ];
}
