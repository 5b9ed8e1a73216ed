/**
 * The settings that every command shares. Each is looked for in this order: flag, environment
 * (`PEEL_FLAG_NAME`), `$XDG_CONFIG_HOME/peel/config.json`, default. docs/CONFIGURATION.md is the table.
 */
import os from 'node:os';
import path from 'node:path';
import { PeelError } from '../errors.ts';
import { LOG_LEVELS, type LogLevel } from '../log.ts';
import { type Digest, isDigest } from '../units.ts';
import type { OptionValues } from './arguments.ts';
import { environmentNameOf, GLOBAL_NAMES, GLOBAL_OPTIONS, type GlobalName } from './global-options.ts';
import { parsePercent, parseSize } from './size.ts';

const CHECKS = ['auto', 'wait', 'off'] as const;
const VERIFY = ['strict', 'progressive'] as const;
const FORMATS = ['table', 'json', 'jsonl'] as const;
const PROGRESS_STYLES = ['auto', 'plain', 'none'] as const;
const COLORS = ['auto', 'always', 'never'] as const;

export type Format = (typeof FORMATS)[number];
export type ProgressStyle = (typeof PROGRESS_STYLES)[number];
export type ColorChoice = (typeof COLORS)[number];

export interface Settings {
  /** `os/arch[/variant]`; undefined for this host. */
  readonly platform: string | undefined;
  readonly authfile: string | undefined;
  /** Hosts (with port) to speak plain HTTP to. */
  readonly plainHttp: readonly string[];
  /** PEM file. */
  readonly tlsCa: string | undefined;
  /** Hosts (with port) whose certificate is not checked. */
  readonly tlsSkipVerify: readonly string[];
  /** Token servers (with port) outside their registry's domain that may see its credentials. */
  readonly trustedRealms: readonly string[];
  readonly foreignLayers: boolean;
  readonly cacheDir: string;
  /** Bytes. */
  readonly cacheMaxSize: number;
  /** Share of the file system that the cache leaves free: 0 to 1. */
  readonly cacheMinFree: number;
  /** Indexes that layers bring are used also where nothing verifies them. */
  readonly allowUnverified: boolean;
  /** When these are checked. */
  readonly checkUnverified: (typeof CHECKS)[number];
  /** Of the index that layers are read by. */
  readonly indexDigest: Digest | undefined;
  /** undefined: as the command does by itself. */
  readonly verify: (typeof VERIFY)[number] | undefined;
  readonly offline: boolean;
  readonly format: Format;
  readonly progress: ProgressStyle;
  readonly quiet: boolean;
  /** undefined: no log, but warnings are shown as one line each. */
  readonly logLevel: LogLevel | undefined;
  readonly color: ColorChoice;
}

/** 10 GiB: room for a few dozen images, on a disk that was bought for more. */
const DEFAULT_CACHE_MAX_SIZE = '10GiB';
const DEFAULT_CACHE_MIN_FREE = '5%';

/**
 * Merges the three sources. `flags` and `file` hold global options by long name.
 * @throws PeelError ERR_USAGE naming the option and where its value came from.
 */
export function mergeSettings(flags: OptionValues, env: NodeJS.ProcessEnv, file: OptionValues): Settings {
  const fromEnvironment = readEnvironment(env);
  const layers: readonly (readonly [string, OptionValues])[] = [
    ['option', flags],
    ['environment', fromEnvironment],
    ['config.json', file],
  ];
  const find = (name: GlobalName): Found => {
    for (const [origin, values] of layers) {
      const value = values.get(name);
      if (value !== undefined) return { value, what: nameIn(origin, name) };
    }
    return { value: undefined, what: `--${name}` };
  };
  const cacheMaxSize = text(find('cache-max-size'));
  const cacheMinFree = text(find('cache-min-free'));
  return {
    platform: text(find('platform')).value,
    authfile: text(find('authfile')).value,
    plainHttp: list(find('plain-http')),
    tlsCa: text(find('tls-ca')).value,
    tlsSkipVerify: list(find('tls-skip-verify')),
    trustedRealms: list(find('trust-realm')),
    foreignLayers: find('foreign-layers').value === true,
    cacheDir: path.resolve(text(find('cache-dir')).value ?? path.join(cacheHome(env), 'peel')),
    cacheMaxSize: parseSize(cacheMaxSize.value ?? DEFAULT_CACHE_MAX_SIZE, cacheMaxSize.what),
    cacheMinFree: parsePercent(cacheMinFree.value ?? DEFAULT_CACHE_MIN_FREE, cacheMinFree.what),
    allowUnverified: find('allow-unverified').value === true,
    checkUnverified: choice(find('check-unverified'), CHECKS, 'auto'),
    indexDigest: digest(find('index-digest')),
    verify: choice(find('verify'), VERIFY, undefined),
    offline: find('offline').value === true,
    format: choice(find('format'), FORMATS, 'table'),
    progress: choice(find('progress'), PROGRESS_STYLES, 'auto'),
    quiet: find('quiet').value === true,
    logLevel: choice(find('log-level'), LOG_LEVELS, undefined),
    color: choice(find('color'), COLORS, 'auto'),
  };
}

