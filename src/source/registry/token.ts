/**
 * Tokens of a registry's token server. Source: distribution docs/spec/auth/token.md (GET, Basic) and oauth.md
 * (POST, refresh_token or password).
 *
 * The registry names the token server, so what it may learn is limited:
 *   - the connection is no weaker than the one to the registry, and follows no redirect;
 *   - credentials go there only when it is the registry's own host, lies in the registry's own domain, or is
 *     named by the user (`trustedRealms`); else the token is asked for without any;
 *   - no more than `pull` is ever asked for a repository; `pull,push` for the one that is pushed to, and `pull` of the
 *     one that blobs are mounted from.
 */
import { isIP } from 'node:net';
import { PeelError } from '../../errors.ts';
import { isRecord } from '../is-record.ts';
import type { FoundCredential } from './credentials.ts';
import type { HttpAnswer, HttpRequest } from './exchange.ts';
import { namesHost, splitAddress } from './host-config.ts';
import { MAX_SMALL_BODY_BYTES } from './options.ts';
import { errorTextOf, quoteServerText, type Secrets } from './server-text.ts';
import type { Challenge } from './www-authenticate.ts';

export interface Token {
  readonly value: string;
  /** Of its life, counted from the answer: the server's clock plays no part. */
  readonly lifetimeMs: number;
}

export interface TokenContext {
  /** `host[:port]` of the registry, for messages and for the realm rule. */
  readonly registry: string;
  readonly address: string;
  readonly isPlain: boolean;
  readonly repository: string;
  /** What is asked for is `pull,push`. */
  readonly isPushing: boolean;
  /** `pull` of this repository is asked for, too. */
  readonly mountFrom: string | undefined;
  readonly trustedRealms: readonly string[];
  readonly found: FoundCredential | undefined;
  readonly secrets: Secrets;
  readonly userAgent: string;
  /** Sends with retries, and returns whatever answer is final. */
  readonly send: (request: HttpRequest) => Promise<HttpAnswer>;
}

/** token.md: "for compatibility with older clients, a token should never be returned with less than 60 seconds to live". */
const DEFAULT_LIFETIME_S = 60;
const LONGEST_LIFETIME_S = 24 * 3600;
const CLIENT_ID = 'peel';
const MAX_SCOPE_LENGTH = 2048;
/** What may stand in a header; wider than RFC 6750's b64token, since some registries use other characters. */
const TOKEN_TEXT = /^[\x21-\x7e]+$/;

/** @throws PeelError ERR_AUTH_REFUSED, ERR_REGISTRY_RESPONSE, or what `send` throws. */
export async function fetchToken(challenge: Challenge, context: TokenContext): Promise<Token> {
  const realm = realmOf(challenge, context);
  const service = challenge.parameters.get('service');
  const scope = scopeOf(challenge.parameters.get('scope'), context);
  const found = isTrustedRealm(realm, context) ? context.found : undefined;
  const withheld = context.found !== undefined && found === undefined;

  const answer = await ask(realm, service, scope, found, context);
  const body = await answer.readAll(MAX_SMALL_BODY_BYTES, `token server ${realm.host}`);
  const text = body.toString('utf8');
  if (answer.status !== 200) {
    throw refusal(answer.status, text, realm, found, withheld, context);
  }
  return parseToken(text, realm, context);
}

async function ask(
  realm: URL,
  service: string | undefined,
  scope: string,
  found: FoundCredential | undefined,
  context: TokenContext,
): Promise<HttpAnswer> {
  const credential = found?.credential;
  if (credential?.identityToken !== undefined) {
    const answer = await context.send(
      formRequest(realm, service, scope, context, {
        grant_type: 'refresh_token',
        refresh_token: credential.identityToken,
      }),
    );
    if (!isNotOffered(answer.status) || credential.username === '') {
      return answer;
    }
    // Servers without the OAuth2 endpoint take the token in place of the password.
    await answer.excerpt();
    return context.send(
      getRequest(realm, service, scope, context, credential.username, credential.identityToken),
    );
  }
  if (credential === undefined || (credential.username === '' && credential.password === '')) {
    return context.send(getRequest(realm, service, scope, context));
  }
  const { username, password } = credential;
  const answer = await context.send(getRequest(realm, service, scope, context, username, password));
  if (!isNotOffered(answer.status)) {
    return answer;
  }
  await answer.excerpt();
  return context.send(
    formRequest(realm, service, scope, context, { grant_type: 'password', username, password }),
  );
}

function isNotOffered(status: number): boolean {
  return status === 404 || status === 405;
}

function getRequest(
  realm: URL,
  service: string | undefined,
  scope: string,
  context: TokenContext,
  username?: string,
  password?: string,
): HttpRequest {
  const url = new URL(realm);
  if (service !== undefined) {
    url.searchParams.set('service', service);
  }
  for (const one of scope.split(' ')) {
    url.searchParams.append('scope', one);
  }
  const headers: Record<string, string> = { 'user-agent': context.userAgent, accept: 'application/json' };
  if (username !== undefined && password !== undefined) {
    url.searchParams.set('account', username);
    headers['authorization'] = basicHeader(username, password, context.secrets);
  }
  return { method: 'GET', url, headers };
}

function formRequest(
  realm: URL,
  service: string | undefined,
  scope: string,
  context: TokenContext,
  grant: Readonly<Record<string, string>>,
): HttpRequest {
  const form = new URLSearchParams({ ...grant, client_id: CLIENT_ID, scope });
  if (service !== undefined) {
    form.set('service', service);
  }
  const headers = {
    'user-agent': context.userAgent,
    accept: 'application/json',
    'content-type': 'application/x-www-form-urlencoded',
  };
  return { method: 'POST', url: realm, headers, body: form.toString() };
}

