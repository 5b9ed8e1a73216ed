/**
 * The hosts of a registry: `certs.d/HOST/hosts.toml` in containerd's form, mirrors first, the registry last.
 * Source: containerd docs/hosts.md. A registry without such a file is its own only host.
 *
 *   server = "https://registry-1.docker.io"
 *   [host."https://mirror.example:5000"]
 *     capabilities = ["pull", "resolve"]
 *     ca = "mirror.crt"                    # relative to the folder of the file
 *     client = [["client.crt", "client.key"]]
 *     skip_verify = false
 *     override_path = false
 *     [host."https://mirror.example:5000".header]
 *       x-team = "a"
 */
import path from 'node:path';
import { isPeelError, PeelError } from '../../errors.ts';
import { isRecord } from '../is-record.ts';
import { isLoopbackHost } from './address-kind.ts';
import { type HostConfig, namesHost, splitAddress } from './host-config.ts';
import type { RegistryOptions } from './options.ts';
import { readSmallFile } from './small-file.ts';

const DOCKER_HUB = 'docker.io';
const DOCKER_HUB_ADDRESS = 'registry-1.docker.io';
const CONTAINERD_CERTS_DIR = '/etc/containerd/certs.d';
const MAX_HOSTS_FILE_BYTES = 1024 * 1024;
const MAX_HOSTS = 16;

/** @throws PeelError ERR_USAGE naming the file and the key that do not make sense. */
export async function readHosts(registry: string, options: RegistryOptions): Promise<HostConfig[]> {
  for (const root of certsDirs(options)) {
    for (const folder of folderNames(registry)) {
      const file = path.join(root, folder, 'hosts.toml');
      const text = await readSmallFile(file, MAX_HOSTS_FILE_BYTES).catch((error: unknown) => {
        // containerd's folder may be root's own; what a user cannot see is not meant for the user.
        if (root === CONTAINERD_CERTS_DIR && isPeelError(error) && error.facts['code'] === 'EACCES') {
          return undefined;
        }
        throw error;
      });
      if (text !== undefined) {
        return await parseHosts(text, file, registry, options);
      }
    }
  }
  return [upstreamHost(registry, options)];
}

function certsDirs(options: RegistryOptions): string[] {
  if (options.certsDir !== undefined) {
    return [options.certsDir];
  }
  const env = options.env ?? process.env;
  const home =
    env['XDG_CONFIG_HOME'] ?? (env['HOME'] === undefined ? undefined : path.join(env['HOME'], '.config'));
  const own = home === undefined || !path.isAbsolute(home) ? [] : [path.join(home, 'peel', 'certs.d')];
  return [...own, CONTAINERD_CERTS_DIR];
}

/** The reference grammar keeps slashes and dot-dots out of a registry's name. */
function folderNames(registry: string): string[] {
  const { port } = splitAddress(registry);
  const portable = port === undefined ? [] : [`${registry.slice(0, -port.length - 1)}_${port}_`];
  return [...portable, registry, '_default'];
}

function upstreamHost(registry: string, options: RegistryOptions): HostConfig {
  const address = registry === DOCKER_HUB ? DOCKER_HUB_ADDRESS : registry;
  const isPlain = namesHost(options.plainHttp, registry) || namesHost(options.plainHttp, address);
  return {
    name: registry,
    scheme: isPlain ? 'http' : 'https',
    address,
    mayFallBackToPlain: !isPlain && isLoopbackHost(splitAddress(address).host),
    basePath: '/v2',
    isProxy: false,
    mayResolveTags: true,
    mayPull: true,
    skipVerify: namesHost(options.tlsSkipVerify, registry) || namesHost(options.tlsSkipVerify, address),
    caFiles: [],
    clientFiles: [],
    headers: {},
  };
}

export async function parseHosts(
  text: string,
  file: string,
  registry: string,
  options: RegistryOptions,
): Promise<HostConfig[]> {
  // Most hosts have no such file.
  const { parse } = await import('smol-toml');
  let document: Record<string, unknown>;
  try {
    document = parse(text);
  } catch (error) {
    const line = (error as { readonly line?: unknown }).line;
    throw invalid(file, typeof line === 'number' ? `line ${line} is not TOML` : 'it is not TOML');
  }
  const upstream = upstreamHost(registry, options);
  const tables = document['host'] ?? {};
  if (!isRecord(tables)) {
    throw invalid(file, '`host` is not a table');
  }
  const names = Object.keys(tables);
  if (names.length > MAX_HOSTS) {
    throw invalid(file, `it names ${names.length} hosts, at most ${MAX_HOSTS} are used`);
  }
  const mirrors = names.map((name) => {
    const table = tables[name];
    if (!isRecord(table)) {
      throw invalid(file, `host ${JSON.stringify(name)} is not a table`);
    }
    return hostOf(name, table, file, upstream, options);
  });
  const server = document['server'];
  if (server !== undefined && typeof server !== 'string') {
    throw invalid(file, '`server` is not a string');
  }
  const last =
    server === undefined
      ? { ...upstream, ...tlsOf(document, file, upstream) }
      : hostOf(server, document, file, upstream, options);
  return [...mirrors.filter((host) => host.mayPull || host.mayResolveTags), last];
}

