/** Logging in: challenges, tokens, and who asks for them when. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { RegistryOptions } from '../../src/source/registry/registry-source.ts';
import { failureOf, readRange } from '../support/registry-reader.ts';
import {
  BYTES,
  basic,
  directory,
  guard,
  layer,
  MANIFEST,
  open,
  server,
  tokenRequests,
  useRegistry,
} from '../support/registry-stage.ts';

useRegistry('team/app');

function authConfig(key: string, entry: object): RegistryOptions {
  return { env: { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { [key]: entry } }) } };
}

describe('tokens', () => {
  test('an anonymous token is asked for with the challenge’s service and scope (E187)', async () => {
    guard(
      () => 't1',
      () => ({ body: '{"token":"t1"}' }),
    );
    await open().resolve();
    const [request] = tokenRequests();
    expect(request?.query.get('service')).toBe('s');
    expect(request?.query.getAll('scope')).toEqual(['repository:team/app:pull']);
    expect(request?.headers['authorization']).toBeUndefined();
  });

  test('no more than pull is asked for, whatever the challenge says', async () => {
    const scope = 'repository:team/app:pull,push,delete repository:other:* registry:catalog:*';
    guard(
      () => 't1',
      () => ({ body: '{"token":"t1"}' }),
      `Bearer realm="${server.origin}/token",scope="${scope}"`,
    );
    await open().resolve();
    expect(tokenRequests()[0]?.query.getAll('scope')).toEqual([
      'repository:team/app:pull',
      'repository:other:pull',
      'registry:catalog:*',
    ]);
  });

  test('a missing scope is the repository’s own (E191)', async () => {
    guard(
      () => 't1',
      () => ({ body: '{"token":"t1"}' }),
      `bearer REALM="${server.origin}/token"`,
    );
    await open().resolve();
    expect(tokenRequests()[0]?.query.getAll('scope')).toEqual(['repository:team/app:pull']);
  });

  test('Bearer is taken where Basic is offered too', async () => {
    guard(
      () => 't1',
      () => ({ body: '{"token":"t1"}' }),
      `Basic realm="x", Bearer realm="${server.origin}/token"`,
    );
    await open().resolve();
    expect(tokenRequests().length).toBe(1);
  });

  test('credentials go to the token server as Basic (E188)', async () => {
    guard(
      () => 't1',
      () => ({ body: '{"token":"t1"}' }),
    );
    await open(authConfig(server.address, { auth: basic('u', 'p:w') })).resolve();
    expect(tokenRequests()[0]?.headers['authorization']).toBe(`Basic ${basic('u', 'p:w')}`);
  });

  test.each([404, 405])('a token server without GET (%i) gets a password grant (E188)', async (status) => {
    guard(
      () => 't1',
      (request) => (request.method === 'GET' ? { status } : { body: '{"access_token":"t1"}' }),
    );
    await open(authConfig(server.address, { auth: basic('u', 'pass') })).resolve();
    const form = new URLSearchParams(tokenRequests()[1]?.body);
    expect(Object.fromEntries(form)).toMatchObject({
      grant_type: 'password',
      username: 'u',
      password: 'pass',
      service: 's',
      scope: 'repository:team/app:pull',
    });
  });

  test('an identity token is a refresh token grant (E189)', async () => {
    guard(
      () => 't1',
      () => ({ body: '{"access_token":"t1"}' }),
    );
    await open(authConfig(server.address, { identitytoken: 'idtok' })).resolve();
    expect(tokenRequests()[0]?.method).toBe('POST');
    expect(Object.fromEntries(new URLSearchParams(tokenRequests()[0]?.body))).toMatchObject({
      grant_type: 'refresh_token',
      refresh_token: 'idtok',
    });
  });

  test.each([404, 405])('an identity token falls back to GET where POST is %i', async (status) => {
    guard(
      () => 't1',
      (request) => (request.method === 'POST' ? { status } : { body: '{"token":"t1"}' }),
    );
    await open(authConfig(server.address, { auth: basic('u', ''), identitytoken: 'idtok' })).resolve();
    expect(tokenRequests()[1]?.headers['authorization']).toBe(`Basic ${basic('u', 'idtok')}`);
  });

  test('a registry token is sent as it is', async () => {
    guard(
      () => 'ready-made',
      () => ({ status: 500 }),
    );
    await open(authConfig(server.address, { registrytoken: 'ready-made' })).resolve();
    expect(tokenRequests()).toEqual([]);
  });

  test.each([
    ['access_token', '{"access_token":"t1"}'],
    ['no expires_in', '{"token":"t1"}'],
    ['expires_in below the minimum', '{"token":"t1","expires_in":0}'],
    ['a negative expires_in', '{"token":"t1","expires_in":-5}'],
    ['expires_in as text', '{"token":"t1","expires_in":"300"}'],
    ['issued_at in the future', '{"token":"t1","expires_in":300,"issued_at":"2100-01-01T00:00:00Z"}'],
    ['issued_at in the past', '{"token":"t1","expires_in":300,"issued_at":"1990-01-01T00:00:00Z"}'],
  ])('a token answer with %s serves many requests (E192)', async (_name, body) => {
    guard(
      () => 't1',
      () => ({ body }),
    );
    const source = open();
    for (let round = 0; round < 5; round += 1) await readRange(source, layer, 0, 10);
    expect(tokenRequests().length).toBe(1);
  });

  test('a token is renewed before it expires, by elapsed time (E192, F21)', async () => {
    let now = 0;
    guard(
      () => `t${now}`,
      (_request, nth) => {
        now = nth;
        return { body: JSON.stringify({ token: `t${nth}`, expires_in: 1 }) };
      },
    );
    const source = open();
    await readRange(source, layer, 0, 10);
    await new Promise((resolve) => setTimeout(resolve, 950));
    server.clearRequests();
    await readRange(source, layer, 0, 10);
    expect(server.requests.map(({ path: asked }) => asked)).toEqual([
      '/token',
      `/v2/team/app/blobs/${layer.digest}`,
    ]);
  });

  test('100 readers of an expired token cause one token request and no failure (E193, F9)', async () => {
    let valid = 't1';
    guard(
      () => valid,
      (_request, nth) => {
        valid = `t${nth}`;
        return { delayMs: 20, body: JSON.stringify({ token: valid, expires_in: 300 }) };
      },
    );
    const source = open();
    await readRange(source, layer, 0, 10);
    valid = 'revoked';
    server.clearRequests();
    const read = await Promise.all(
      Array.from({ length: 100 }, (_, index) => readRange(source, layer, index * 10, index * 10 + 10)),
    );
    expect(Buffer.concat(read).equals(BYTES.subarray(0, 1000))).toBe(true);
    expect(tokenRequests().length).toBe(1);
  });

  test('one reader that gives up does not end the renewal of the others', async () => {
    guard(
      () => 't1',
      () => ({ delayMs: 100, body: '{"token":"t1"}' }),
    );
    const source = open();
    const controller = new AbortController();
    const first = failureOf(readRange(source, layer, 0, 10, controller.signal));
    const second = readRange(source, layer, 0, 10);
    await expect.poll(() => tokenRequests().length).toBe(1);
    controller.abort();
    expect(await first).toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect((await second).equals(BYTES.subarray(0, 10))).toBe(true);
    expect(tokenRequests().length).toBe(1);
  });

  test('a registry that never accepts its own tokens is given up at once, and not asked again (E195, F11)', async () => {
    guard(
      () => 'never',
      () => ({ body: '{"token":"t1"}' }),
    );
    const source = open();
    expect(await failureOf(source.resolve())).toMatchObject({ code: 'ERR_AUTH_REFUSED' });
    const asked = server.requests.length;
    expect(asked).toBeLessThanOrEqual(3);
    for (let round = 0; round < 20; round += 1) await failureOf(readRange(source, layer, 0, 10));
    expect(server.requests.length).toBe(asked);
  });

  test('after a reload new credentials are tried', async () => {
    let isLoggedIn = false;
    const authfile = path.join(directory, 'auth.json');
    guard(
      () => 't1',
      ({ headers }) => {
        isLoggedIn = headers['authorization'] === `Basic ${basic('u', 'new')}`;
        return isLoggedIn ? { body: '{"token":"t1"}' } : { status: 401, body: '{"details":"no"}' };
      },
    );
    await writeFile(authfile, JSON.stringify({ auths: { [server.address]: { auth: basic('u', 'old') } } }), {
      mode: 0o600,
    });
    const source = open({ authfile });
    const error = await failureOf(source.resolve());
    expect(error).toMatchObject({ code: 'ERR_AUTH_REFUSED' });
    expect(error.message).toContain(authfile);
    await writeFile(authfile, JSON.stringify({ auths: { [server.address]: { auth: basic('u', 'new') } } }), {
      mode: 0o600,
    });
    await source.reload?.();
    expect((await source.resolve()).bytes.equals(MANIFEST)).toBe(true);
  });

  test('403 is ERR_AUTH_REFUSED with what the registry says, in one request (E195)', async () => {
    server.rule({
      path: /manifests/,
      reply: { status: 403, body: '{"errors":[{"code":"DENIED","message":"not yours"}]}' },
    });
    const error = await failureOf(open().resolve());
    expect(error).toMatchObject({ code: 'ERR_AUTH_REFUSED', facts: { status: 403 } });
    expect(error.message).toContain('DENIED: not yours');
    expect(error.message).toContain(`docker login ${server.address}`);
    expect(server.requests.length).toBe(1);
  });

  test.each([
    ['no WWW-Authenticate', {}],
    ['a scheme that is not understood', { 'www-authenticate': 'Negotiate' }],
    ['nonsense', { 'www-authenticate': '"""' }],
  ])('401 with %s is ERR_AUTH_REFUSED', async (_name, headers) => {
    server.rule({ path: /manifests/, reply: { status: 401, headers } });
    expect(await failureOf(open().resolve())).toMatchObject({ code: 'ERR_AUTH_REFUSED' });
  });

  test('a Basic challenge gets Basic with every request (E190)', async () => {
    server.rule({
      path: /^\/v2\//,
      when: ({ headers }) => headers['authorization'] !== `Basic ${basic('u', 'p')}`,
      reply: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
    });
    const source = open(authConfig(server.address, { username: 'u', password: 'p' }));
    for (let round = 0; round < 3; round += 1) await readRange(source, layer, 0, 10);
    expect(server.requests.length).toBe(4);
    expect(await failureOf(open().resolve())).toMatchObject({ code: 'ERR_AUTH_REFUSED' });
    expect(
      await failureOf(open(authConfig(server.address, { auth: basic('u', 'wrong') })).resolve()),
    ).toMatchObject({
      code: 'ERR_AUTH_REFUSED',
    });
  });

  test('a token server that is busy is tried again', async () => {
    guard(
      () => 't1',
      (_request, nth) => (nth < 3 ? { status: 503 } : { body: '{"token":"t1"}' }),
    );
    await open().resolve();
    expect(tokenRequests().length).toBe(3);
  });
});
