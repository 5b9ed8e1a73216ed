/**
 * Files of credentials: Docker's config.json and containers-auth.json(5), which share their form.
 *
 *   credHelpers  registry -> name of a helper
 *   credsStore   name of a helper for all registries
 *   auths        registry, or registry/namespace/..., -> {auth | username, password | identitytoken | registrytoken}
 */
import { PeelError } from '../../errors.ts';
import { isRecord } from '../is-record.ts';

export interface Credential {
  readonly username: string;
  readonly password: string;
  /** An OAuth2 refresh token, which takes the place of a password. */
  readonly identityToken: string | undefined;
  /** A ready bearer token. */
  readonly registryToken: string | undefined;
}

export interface AuthFile {
  /** Keys as normalised by `normalizeKey`. */
  readonly auths: ReadonlyMap<string, Credential>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore: string | undefined;
}

/** Docker's name for a username whose secret is an identity token. */
const TOKEN_USERNAME = '<token>';
const DOCKER_HUB_NAMES: ReadonlySet<string> = new Set([
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
]);

/** @throws PeelError ERR_USAGE naming `source` and never its text, which holds secrets. */
export function parseAuthFile(text: string, source: string): AuthFile {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new PeelError('ERR_USAGE', `credentials in ${source}: it is not JSON`);
  }
  if (!isRecord(document)) {
    throw new PeelError('ERR_USAGE', `credentials in ${source}: it is not a JSON object`);
  }
  const auths = new Map<string, Credential>();
  for (const [key, value] of entriesOf(document['auths'])) {
    const credential = isRecord(value) ? credentialOf(value) : undefined;
    const normal = normalizeKey(key);
    if (credential !== undefined && !auths.has(normal)) {
      auths.set(normal, credential);
    }
  }
  const credHelpers = new Map<string, string>();
  for (const [key, value] of entriesOf(document['credHelpers'])) {
    if (typeof value === 'string' && value !== '') {
      credHelpers.set(normalizeKey(key), value);
    }
  }
  const credsStore = document['credsStore'];
  return {
    auths,
    credHelpers,
    credsStore: typeof credsStore === 'string' && credsStore !== '' ? credsStore : undefined,
  };
}

/**
 * One spelling for the ways in which tools write a registry: `https://host/v1/` is `host`; Docker Hub has
 * several names; `host/namespace` stays, because it means a part of the registry.
 */
export function normalizeKey(key: string): string {
  const hasScheme = /^https?:\/\//i.test(key);
  let bare = key.replace(/^https?:\/\//i, '').replace(/\/+$/, '');
  if (hasScheme || /\/v[12]$/.test(bare)) {
    bare = bare.split('/', 1)[0] ?? bare;
  }
  const slash = bare.indexOf('/');
  const host = (slash < 0 ? bare : bare.slice(0, slash)).toLowerCase();
  const rest = slash < 0 ? '' : bare.slice(slash);
  return `${DOCKER_HUB_NAMES.has(host) ? 'docker.io' : host}${rest}`;
}

/** The keys that a repository's credentials may stand under, the most specific first. */
export function keysFor(registry: string, repository: string): string[] {
  const parts = repository.split('/');
  const host = normalizeKey(registry);
  const keys = parts.map((_part, index) => [host, ...parts.slice(0, parts.length - index)].join('/'));
  return [...keys, host];
}

export function credentialOfHelper(answer: {
  readonly username: string;
  readonly secret: string;
}): Credential {
  const isToken = answer.username === TOKEN_USERNAME;
  return {
    username: isToken ? '' : answer.username,
    password: isToken ? '' : answer.secret,
    identityToken: isToken ? answer.secret : undefined,
    registryToken: undefined,
  };
}

function credentialOf(value: Readonly<Record<string, unknown>>): Credential | undefined {
  const decoded = Buffer.from(textOf(value['auth']), 'base64').toString('utf8').replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  const username = colon < 0 ? textOf(value['username']) : decoded.slice(0, colon);
  const password = colon < 0 ? textOf(value['password']) : decoded.slice(colon + 1);
  const identityToken = textOf(value['identitytoken']);
  const registryToken = textOf(value['registrytoken']);
  if (username === '' && password === '' && identityToken === '' && registryToken === '') {
    return undefined;
  }
  return {
    username: username === TOKEN_USERNAME ? '' : username,
    password,
    identityToken: identityToken === '' ? undefined : identityToken,
    registryToken: registryToken === '' ? undefined : registryToken,
  };
}

function entriesOf(value: unknown): [string, unknown][] {
  return isRecord(value) ? Object.entries(value) : [];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
