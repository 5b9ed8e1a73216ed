/** Logging in: challenges, tokens, where credentials come from, and mirrors with credentials of their own. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RegistryOptions } from '../../src/source/registry/registry-source.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { failureOf, openBare, readRange } from '../support/registry-reader.ts';
import {
  type RecordedRequest,
  type Reply,
  type ScriptedServer,
  type ServedDescriptor,
  startScriptedServer,
} from '../support/scripted-server.ts';

const BYTES = randomBytes(50_000);
const MANIFEST = Buffer.from('{"schemaVersion":2}');
const TYPE = 'application/vnd.oci.image.manifest.v1+json';
const basic = (user: string, password: string): string =>
  Buffer.from(`${user}:${password}`).toString('base64');

let server: ScriptedServer;
let layer: ServedDescriptor;
let directory: string;
let sources: ImageSource[];
let servers: ScriptedServer[];

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'peel-auth-'));
  sources = [];
  servers = [];
  server = await another('127.0.0.1');
  layer = server.addBlob('team/app', BYTES);
});
afterEach(async () => {
  await Promise.all(sources.map((source) => source.close()));
  await Promise.all(servers.map((one) => one.close()));
  await rm(directory, { recursive: true, force: true });
});

async function another(host: string): Promise<ScriptedServer> {
  const one = await startScriptedServer({ host });
  one.addManifest('team/app', 'v1', MANIFEST, TYPE);
  servers.push(one);
  return one;
}

function open(options: RegistryOptions = {}): ImageSource {
  const source = openBare(`${server.address}/team/app:v1`, options);
  sources.push(source);
  return source;
}

function authConfig(key: string, entry: object): RegistryOptions {
  return { env: { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { [key]: entry } }) } };
}

/** Everything under /v2/ needs `Bearer <token()>`; /token is answered by `reply`. */
function guard(
  token: () => string,
  reply: (request: RecordedRequest, nth: number) => Reply,
  challenge?: string,
): void {
  const header =
    challenge ?? `Bearer realm="${server.origin}/token",service="s",scope="repository:team/app:pull"`;
  server.rule({ path: '/token', reply });
  server.rule({
    path: /^\/v2\//,
    when: ({ headers }) => headers['authorization'] !== `Bearer ${token()}`,
    reply: { status: 401, headers: { 'www-authenticate': header } },
  });
}
const tokenRequests = (): RecordedRequest[] => server.requests.filter((request) => request.path === '/token');

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

