/**
 * What a hostile registry does to get at a credential or to choke its client: one script a row, for the registry of
 * the running test (registry-stage.ts) and for `evil`, another host.
 */
import { gzipSync } from 'node:zlib';
import { beforeEach } from 'vitest';
import { another, MANIFEST, MANIFEST_TYPE, server } from './registry-stage.ts';
import { redirect, unauthorized } from './replies.ts';
import type { Reply, ScriptedServer } from './scripted-server.ts';

/** On another loopback address: another host. */
export let evil: ScriptedServer;

/** To be called after `useRegistry`. */
export function useEvilHost(): void {
  beforeEach(async () => {
    evil = await another('127.0.0.2');
  });
}

const USER = 'canary-user';
export const PASSWORD = 'canary-password-5a17';
export const TOKEN = 'canary-token-77e0';
export const BASIC = Buffer.from(`${USER}:${PASSWORD}`).toString('base64');
/** In every form in which they travel. */
export const CANARIES = [PASSWORD, TOKEN, BASIC, encodeURIComponent(BASIC)];

const isAuthorized = ({ headers }: { headers: Readonly<Record<string, string | undefined>> }): boolean =>
  headers['authorization'] === `Bearer ${TOKEN}` || headers['authorization'] === `Basic ${BASIC}`;

/** The usual token flow, at the registry itself: the canary is then in use. */
export function loginWithToken(): void {
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

/** Hostile turns of a registry, by what it does; to be called before it is asked. */
export const SCRIPTS: readonly (readonly [string, () => void])[] = [
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
  ['a realm that is a file', () => server.rule({ reply: unauthorized('Bearer realm="file:///etc/passwd"') })],
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
          'content-type': `${MANIFEST_TYPE}; charset="${PASSWORD}"`,
          'docker-content-digest': `sha256:${PASSWORD}`,
        },
        body: MANIFEST,
      });
    },
  ],
];
