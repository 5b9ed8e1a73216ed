/**
 * Hostile registries. A canary credential is configured for the registry; whatever the registry does, the
 * canary appears at no other host, in no log and in no message (B5), and no address is reached that only
 * this host can reach (F18). Each script ends in a good read or a documented error.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EXIT_STATUS_OF, isPeelError } from '../../src/errors.ts';
import { configureLog } from '../../src/log.ts';
import { guardedLookup, ReachedKinds } from '../../src/source/registry/connect.ts';
import type { RegistryOptions } from '../../src/source/registry/registry-source.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { type Authority, type Certificate, makeAuthority, makeSelfSigned } from '../support/certificates.ts';
import { failureOf, openBare, readRange } from '../support/registry-reader.ts';
import {
  type Reply,
  type ScriptedServer,
  type ServedDescriptor,
  startScriptedServer,
} from '../support/scripted-server.ts';

const USER = 'canary-user';
const PASSWORD = 'canary-password-5a17';
const TOKEN = 'canary-token-77e0';
const BASIC = Buffer.from(`${USER}:${PASSWORD}`).toString('base64');
const CANARIES = [PASSWORD, TOKEN, BASIC, encodeURIComponent(BASIC)];

const BYTES = randomBytes(20_000);
const MANIFEST = Buffer.from('{"schemaVersion":2}');
const TYPE = 'application/vnd.oci.image.manifest.v1+json';

let server: ScriptedServer;
/** On another loopback address: another host. */
let evil: ScriptedServer;
let layer: ServedDescriptor;
let sources: ImageSource[] = [];

beforeEach(async () => {
  server = await startScriptedServer();
  evil = await startScriptedServer({ host: '127.0.0.2' });
  layer = server.addBlob('app', BYTES);
  server.addManifest('app', 'v1', MANIFEST, TYPE);
});
afterEach(async () => {
  await Promise.all(sources.map((source) => source.close()));
  sources = [];
  await Promise.all([server.close(), evil.close()]);
});

function open(options: RegistryOptions = {}, address = server.address): ImageSource {
  const source = openBare(`${address}/app:v1`, options);
  sources.push(source);
  return source;
}

const unauthorized = (challenge: string, body = ''): Reply => ({
  status: 401,
  headers: { 'www-authenticate': challenge },
  body,
});
const isAuthorized = ({ headers }: { headers: Readonly<Record<string, string | undefined>> }): boolean =>
  headers['authorization'] === `Bearer ${TOKEN}` || headers['authorization'] === `Basic ${BASIC}`;
const redirect = (location: string): Reply => ({ status: 307, headers: { location } });

/** The usual token flow, at the registry itself: the canary is then in use. */
function loginWithToken(): void {
  server.rule({ path: '/token', reply: { body: JSON.stringify({ token: TOKEN }) } });
  server.rule({
    path: /^\/v2\//,
    when: (request) => !isAuthorized(request),
    reply: unauthorized(`Bearer realm="${server.origin}/token"`),
  });
}
function loginWithBasic(): void {
  server.rule({
    path: /^\/v2\//,
    when: (request) => !isAuthorized(request),
    reply: unauthorized('Basic realm="x"'),
  });
}
/** For requests that come with the canary. */
function thenReply(reply: Reply | ((authorization: string) => Reply), times = 99): void {
  server.rule({
    path: /^\/v2\//,
    times,
    reply: ({ headers }) => (typeof reply === 'function' ? reply(headers['authorization'] ?? '') : reply),
  });
}