describe('sources of credentials', () => {
  /** The password that the registry is shown. */
  async function shown(options: RegistryOptions): Promise<string | undefined> {
    server.clearRules();
    server.rule({
      path: /^\/v2\//,
      when: ({ headers }) => headers['authorization'] === undefined,
      reply: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
    });
    await open(options).resolve();
    const header = server.requests.at(-1)?.headers['authorization'] ?? '';
    return Buffer.from(header.replace('Basic ', ''), 'base64').toString().split(':')[1];
  }
  const config = (password: string, key = server.address): string =>
    JSON.stringify({ auths: { [key]: { auth: basic('u', password) } } });

  async function put(name: string, text: string): Promise<string> {
    const file = path.join(directory, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text, { mode: 0o600 });
    return file;
  }

  async function helper(name: string, script: string): Promise<string> {
    const file = await put(`bin/docker-credential-${name}`, `#!/bin/sh\n${script}\n`);
    await chmod(file, 0o755);
    return path.dirname(file);
  }

  test('they are asked in the order of the documentation', async () => {
    const authfile = await put('authfile.json', config('authfile'));
    const env: Record<string, string> = {
      REGISTRY_AUTH_FILE: await put('registry-auth-file.json', config('env-file')),
      DOCKER_AUTH_CONFIG: config('env-text'),
      XDG_RUNTIME_DIR: path.dirname(path.dirname(await put('run/containers/auth.json', config('runtime')))),
      XDG_CONFIG_HOME: path.dirname(path.dirname(await put('config/containers/auth.json', config('config')))),
      DOCKER_CONFIG: path.dirname(await put('docker/config.json', config('docker'))),
    };
    expect(await shown({ authfile, env })).toBe('authfile');
    for (const [name, expected] of [
      ['REGISTRY_AUTH_FILE', 'env-file'],
      ['DOCKER_AUTH_CONFIG', 'env-text'],
      ['XDG_RUNTIME_DIR', 'runtime'],
      ['XDG_CONFIG_HOME', 'config'],
      ['DOCKER_CONFIG', 'docker'],
    ] as const) {
      expect(await shown({ env })).toBe(expected);
      delete env[name];
    }
    await put('.docker/config.json', config('home'));
    expect(await shown({ env: { HOME: directory } })).toBe('home');
    await put('.config/containers/auth.json', config('home-config'));
    expect(await shown({ env: { HOME: directory } })).toBe('home-config');
  });

  test('the most specific namespace decides, and a prefix of a name does not count', async () => {
    const auths = Object.fromEntries(
      [
        [server.address, 'host'],
        [`${server.address}/team`, 'team'],
        [`${server.address}/te`, 'prefix'],
        [`${server.address}/team/app2`, 'other'],
      ].map(([key, password]) => [key, { auth: basic('u', password ?? '') }]),
    );
    expect(await shown({ env: { DOCKER_AUTH_CONFIG: JSON.stringify({ auths }) } })).toBe('team');
  });

  test('credHelpers come before credsStore, and that before auths', async () => {
    const folder = await helper('one', 'cat >/dev/null; echo \'{"Username":"u","Secret":"from-one"}\'');
    await helper('two', 'cat >/dev/null; echo \'{"Username":"u","Secret":"from-two"}\'');
    await helper('none', "cat >/dev/null; echo 'credentials not found in native keychain'; exit 1");
    const file = (extra: object): string =>
      JSON.stringify({ ...(JSON.parse(config('from-auths')) as object), ...extra });
    const ask = (extra: object): Promise<string | undefined> =>
      shown({ helperPath: [folder], env: { DOCKER_AUTH_CONFIG: file(extra) } });
    expect(await ask({ credHelpers: { [server.address]: 'one' }, credsStore: 'two' })).toBe('from-one');
    expect(await ask({ credHelpers: { 'other.example': 'one' }, credsStore: 'two' })).toBe('from-two');
    expect(await ask({ credHelpers: { [server.address]: 'none' }, credsStore: 'none' })).toBe('from-auths');
  });

  test('a helper is a real program: the registry’s name on its input, get as argument, a scrubbed environment', async () => {
    const seen = path.join(directory, 'seen');
    const folder = await helper(
      'spy',
      `{ echo "$1"; cat; echo; env; ls -l /proc/self/fd | wc -l; } > ${seen}; echo '{"Username":"u","Secret":"spied"}'`,
    );
    const env = {
      DOCKER_AUTH_CONFIG: JSON.stringify({ credsStore: 'spy' }),
      PATH: '/nonexistent',
      HOME: directory,
      NODE_OPTIONS: '--no-warnings',
      LD_PRELOAD: '',
      PEEL_SECRET: 'x',
      AWS_PROFILE: 'p',
    };
    expect(await shown({ helperPath: [folder], env })).toBe('spied');
    const { readFile } = await import('node:fs/promises');
    const text = await readFile(seen, 'utf8');
    expect(text.split('\n').slice(0, 2)).toEqual(['get', server.address]);
    expect(text).toContain(`HOME=${directory}`);
    expect(text).toContain('AWS_PROFILE=p');
    expect(text).not.toMatch(/NODE_OPTIONS|LD_PRELOAD|PEEL_SECRET|DOCKER_AUTH_CONFIG|nonexistent/);
  });

  test('an identity token of a helper is used as one', async () => {
    const folder = await helper(
      'token',
      'cat >/dev/null; echo \'{"Username":"<token>","Secret":"helper-idtok"}\'',
    );
    guard(
      () => 't1',
      () => ({ body: '{"access_token":"t1"}' }),
    );
    await open({ helperPath: [folder], env: { DOCKER_AUTH_CONFIG: '{"credsStore":"token"}' } }).resolve();
    expect(new URLSearchParams(tokenRequests()[0]?.body).get('refresh_token')).toBe('helper-idtok');
  });

  test.each<[string, string, string]>([
    ['fails', 'fails', 'echo canary-out; echo canary-err >&2; exit 3'],
    ['prints nonsense', 'nonsense', 'echo "canary not json"'],
    ['prints other JSON', 'other', 'echo \'{"Secret":7,"x":"canary"}\''],
    ['prints without end', 'endless', 'yes canary'],
    ['never answers', 'hangs', 'echo canary; sleep 600'],
    ['leaves a child behind', 'forks', 'sleep 600 & sleep 600'],
    ['is not there', 'missing', ''],
    ['has a path for a name', '../../bin/sh', ''],
    ['has a shell command for a name', 'x;touch pwned', ''],
  ])('a helper that %s is ERR_AUTH_REFUSED, without its output', async (_name, name, script) => {
    const folder = script === '' ? path.join(directory, 'bin') : await helper(name, script);
    server.rule({
      path: /^\/v2\//,
      reply: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
    });
    const env = { DOCKER_AUTH_CONFIG: JSON.stringify({ credHelpers: { [server.address]: name } }) };
    const error = await failureOf(open({ helperPath: [folder], env, helperMs: 400 }).resolve());
    expect(error).toMatchObject({ code: 'ERR_AUTH_REFUSED' });
    expect(error.message).toContain('credential helper');
    expect(error.message).not.toContain('canary');
  });

  test.each<[string, (file: string) => Promise<void>]>([
    ['is missing', async () => {}],
    ['is no JSON', (file) => writeFile(file, '{"auths":{"x":{"auth":"canary"')],
    ['is a folder', (file) => mkdir(file)],
    ['is too long', (file) => writeFile(file, Buffer.alloc((1 << 20) + 1, 'canary '))],
  ])('an auth file that %s is ERR_USAGE naming it, not its text', async (_name, make) => {
    const authfile = path.join(directory, 'named.json');
    await make(authfile);
    server.rule({
      path: /^\/v2\//,
      reply: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
    });
    const error = await failureOf(open({ authfile }).resolve());
    expect(error).toMatchObject({ code: 'ERR_USAGE' });
    expect(error.message).toContain(authfile);
    expect(error.message).not.toContain('canary');
  });

  test('a broken file that the user did not name is passed over', async () => {
    await put('.docker/config.json', '{nonsense');
    await put('.config/containers/auth.json', config('works'));
    expect(await shown({ env: { HOME: directory } })).toBe('works');
  });

  test('credentials are not looked for as long as nobody asks', async () => {
    const authfile = path.join(directory, 'missing.json');
    expect((await open({ authfile }).resolve()).bytes.equals(MANIFEST)).toBe(true);
  });
});

