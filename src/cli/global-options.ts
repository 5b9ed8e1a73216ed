/**
 * The options that every command has. Each can also stand in the environment (`PEEL_CACHE_DIR`) and in
 * config.json (`"cache-dir"`): one name, three spellings.
 */
import type { OptionTable } from './command.ts';

export const GLOBAL_OPTIONS = {
  platform: {
    type: 'string',
    value: 'OS/ARCH[/VARIANT]',
    summary: 'platform to choose from a multi-platform image (default: this host)',
  },
  authfile: { type: 'string', value: 'FILE', summary: 'credentials in the form of containers-auth.json(5)' },
  'plain-http': {
    type: 'string',
    multiple: true,
    value: 'HOST',
    summary: 'speak HTTP without TLS to this registry',
  },
  'tls-ca': { type: 'string', value: 'FILE', summary: 'certificates (PEM) to trust besides the system ones' },
  'tls-skip-verify': {
    type: 'string',
    multiple: true,
    value: 'HOST',
    summary: 'do not check the certificate of this registry',
  },
  'trust-realm': {
    type: 'string',
    multiple: true,
    value: 'HOST',
    summary: 'token server outside the domain of its registry that may see the credentials',
  },
  'foreign-layers': {
    type: 'boolean',
    summary: 'ask for layers that the registry lacks where the image says that they are',
  },
  'cache-dir': { type: 'string', value: 'DIR', summary: 'where the cache lies ($XDG_CACHE_HOME/peel)' },
  'cache-max-size': { type: 'string', value: 'SIZE', summary: 'size that the cache may take (10GiB)' },
  'cache-min-free': {
    type: 'string',
    value: 'PERCENT',
    summary: 'share of the disk that the cache leaves free (5%)',
  },
  'allow-unverified': {
    type: 'boolean',
    summary: 'use indexes that layers bring also where nothing in the image verifies them',
  },
  'check-unverified': {
    type: 'string',
    value: 'auto|wait|off',
    summary:
      'check them: behind a mount (auto), also at the end of other commands, which wait for it, or never',
  },
  'index-digest': {
    type: 'string',
    value: 'DIGEST',
    summary: 'read layers by the index that `peel index` made, which has this digest',
  },
  verify: {
    type: 'string',
    value: 'strict|progressive',
    summary: 'show nothing of a layer before all of it is verified, or verify as it comes (help cat)',
  },
  offline: { type: 'boolean', summary: 'use the cache only, make no request' },
  format: { type: 'string', value: 'table|json|jsonl', summary: 'how data is written (table)' },
  progress: { type: 'string', value: 'auto|plain|none', summary: 'how progress is shown on stderr (auto)' },
  quiet: { type: 'boolean', short: 'q', summary: 'no progress and no warnings' },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    summary: 'log to stderr as JSON: trace, debug, info, warn, error, silent (warnings only, as text)',
  },
  color: { type: 'string', value: 'auto|always|never', summary: 'colours on stdout (auto)' },
} as const satisfies OptionTable;

export type GlobalName = keyof typeof GLOBAL_OPTIONS;

export const GLOBAL_NAMES = Object.keys(GLOBAL_OPTIONS) as readonly GlobalName[];

/** `cache-dir` is `PEEL_CACHE_DIR` in the environment. */
export function environmentNameOf(name: string): string {
  return `PEEL_${name.toUpperCase().replaceAll('-', '_')}`;
}