/** Where config.json lies. */
export function configFileOf(env: NodeJS.ProcessEnv): string {
  return path.join(xdgFolder(env, 'XDG_CONFIG_HOME', '.config'), 'peel', 'config.json');
}

/** True where ANSI colours are wanted on an output that is or is not a terminal. https://no-color.org */
export function wantsColor(choiceMade: ColorChoice, env: NodeJS.ProcessEnv, isTerminal: boolean): boolean {
  if (choiceMade !== 'auto') return choiceMade === 'always';
  return isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

interface Found {
  readonly value: boolean | string | readonly string[] | undefined;
  /** How the user spelled it: `--cache-dir`, `PEEL_CACHE_DIR`, `cache-dir of config.json`. */
  readonly what: string;
}

function nameIn(origin: string, name: GlobalName): string {
  if (origin === 'environment') return environmentNameOf(name);
  return origin === 'option' ? `--${name}` : `${name} of config.json`;
}

/** An empty variable counts as unset. Lists are separated by commas or blanks. */
function readEnvironment(env: NodeJS.ProcessEnv): OptionValues {
  const values = new Map<string, boolean | string | readonly string[]>();
  // Docker's own variable is older than ours and less specific.
  const dockerPlatform = env['DOCKER_DEFAULT_PLATFORM'];
  if (dockerPlatform !== undefined && dockerPlatform !== '') values.set('platform', dockerPlatform);
  for (const name of GLOBAL_NAMES) {
    const value = env[environmentNameOf(name)];
    if (value === undefined || value === '') continue;
    const spec: { type: string; multiple?: boolean } = GLOBAL_OPTIONS[name];
    if (spec.type === 'boolean') {
      values.set(name, parseSwitch(value, environmentNameOf(name)));
    } else {
      values.set(name, spec.multiple === true ? value.split(/[\s,]+/u).filter(Boolean) : value);
    }
  }
  return values;
}

function parseSwitch(value: string, what: string): boolean {
  const lower = value.toLowerCase();
  if (['1', 'true', 'yes', 'on'].includes(lower)) return true;
  if (['0', 'false', 'no', 'off'].includes(lower)) return false;
  throw new PeelError('ERR_USAGE', `${what}: '${value}' is neither true nor false`);
}

function text(found: Found): { value: string | undefined; what: string } {
  if (found.value === '') throw new PeelError('ERR_USAGE', `${found.what}: the value is empty`);
  return { value: typeof found.value === 'string' ? found.value : undefined, what: found.what };
}

function digest(found: Found): Digest | undefined {
  const { value, what } = text(found);
  if (value === undefined || isDigest(value)) return value;
  throw new PeelError('ERR_USAGE', `${what}: '${value}' is no digest (sha256:...)`);
}

function list(found: Found): readonly string[] {
  if (typeof found.value === 'string') return [found.value];
  return typeof found.value === 'object' ? found.value : [];
}

function choice<Choice extends string, Otherwise extends Choice | undefined>(
  found: Found,
  choices: readonly Choice[],
  otherwise: Otherwise,
): Choice | Otherwise {
  const { value, what } = text(found);
  if (value === undefined) return otherwise;
  const chosen = choices.find((candidate) => candidate === value);
  if (chosen === undefined) {
    throw new PeelError('ERR_USAGE', `${what}: '${value}' is none of ${choices.join(', ')}`);
  }
  return chosen;
}

function cacheHome(env: NodeJS.ProcessEnv): string {
  return xdgFolder(env, 'XDG_CACHE_HOME', '.cache');
}

/** XDG base directory specification: a relative path in the variable is invalid and ignored. */
function xdgFolder(env: NodeJS.ProcessEnv, variable: string, otherwise: string): string {
  const value = env[variable];
  if (value !== undefined && path.isAbsolute(value)) return value;
  const home = env['HOME'];
  return path.join(home !== undefined && path.isAbsolute(home) ? home : os.homedir(), otherwise);
}