export function basicHeader(username: string, password: string, secrets: Secrets): string {
  const encoded = Buffer.from(`${username}:${password}`, 'utf8').toString('base64');
  secrets.add(password);
  secrets.add(encoded);
  return `Basic ${encoded}`;
}

function realmOf(challenge: Challenge, context: TokenContext): URL {
  const text = challenge.parameters.get('realm') ?? '';
  const refuse = (why: string): PeelError =>
    new PeelError(
      'ERR_REGISTRY_RESPONSE',
      `registry ${context.registry} names the token server ${quoteServerText(text, context.secrets)}: ${why}`,
      { facts: { host: context.registry } },
    );
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw refuse('it is not a URL');
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw refuse('it is neither https nor http');
  }
  if (url.protocol === 'http:' && !context.isPlain) {
    throw refuse('it has no TLS, the registry has');
  }
  if (url.username !== '' || url.password !== '') {
    throw refuse('it carries credentials');
  }
  url.hash = '';
  return url;
}

/** May the token server see the registry's credentials? Rule: see the head of this file. */
export function isTrustedRealm(
  realm: URL,
  context: Pick<TokenContext, 'address' | 'registry' | 'trustedRealms'>,
): boolean {
  const { host } = splitAddress(realm.host);
  const registries = [context.address, context.registry].map((address) => splitAddress(address).host);
  return (
    namesHost(context.trustedRealms, realm.host) ||
    registries.some((registry) => registry === host || haveOneDomain(registry, host))
  );
}

/**
 * `registry.example.org` and `auth.example.org` have one domain; so have `a.example.co.uk` and `b.example.co.uk`,
 * but not `a.co.uk` and `b.co.uk`. Without a list of public suffixes: a short second-level label under a
 * country is taken for a part of the suffix, which at worst withholds credentials.
 */
function haveOneDomain(one: string, other: string): boolean {
  const domain = domainOf(one);
  return domain !== undefined && domain === domainOf(other);
}

function domainOf(host: string): string | undefined {
  const labels = host.replace(/\.$/, '').split('.');
  if (isIP(host) !== 0 || labels.length < 2) {
    return undefined;
  }
  const [second = '', top = ''] = labels.slice(-2);
  const suffixLength = top.length === 2 && second.length <= 3 ? 2 : 1;
  return labels.length > suffixLength ? labels.slice(-suffixLength - 1).join('.') : undefined;
}

/** The challenge's scope with no action but those wanted for repositories; the repository's own where there is none. */
function scopeOf(
  scope: string | undefined,
  { repository, isPushing, mountFrom }: Pick<TokenContext, 'repository' | 'isPushing' | 'mountFrom'>,
): string {
  const own = `repository:${repository}:${isPushing ? 'pull,push' : 'pull'}`;
  // Another repository is none of what is pushed to, but the one that blobs are mounted from.
  if (isPushing) return mountFrom === undefined ? own : `${own} repository:${mountFrom}:pull`;
  if (scope === undefined || scope.length > MAX_SCOPE_LENGTH) {
    return own;
  }
  const parts = scope.split(/\s+/).filter((part) => part !== '');
  const reduced = parts.map((part) => part.replace(/^(repository(?:\([^)]*\))?:.+):[^:]*$/, '$1:pull'));
  return reduced.length === 0 ? own : [...new Set(reduced)].join(' ');
}

function parseToken(text: string, realm: URL, context: TokenContext): Token {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which may hold a token.
  }
  const fields = isRecord(document) ? document : {};
  const value = [fields['token'], fields['access_token']].find(
    (one) => typeof one === 'string' && one !== '',
  );
  if (typeof value !== 'string' || !TOKEN_TEXT.test(value)) {
    throw new PeelError(
      'ERR_REGISTRY_RESPONSE',
      `token server ${quoteServerText(realm.host, context.secrets)} of ${context.registry} answered without a usable token`,
      { facts: { host: context.registry } },
    );
  }
  context.secrets.add(value);
  const given = Number(fields['expires_in']);
  const lifetimeS =
    Number.isFinite(given) && given >= 1 ? Math.min(given, LONGEST_LIFETIME_S) : DEFAULT_LIFETIME_S;
  return { value, lifetimeMs: lifetimeS * 1000 };
}

function refusal(
  status: number,
  body: string,
  realm: URL,
  found: FoundCredential | undefined,
  withheld: boolean,
  context: TokenContext,
): PeelError {
  const text = errorTextOf(body);
  const said = text === undefined ? '' : `: ${quoteServerText(text, context.secrets)}`;
  const server = `token server ${quoteServerText(realm.host, context.secrets)} of ${context.registry}`;
  if (status !== 401 && status !== 403 && status !== 400 && status !== 404) {
    return new PeelError('ERR_REGISTRY_RESPONSE', `${server} answered with status ${status}${said}`, {
      facts: { host: context.registry, status },
    });
  }
  const who = withheld
    ? `a request without credentials (it lies outside the registry's domain, so ${context.found?.source ?? 'they'} was not shown to it)`
    : found === undefined
      ? 'a request without credentials'
      : `the credentials from ${found.source}`;
  return new PeelError(
    'ERR_AUTH_REFUSED',
    `${server} refused ${who} with status ${status}${said}; log in with \`docker login ${context.registry}\``,
    { facts: { host: context.registry, status } },
  );
}
