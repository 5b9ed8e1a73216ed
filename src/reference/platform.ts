/**
 * Operating system and architecture: image-spec image-index.md. Names are normalised, and what runs on
 * what is decided, as containerd/platforms does (database.go, compare.go), so that the same manifest is
 * chosen here as by docker, containerd and podman.
 */
import { PeelError } from '../errors.ts';
import { excerpt } from './digest.ts';

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion?: string;
}

const ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ['x86_64', 'amd64'],
  ['x86-64', 'amd64'],
  ['i386', '386'],
  ['aarch64', 'arm64'],
]);

/** What Node calls `process.arch`, where image-spec (Go) has another word. */
const ARCHITECTURE_OF_NODE: ReadonlyMap<string, string> = new Map([
  ['x64', 'amd64'],
  ['ia32', '386'],
  ['ppc64', 'ppc64le'],
  ['mipsel', 'mipsle'],
]);

const OS_NAMES = [
  'linux',
  'windows',
  'darwin',
  'freebsd',
  'netbsd',
  'openbsd',
  'solaris',
  'android',
  'wasip1',
];

/** The one spelling of each platform: lower case, aliases replaced, the default variant left out. */
export function normalisePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const { architecture, variant } = normaliseArchitecture(platform.architecture, platform.variant ?? '');
  return {
    os: os === 'macos' ? 'darwin' : os,
    architecture,
    ...(variant === '' ? {} : { variant }),
    ...(platform.osVersion === undefined ? {} : { osVersion: platform.osVersion }),
  };
}

/**
 * `os/arch[/variant]`; one word alone is taken as containerd does, an architecture or an operating system,
 * with the host's other half. The result is normalised.
 * @throws PeelError ERR_USAGE
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  if (text.length > 100 || parts.length > 3 || !parts.every((part) => /^[A-Za-z0-9_.-]+$/.test(part))) {
    throw new PeelError(
      'ERR_USAGE',
      `${excerpt(text)} is not a platform: expected os/arch[/variant], as linux/arm64/v8`,
    );
  }
  const [first = '', second, variant] = parts;
  if (second !== undefined) {
    return normalisePlatform({
      os: first,
      architecture: second,
      ...(variant === undefined ? {} : { variant }),
    });
  }
  const host = hostPlatform();
  const isOs = OS_NAMES.includes(normalisePlatform({ os: first, architecture: '' }).os);
  return isOs
    ? normalisePlatform({ ...host, os: first })
    : normalisePlatform({ os: host.os, architecture: first });
}

/** Where this program runs. The variant of an amd64 host is not looked at: v1 runs everywhere. */
export function hostPlatform(): Platform {
  const architecture = ARCHITECTURE_OF_NODE.get(process.arch) ?? process.arch;
  return normalisePlatform({ os: process.platform, architecture });
}

/** `linux/arm/v7`, as users write it. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = normalisePlatform(platform);
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/');
}

/**
 * How well `offered` suits `wanted`: 0 is the best, undefined is not at all. An amd64 host takes lower
 * levels, then 386; an arm host lower versions; an arm64 host lower versions, then 32-bit arm.
 */
export function platformRank(offered: Platform, wanted: Platform): number | undefined {
  const key = formatPlatform(offered);
  const rank = preferencesOf(normalisePlatform(wanted)).findIndex(
    (platform) => formatPlatform(platform) === key,
  );
  return rank < 0 ? undefined : rank;
}

/** What runs on `wanted` (normalised), best first; containerd/platforms `platformVector`. */
function preferencesOf(wanted: Platform): readonly Platform[] {
  const { os } = wanted;
  const of = (architecture: string, variant: string): Platform => ({ os, architecture, variant });
  const level = versionOf(wanted.variant);
  switch (wanted.architecture) {
    case 'amd64': {
      const lower = level === undefined ? [] : countDown(level.major - 1, 1).map((v) => of('amd64', `v${v}`));
      return [wanted, ...lower, { os, architecture: '386' }];
    }
    case 'arm': {
      const lower = level === undefined ? [] : countDown(level.major - 1, 5).map((v) => of('arm', `v${v}`));
      return [wanted, ...lower];
    }
    case 'arm64': {
      const { major, minor } = level ?? { major: 8, minor: 0 };
      // Armv9.x has all that Armv8.(x+5) has.
      const nines = major === 9 ? countDown(minor, 0).map((v) => of('arm64', `v9.${v}`)) : [];
      const eights = countDown(major === 9 ? minor + 5 : minor, 0).map((v) => of('arm64', `v8.${v}`));
      const known = major === 8 || major === 9 ? [...nines, ...eights] : [wanted];
      return [...known, ...[8, 7, 6, 5].map((v) => of('arm', `v${v}`))];
    }
    default:
      return [wanted];
  }
}

function normaliseArchitecture(
  architecture: string,
  variant: string,
): { architecture: string; variant: string } {
  const lower = architecture.toLowerCase();
  const name = ARCHITECTURES.get(lower) ?? lower;
  const v = variant.toLowerCase();
  switch (name) {
    case '386':
      return { architecture: name, variant: lower === 'i386' ? '' : v };
    case 'amd64':
      return { architecture: name, variant: v === 'v1' ? '' : v };
    case 'arm64': {
      const dotted = /^[0-9]/.test(v) ? `v${v}` : v;
      if (dotted === 'v8' || dotted === 'v8.0') return { architecture: name, variant: '' };
      return { architecture: name, variant: dotted === 'v9.0' ? 'v9' : dotted };
    }
    case 'armhf':
      return { architecture: 'arm', variant: 'v7' };
    case 'armel':
      return { architecture: 'arm', variant: 'v6' };
    case 'arm':
      return { architecture: name, variant: v === '' ? 'v7' : /^[0-9]/.test(v) ? `v${v}` : v };
    default:
      return { architecture: name, variant: v };
  }
}

/** `v8.2` as numbers; at most two digits each, so that a hostile variant makes no long list. */
function versionOf(variant: string | undefined): { major: number; minor: number } | undefined {
  const match = /^v([0-9]{1,2})(?:\.([0-9]{1,2}))?$/.exec(variant ?? '');
  return match === null ? undefined : { major: Number(match[1]), minor: Number(match[2] ?? 0) };
}

/** `from`, `from - 1`, ... `to`; empty where `from` is below `to`. */
function countDown(from: number, to: number): readonly number[] {
  return Array.from({ length: Math.max(0, from - to + 1) }, (_, step) => from - step);
}