function hostOf(
  text: string,
  table: Readonly<Record<string, unknown>>,
  file: string,
  upstream: HostConfig,
  options: RegistryOptions,
): HostConfig {
  const url = urlOf(text, file);
  const isUpstream = url.host === upstream.address || url.host === upstream.name;
  const overridePath = flag(table, 'override_path', file) ?? false;
  const given = url.pathname.replace(/\/+$/, '');
  const capabilities = strings(table, 'capabilities', file) ?? ['pull', 'resolve'];
  const scheme = url.protocol === 'http:' || namesHost(options.plainHttp, url.host) ? 'http' : 'https';
  return {
    name: isUpstream ? upstream.name : url.host,
    scheme,
    address: url.host,
    mayFallBackToPlain: false,
    basePath: overridePath || given.endsWith('/v2') ? given : `${given}/v2`,
    isProxy: !isUpstream,
    mayResolveTags: capabilities.includes('resolve'),
    mayPull: capabilities.includes('pull'),
    ...tlsOf(table, file, { ...upstream, skipVerify: namesHost(options.tlsSkipVerify, url.host) }),
  };
}

type HostExtras = Pick<HostConfig, 'skipVerify' | 'caFiles' | 'clientFiles' | 'headers'>;

function tlsOf(
  table: Readonly<Record<string, unknown>>,
  file: string,
  defaults: Pick<HostConfig, 'skipVerify'>,
): HostExtras {
  const absolute = (name: string): string => path.resolve(path.dirname(file), name);
  return {
    skipVerify: (flag(table, 'skip_verify', file) ?? false) || defaults.skipVerify,
    caFiles: (strings(table, 'ca', file) ?? []).map(absolute),
    clientFiles: clientFilesOf(table['client'], file).map(([certificate, key]) => ({
      certificate: absolute(certificate),
      key: key === undefined || key === '' ? undefined : absolute(key),
    })),
    headers: headersOf(table['header'], file),
  };
}

function clientFilesOf(value: unknown, file: string): (readonly [string, string | undefined])[] {
  const items = value === undefined ? [] : Array.isArray(value) ? (value as unknown[]) : [value];
  return items.map((item) => {
    if (typeof item === 'string') {
      return [item, undefined] as const;
    }
    const [certificate, key] = Array.isArray(item) ? (item as unknown[]) : [];
    if (typeof certificate !== 'string' || (key !== undefined && typeof key !== 'string')) {
      throw invalid(file, '`client` is neither a file, a list of files, nor a list of [certificate, key]');
    }
    return [certificate, key] as const;
  });
}

const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Set by the exchange itself. */
const RESERVED_HEADERS: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'range',
  'accept-encoding',
  'upgrade',
  'expect',
]);

function headersOf(value: unknown, file: string): Record<string, string | string[]> {
  if (value === undefined) {
    return {};
  }
  if (!isRecord(value)) {
    throw invalid(file, '`header` is not a table');
  }
  const headers: Record<string, string | string[]> = {};
  for (const name of Object.keys(value)) {
    const values = strings(value, name, file) ?? [];
    if (!HEADER_NAME.test(name) || RESERVED_HEADERS.has(name.toLowerCase())) {
      throw invalid(file, `header ${JSON.stringify(name)} cannot be set`);
    }
    if (!values.every((text) => HEADER_VALUE.test(text))) {
      throw invalid(file, `header ${JSON.stringify(name)} has a character that HTTP does not allow`);
    }
    headers[name.toLowerCase()] = values;
  }
  return headers;
}

function urlOf(text: string, file: string): URL {
  let url: URL;
  try {
    url = new URL(text.includes('://') ? text : `https://${text}`);
  } catch {
    throw invalid(file, `${JSON.stringify(text)} is not the address of a host`);
  }
  if ((url.protocol !== 'https:' && url.protocol !== 'http:') || url.search !== '' || url.hash !== '') {
    throw invalid(file, `${JSON.stringify(url.host)} must be http(s)://HOST[:PORT][/PATH]`);
  }
  if (url.username !== '' || url.password !== '') {
    throw invalid(file, `host ${JSON.stringify(url.host)} carries credentials; they belong in an auth file`);
  }
  return url;
}

function flag(table: Readonly<Record<string, unknown>>, key: string, file: string): boolean | undefined {
  const value = table[key];
  if (value !== undefined && typeof value !== 'boolean') {
    throw invalid(file, `\`${key}\` is neither true nor false`);
  }
  return value;
}

function strings(table: Readonly<Record<string, unknown>>, key: string, file: string): string[] | undefined {
  const value = table[key];
  if (value === undefined) {
    return undefined;
  }
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (!list.every((item) => typeof item === 'string')) {
    throw invalid(file, `\`${key}\` is neither a string nor a list of strings`);
  }
  return list;
}

function invalid(file: string, why: string): PeelError {
  return new PeelError('ERR_USAGE', `registry hosts file ${file}: ${why}`, { facts: { file } });
}