describe('the canary (B5)', () => {
  const SCRIPTS: readonly (readonly [string, () => void])[] = [
    [
      'a realm at another host',
      () => server.rule({ reply: unauthorized(`Bearer realm="${evil.origin}/token"`) }),
    ],
    [
      'a realm at another host, offered beside Basic',
      () => server.rule({ reply: unauthorized(`Bearer realm="${evil.origin}/t", Basic realm="x"`) }),
    ],
    [
      'a realm at another host that answers with a token',
      () => {
        evil.rule({ reply: { body: '{"token":"theirs"}' } });
        server.rule({ reply: unauthorized(`Bearer realm="${evil.origin}/token"`) });
      },
    ],
    [
      'a realm at another host that asks for Basic',
      () => {
        evil.rule({ reply: unauthorized('Basic realm="x"') });
        server.rule({ reply: unauthorized(`Bearer realm="${evil.origin}/token"`) });
      },
    ],
    [
      'a realm whose name contains the registry’s',
      () => server.rule({ reply: unauthorized(`Bearer realm="http://127.0.0.1.evil.invalid/t"`) }),
    ],
    [
      'a realm with the registry as user name',
      () => server.rule({ reply: unauthorized(`Bearer realm="http://127.0.0.1@${evil.address}/t"`) }),
    ],
    [
      'a realm that redirects',
      () => {
        server.rule({ path: '/token', reply: redirect(`${evil.origin}/token`) });
        server.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
      },
    ],
    [
      'a realm that redirects to itself',
      () => {
        server.rule({ path: '/token', reply: redirect('/token') });
        server.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
      },
    ],
    [
      'a realm that asks for more',
      () => {
        server.rule({ path: '/token', reply: unauthorized(`Bearer realm="${evil.origin}/token"`) });
        server.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
      },
    ],
    [
      'a realm that repeats the credentials in its error',
      () => {
        server.rule({
          path: '/token',
          reply: ({ headers }) => ({ status: 401, body: `${headers['authorization']} ${PASSWORD}` }),
        });
        server.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
      },
    ],
    [
      'a realm that repeats the credentials as its token',
      () => {
        server.rule({
          path: '/token',
          reply: ({ headers }) => ({ body: JSON.stringify({ token: headers['authorization'] }) }),
        });
        server.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
      },
    ],
    [
      'a token with a line break',
      () => {
        server.rule({ path: '/token', reply: { body: JSON.stringify({ token: `${TOKEN}\r\nx-evil: 1` }) } });
        server.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
      },
    ],
    [
      'a token answer that is no JSON',
      () => {
        server.rule({ path: '/token', reply: { body: `${TOKEN} ${PASSWORD}` } });
        server.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
      },
    ],
    [
      'a token answer without end',
      () => {
        server.rule({ path: '/token', reply: { body: 'x'.repeat(1 << 20) } });
        server.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
      },
    ],
    [
      'an array of tokens',
      () => {
        server.rule({ path: '/token', reply: { body: JSON.stringify({ token: [TOKEN] }) } });
        server.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
      },
    ],
    ['a realm that is no URL', () => server.rule({ reply: unauthorized('Bearer realm="not a url"') })],
    [
      'a realm that is a file',
      () => server.rule({ reply: unauthorized('Bearer realm="file:///etc/passwd"') }),
    ],
    [
      'a realm with credentials',
      () => server.rule({ reply: unauthorized(`Bearer realm="http://u:${PASSWORD}@127.0.0.1/t"`) }),
    ],
    ['no realm', () => server.rule({ reply: unauthorized('Bearer service="x"') })],
    [
      'a scope with a line break',
      () => server.rule({ reply: unauthorized(`Bearer realm="${evil.origin}/t",scope="a b c"`) }),
    ],
    [
      'a scope of many pages',
      () =>
        server.rule({
          reply: unauthorized(`Bearer realm="${server.origin}/token",scope="${'x'.repeat(20_000)}"`),
        }),
    ],
    [
      '401 for ever with a good token',
      () => {
        loginWithToken();
        thenReply(unauthorized(`Bearer realm="${server.origin}/token"`));
      },
    ],
    [
      '401 with another realm after a good token',
      () => {
        loginWithToken();
        thenReply(unauthorized(`Bearer realm="${evil.origin}/token"`));
      },
    ],
    [
      'Basic asked for after a good token',
      () => {
        loginWithToken();
        thenReply(unauthorized('Basic realm="x"'));
      },
    ],
    [
      '403 that repeats the token',
      () => {
        loginWithToken();
        thenReply((authorization) => ({ status: 403, body: `${authorization} ${PASSWORD}` }));
      },
    ],
    [
      '404 that repeats the credentials as an error entry',
      () => {
        loginWithBasic();
        thenReply((authorization) => ({
          status: 404,
          body: JSON.stringify({ errors: [{ code: authorization, message: PASSWORD }] }),
        }));
      },
    ],
    [
      '500 that repeats the token behind control characters',
      () => {
        loginWithToken();
        thenReply((authorization) => ({ status: 500, body: `\u001b]0;${authorization}\u0007` }));
      },
    ],
    [
      'a redirect to another host',
      () => {
        loginWithToken();
        thenReply(redirect(`${evil.origin}/x`));
      },
    ],
    [
      'a redirect to another host, with Basic in use',
      () => {
        loginWithBasic();
        thenReply(redirect(`${evil.origin}/x`));
      },
    ],
    [
      'a redirect to another port of the same host',
      () => {
        loginWithToken();
        thenReply(redirect(`http://127.0.0.1:1/x`));
      },
    ],
    [
      'a redirect to another host that asks for Basic',
      () => {
        evil.rule({ reply: unauthorized('Basic realm="x"') });
        loginWithBasic();
        thenReply(redirect(`${evil.origin}/x`));
      },
    ],
    [
      'a redirect to another host that asks for a token of the registry’s realm',
      () => {
        evil.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
        loginWithToken();
        thenReply(redirect(`${evil.origin}/x`));
      },
    ],
    [
      'a redirect there and back',
      () => {
        evil.rule({ reply: redirect(`${server.origin}/v2/app/manifests/v1`) });
        loginWithToken();
        thenReply(redirect(`${evil.origin}/x`), 1);
      },
    ],
    [
      'a redirect with the token in its query',
      () => {
        loginWithToken();
        thenReply((authorization) => redirect(`${evil.origin}/x?a=${encodeURIComponent(authorization)}`));
      },
    ],
    [
      'a redirect with the credentials in its path',
      () => {
        loginWithBasic();
        thenReply((authorization) => redirect(`${evil.origin}/${authorization.replace('Basic ', '')}`));
      },
    ],
    [
      'a redirect with the credentials in its fragment',
      () => {
        loginWithBasic();
        thenReply((authorization) => redirect(`${evil.origin}/x#${authorization}`));
      },
    ],
    [
      'a redirect with the credentials as host name',
      () => {
        loginWithToken();
        thenReply((authorization) => redirect(`http://${authorization.replace('Bearer ', '')}.invalid/`));
      },
    ],
    [
      'a redirect that is no URL and repeats the token',
      () => {
        loginWithToken();
        thenReply((authorization) => redirect(`http://[${authorization}`));
      },
    ],
    [
      'redirects in a circle',
      () => {
        loginWithToken();
        thenReply(redirect('/v2/app/manifests/v1'));
      },
    ],
    [
      'redirects in a circle over another host',
      () => {
        evil.rule({ reply: redirect(`${evil.origin}/y`) });
        loginWithToken();
        thenReply(redirect(`${evil.origin}/x`));
      },
    ],
    [
      'several Locations',
      () => {
        loginWithToken();
        thenReply({ status: 307, headers: { location: [`${evil.origin}/x`, `${evil.origin}/y`] } });
      },
    ],
    [
      'Refresh, Link and Content-Location to another host',
      () => {
        loginWithToken();
        thenReply({
          headers: {
            refresh: `0;url=${evil.origin}`,
            link: `<${evil.origin}/>; rel=next`,
            'content-location': evil.origin,
          },
          body: MANIFEST,
        });
      },
    ],
    [
      'a cookie',
      () => {
        loginWithToken();
        thenReply({ headers: { 'set-cookie': [`a=${TOKEN}; Domain=127.0.0.2`, 'b=c'] }, body: MANIFEST });
      },
    ],
    [
      'a Content-Range that repeats the token',
      () => {
        loginWithToken();
        thenReply((authorization) => ({
          status: 206,
          headers: { 'content-range': authorization },
          body: 'x',
        }));
      },
    ],
    [
      'a Content-Encoding that repeats the token',
      () => {
        loginWithToken();
        thenReply((authorization) => ({ headers: { 'content-encoding': authorization }, body: 'x' }));
      },
    ],
    [
      'a status line that repeats the token',
      () => {
        loginWithToken();
        thenReply((authorization) => ({ raw: `HTTP/1.1 999 ${authorization}\r\n\r\n` }));
      },
    ],
    [
      'an answer that is not HTTP and repeats the token',
      () => {
        loginWithToken();
        thenReply((authorization) => ({ raw: `${authorization}\r\n\r\n` }));
      },
    ],
    [
      'headers of 100 KB',
      () => {
        loginWithToken();
        thenReply((authorization) => ({
          raw: `HTTP/1.1 200 OK\r\nx: ${authorization}${'x'.repeat(100_000)}\r\n\r\n`,
        }));
      },
    ],
    [
      '10,000 headers',
      () => {
        loginWithToken();
        thenReply({ raw: `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(10_000)}\r\n` });
      },
    ],
    [
      'headers named like prototypes',
      () => {
        loginWithToken();
        thenReply({
          raw: `HTTP/1.1 200 OK\r\n__proto__: x\r\n__proto__: y\r\nconstructor: z\r\nContent-Length: 2\r\n\r\n{}`,
        });
      },
    ],
    [
      'two Content-Lengths',
      () => {
        loginWithToken();
        thenReply({ raw: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}' });
      },
    ],
    [
      'a request smuggled behind the answer',
      () => {
        loginWithToken();
        thenReply({
          raw: `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 307 X\r\nLocation: ${evil.origin}\r\n\r\n`,
        });
      },
    ],
    [
      'a switch of protocols',
      () => {
        loginWithToken();
        thenReply({ raw: 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n' });
      },
    ],
    [
      '100 Continue without end',
      () => {
        loginWithToken();
        thenReply({ raw: 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(1000) });
      },
    ],
    [
      'a manifest of 5 MB',
      () => {
        loginWithToken();
        thenReply({ body: Buffer.alloc(5 << 20, 'x') });
      },
    ],
    [
      'a manifest of 5 MB without a length',
      () => {
        loginWithToken();
        thenReply({ chunked: true, body: Buffer.alloc(5 << 20, 'x') });
      },
    ],
    [
      'a manifest in gzip',
      () => {
        loginWithToken();
        thenReply({ headers: { 'content-encoding': 'gzip' }, body: gzipSync(MANIFEST) });
      },
    ],
    [
      'a charset and a wrong Docker-Content-Digest',
      () => {
        loginWithToken();
        thenReply({
          headers: {
            'content-type': `${TYPE}; charset="${PASSWORD}"`,
            'docker-content-digest': `sha256:${PASSWORD}`,
          },
          body: MANIFEST,
        });
      },
    ],
  ];

  test('there are enough scripts', () => {
    expect(SCRIPTS.length).toBeGreaterThanOrEqual(40);
  });

  test.each(SCRIPTS)('%s', async (_name, arrange) => {
    const directory = await mkdtemp(path.join(tmpdir(), 'peel-canary-'));
    const logFile = path.join(directory, 'log');
    try {
      configureLog('trace', logFile);
      arrange();
      const seen: unknown[] = [];
      const auth = { [server.address]: { auth: BASIC } };
      const options: RegistryOptions = {
        env: { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: auth }) },
        onRequest: (info) => seen.push(info),
        deadlineMs: 3000,
      };
      for (const attempt of [
        (source: ImageSource) => source.resolve(),
        (source: ImageSource) => readRange(source, layer, 5, 500),
      ]) {
        const source = open(options);
        try {
          await attempt(source);
        } catch (error) {
          expect(isPeelError(error)).toBe(true);
          expect(Object.keys(EXIT_STATUS_OF)).toContain((error as { code: string }).code);
          expect((error as Error).message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
          seen.push(inspect(error, { depth: 10, showHidden: true }));
        }
        expect(source.stats.requests).toBeLessThan(30);
      }
      const sightings = {
        elsewhere: JSON.stringify(evil.requests),
        log: await readFile(logFile, 'utf8').catch(() => ''),
        messages: inspect(seen, { depth: 10 }),
      };
      for (const canary of CANARIES) {
        for (const [where, text] of Object.entries(sightings)) {
          expect(text.includes(canary), `${canary} in ${where}: ${text.slice(0, 2000)}`).toBe(false);
        }
      }
      expect(evil.requests.every(({ headers }) => headers['authorization'] === undefined)).toBe(true);
      expect(evil.requests.every(({ headers }) => headers['cookie'] === undefined)).toBe(true);
    } finally {
      configureLog('silent');
      await rm(directory, { recursive: true, force: true });
    }
  });

  test('a header of hosts.toml goes to its host, and not where that redirects to', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'peel-headers-'));
    try {
      const folder = path.join(directory, server.address);
      await mkdir(folder);
      await writeFile(
        path.join(folder, 'hosts.toml'),
        `server = "${server.origin}"\n[header]\nx-team = "${PASSWORD}"\n`,
      );
      evil.rule({
        reply: (request) => server.content({ ...request, path: `/v2/app/blobs/${layer.digest}` }),
      });
      server.rule({ path: /blobs/, reply: redirect(`${evil.origin}/x`) });
      const source = open({ certsDir: directory });
      expect((await readRange(source, layer, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(true);
      expect(server.requests[0]?.headers['x-team']).toBe(PASSWORD);
      expect(evil.requests.length).toBe(1);
      expect(evil.requests[0]?.headers['x-team']).toBeUndefined();
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  test('the canary is really in use: without a hostile turn the registry sees it', async () => {
    loginWithToken();
    const auth = { [server.address]: { auth: BASIC } };
    await open({ env: { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: auth }) } }).resolve();
    const sent = JSON.stringify(server.requests.map(({ headers }) => headers));
    expect(sent).toContain(BASIC);
    expect(sent).toContain(TOKEN);
  });
});

describe('addresses that only this host can reach (F18)', () => {
  const TARGETS = [
    'http://169.254.169.254/latest/meta-data',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:a9fe:a9fe]/',
    'http://0.0.0.0/',
    'http://[::]/',
    'http://0/',
    'http://2852039166/',
    'http://0xa9.0xfe.0xa9.0xfe/',
    'http://[fe80::1]/',
    'http://10.0.0.1/',
    'http://192.168.0.1/',
    'http://172.16.0.1/',
    'http://100.64.0.1/',
    'http://[fd00::1]/',
    'http://224.0.0.1/',
    'http://[64:ff9b::a00:1]/',
  ];

  test.each(TARGETS)('a redirect to %s is refused without a connection', async (target) => {
    server.rule({ path: /blobs/, reply: redirect(target) });
    const error = await failureOf(readRange(open({ connectMs: 2000 }), layer, 0, 10));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(error.message).toContain('not connected');
    expect(server.requests.length).toBe(1);
  });

  test.each(TARGETS)('a realm at %s is refused without a connection', async (target) => {
    server.rule({ reply: unauthorized(`Bearer realm="${target}"`) });
    const error = await failureOf(open({ connectMs: 2000 }).resolve());
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(error.message).toContain('not connected');
  });

  /** Each name has the addresses that the table gives it, one more with each look-up. */
  const lookupOf = (table: Record<string, string[]>): LookupFunction => {
    const asked = new Map<string, number>();
    return (hostname, options, callback) => {
      const nth = asked.get(hostname) ?? 0;
      asked.set(hostname, nth + 1);
      const addresses = table[hostname] ?? [];
      const address = addresses[Math.min(nth, addresses.length - 1)];
      if (address === undefined) {
        callback(Object.assign(new Error('not found'), { code: 'ENOTFOUND' }), '', 4);
        return;
      }
      const family = address.includes(':') ? 6 : 4;
      setImmediate(() =>
        options.all === true ? callback(null, [{ address, family }]) : callback(null, address, family),
      );
    };
  };

  test('a name that resolves to a forbidden address is refused, also when it did not at first (DNS rebinding)', async () => {
    const { port } = new URL(evil.origin);
    evil.rule({ reply: (request) => server.content({ ...request, path: `/v2/app/blobs/${layer.digest}` }) });
    server.rule({ path: /blobs/, reply: redirect(`http://rebind.example:${port}/x`) });
    const lookup = lookupOf({ 'rebind.example': ['127.0.0.2', '169.254.169.254'] });
    const source = open({ lookup });
    expect((await readRange(source, layer, 0, 10)).equals(BYTES.subarray(0, 10))).toBe(true);
    // A source of its own: no connection of the first is left.
    const error = await failureOf(readRange(open({ lookup }), layer, 0, 10));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(error.message).toContain('169.254.169.254');
  });

  test('a registry at a public address may not name loopback or private ones, one on loopback may name loopback', () => {
    const answersOf = (reached: ReachedKinds, address: string): unknown => {
      let got: unknown;
      const lookup: LookupFunction = (_name, _options, callback) => callback(null, [{ address, family: 4 }]);
      guardedLookup(lookup, reached)('x.example', { all: true }, (error, found) => {
        got = error ?? found;
      });
      return got;
    };
    const reached = new ReachedKinds();
    reached.add('public');
    expect(answersOf(reached, '127.0.0.1')).toBeInstanceOf(Error);
    expect(answersOf(reached, '10.0.0.1')).toBeInstanceOf(Error);
    expect(answersOf(reached, '8.8.8.8')).toEqual([{ address: '8.8.8.8', family: 4 }]);
    reached.add('private');
    expect(answersOf(reached, '10.0.0.1')).toEqual([{ address: '10.0.0.1', family: 4 }]);
    expect(answersOf(reached, '127.0.0.1')).toBeInstanceOf(Error);
    reached.add('forbidden');
    expect(answersOf(reached, '169.254.169.254')).toBeInstanceOf(Error);
  });

  test('of several addresses only the allowed ones are tried', () => {
    const lookup: LookupFunction = (_name, _options, callback) =>
      callback(null, [
        { address: '169.254.169.254', family: 4 },
        { address: '8.8.4.4', family: 4 },
      ]);
    let got: unknown;
    guardedLookup(lookup, new ReachedKinds())('x.example', {}, (error, address) => {
      got = error ?? address;
    });
    expect(got).toBe('8.8.4.4');
  });

  test('a name that does not resolve is ERR_REGISTRY_UNREACHABLE (F19)', async () => {
    const error = await failureOf(open({ lookup: lookupOf({}) }, 'registry.example').resolve());
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNREACHABLE' });
    expect(error.message).toContain('does not resolve');
  });
});

describe('TLS (F20)', () => {
  let directory: string;
  let authority: Authority;
  let certificates: Record<'good' | 'expired' | 'wrongHost' | 'selfSigned', Certificate>;
  const tlsServers: ScriptedServer[] = [];

  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'peel-tls-'));
    authority = await makeAuthority(directory);
    certificates = {
      good: await authority.issue('good', 'IP:127.0.0.1,DNS:localhost'),
      expired: await authority.issue('expired', 'IP:127.0.0.1', { isExpired: true }),
      wrongHost: await authority.issue('wrong', 'DNS:other.example'),
      selfSigned: await makeSelfSigned(directory, 'self', 'IP:127.0.0.1'),
    };
  });
  afterEach(async () => {
    await Promise.all(tlsServers.splice(0).map((one) => one.close()));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  async function startTLS(
    certificate: Certificate,
    extra: { ca?: string; requestCert?: boolean } = {},
  ): Promise<ScriptedServer> {
    const { key, cert } = certificate;
    const one = await startScriptedServer({ tls: { key, cert, ...extra } });
    one.addManifest('app', 'v1', MANIFEST, TYPE);
    one.addBlob('app', BYTES);
    tlsServers.push(one);
    return one;
  }

  test.each(['expired', 'wrongHost', 'selfSigned'] as const)(
    'a certificate that is %s is refused, without falling back',
    async (kind) => {
      const one = await startTLS(certificates[kind]);
      const error = await failureOf(open({ tlsCa: authority.certFile }, one.address).resolve());
      expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNREACHABLE' });
      expect(error.message).toContain('certificate');
      expect(one.requests).toEqual([]);
    },
  );

  test('a client certificate of hosts.toml is shown to its host, and to no other', async () => {
    const client = await authority.issue('client', 'DNS:client.example');
    const one = await startTLS(certificates.good, { ca: authority.cert, requestCert: true });
    const folder = path.join(directory, 'certs.d', one.address);
    await mkdir(folder, { recursive: true });
    const toml = `server = "${one.origin}"\nca = "${authority.certFile}"\nclient = [["${client.certFile}", "${client.keyFile}"]]\n`;
    await writeFile(path.join(folder, 'hosts.toml'), toml);
    const source = open({ certsDir: path.join(directory, 'certs.d') }, one.address);
    expect((await source.resolve()).bytes.equals(MANIFEST)).toBe(true);
    // The next host asks for one as well, and does not get it.
    const next = await startTLS(certificates.good, { ca: authority.cert, requestCert: true });
    one.rule({ path: /blobs/, reply: redirect(`${next.origin}/x`) });
    const options = { certsDir: path.join(directory, 'certs.d'), tlsCa: authority.certFile };
    expect(await failureOf(readRange(open(options, one.address), layer, 0, 10))).toMatchObject({
      code: 'ERR_REGISTRY_UNREACHABLE',
    });
    expect(next.requests).toEqual([]);
  });

  test('a redirect from https to http is refused', async () => {
    const one = await startTLS(certificates.good);
    one.rule({ path: /blobs/, reply: redirect(`${server.origin}/v2/app/blobs/${layer.digest}`) });
    const error = await failureOf(readRange(open({ tlsCa: authority.certFile }, one.address), layer, 0, 10));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(error.message).toContain('leaves TLS');
    expect(server.requests).toEqual([]);
  });

  test('a token server without TLS is refused by a registry with TLS', async () => {
    const one = await startTLS(certificates.good);
    one.rule({ reply: unauthorized(`Bearer realm="${server.origin}/token"`) });
    const error = await failureOf(open({ tlsCa: authority.certFile }, one.address).resolve());
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_RESPONSE' });
    expect(server.requests).toEqual([]);
  });

  test('--plain-http names a host that is not asked for TLS', async () => {
    const before = server.connections;
    await open({ plainHttp: [server.address] }).resolve();
    expect(server.connections - before).toBe(1);
  });

  test('a host that is not on loopback is not spoken to without TLS', async () => {
    const lookup: LookupFunction = (_name, options, callback) =>
      options.all === true
        ? callback(null, [{ address: '127.0.0.1', family: 4 }])
        : callback(null, '127.0.0.1', 4);
    const { port } = new URL(server.origin);
    const error = await failureOf(open({ lookup }, `registry.example:${port}`).resolve());
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNREACHABLE' });
    expect(error.message).toContain('--plain-http');
    expect(server.requests).toEqual([]);
  });

  test.each([
    ['missing', 'missing.pem'],
    ['not PEM', 'client.ext'],
  ])('a --tls-ca file that is %s is ERR_USAGE', async (_name, file) => {
    await writeFile(path.join(directory, 'client.ext'), 'x');
    const error = await failureOf(open({ tlsCa: path.join(directory, file) }).resolve());
    expect(error).toMatchObject({ code: 'ERR_USAGE' });
    expect(error.message).toContain(file);
  });
});