describe('mirrors (E213, E214)', () => {
  let mirror: ScriptedServer;
  beforeEach(async () => {
    mirror = await another('127.0.0.2');
    mirror.addBlob('team/app', BYTES);
  });

  async function mirrored(extra = '', options: RegistryOptions = {}): Promise<ImageSource> {
    const folder = path.join(directory, 'certs.d', server.address);
    await mkdir(folder, { recursive: true });
    await writeFile(
      path.join(folder, 'hosts.toml'),
      `server = "${server.origin}"\n[host."${mirror.origin}"]\n${extra}\n`,
    );
    return open({ certsDir: path.join(directory, 'certs.d'), ...options });
  }

  test('a mirror is asked first, and told which registry is meant', async () => {
    const source = await mirrored();
    expect((await source.resolve()).bytes.equals(MANIFEST)).toBe(true);
    await readRange(source, layer, 0, 10);
    expect(mirror.requests.map(({ query }) => query.get('ns'))).toEqual([server.address, server.address]);
    expect(server.requests).toEqual([]);
  });

  test.each([404, 401, 403, 429, 500, 503])('a mirror that answers %i is passed over', async (status) => {
    mirror.rule({ reply: { status } });
    const source = await mirrored();
    expect((await source.resolve()).bytes.equals(MANIFEST)).toBe(true);
    expect(mirror.requests.length).toBe(1);
    expect(server.requests.map(({ query }) => query.get('ns'))).toEqual([null]);
  });

  test('a mirror that failed is not asked again for a while', async () => {
    mirror.rule({ reply: { status: 500 } });
    const source = await mirrored();
    for (let round = 0; round < 5; round += 1) await readRange(source, layer, 0, 10);
    expect(mirror.requests.length).toBe(1);
    expect(server.requests.length).toBe(5);
  });

  test('a mirror that is gone is passed over', async () => {
    const source = await mirrored();
    await mirror.close();
    expect((await source.resolve()).bytes.equals(MANIFEST)).toBe(true);
  });

  test('a mirror that breaks in the middle is continued by the registry', async () => {
    mirror.rule({ path: /blobs/, reply: (request) => ({ ...mirror.content(request), truncateAfter: 1000 }) });
    const source = await mirrored();
    expect((await readRange(source, layer)).equals(BYTES)).toBe(true);
    expect(server.requests[0]?.headers['range']).toBe(`bytes=1000-${BYTES.length - 1}`);
  });

  test('a mirror with another manifest than the digest says is passed over (F15)', async () => {
    const manifest = server.addManifest('team/app', undefined, MANIFEST, TYPE);
    mirror.rule({ path: /manifests/, reply: { body: Buffer.from('{"schemaVersion":3}') } });
    const source = await mirrored();
    const document = await source.fetchDocument(manifest as Parameters<ImageSource['fetchDocument']>[0]);
    expect(document.bytes.equals(MANIFEST)).toBe(true);
  });

  test('a mirror without resolve is not asked for tags', async () => {
    const source = await mirrored('capabilities = ["pull"]');
    await source.resolve();
    expect(mirror.requests).toEqual([]);
    await readRange(source, layer, 0, 10);
    expect(mirror.requests.length).toBe(1);
  });

  test('credentials and headers of one host never reach the other', async () => {
    const challenge = { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } };
    for (const one of [mirror, server]) {
      one.rule({ when: ({ headers }) => headers['authorization'] === undefined, reply: challenge });
    }
    mirror.rule({ reply: { status: 500 } });
    const auths = {
      [server.address]: { auth: basic('u', 'for-registry') },
      [mirror.address]: { auth: basic('u', 'for-mirror') },
    };
    const source = await mirrored(`[host."${mirror.origin}".header]\nx-team = "only-mirror"`, {
      env: { DOCKER_AUTH_CONFIG: JSON.stringify({ auths }) },
    });
    await source.resolve();
    const sent = (one: ScriptedServer): string => JSON.stringify(one.requests.map(({ headers }) => headers));
    expect(sent(mirror)).toContain(basic('u', 'for-mirror'));
    expect(sent(mirror)).toContain('only-mirror');
    expect(sent(mirror)).not.toContain(basic('u', 'for-registry'));
    expect(sent(server)).toContain(basic('u', 'for-registry'));
    expect(sent(server)).not.toContain(basic('u', 'for-mirror'));
    expect(sent(server)).not.toContain('only-mirror');
  });
});
