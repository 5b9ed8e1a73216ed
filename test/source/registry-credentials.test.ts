/** Where credentials come from: files, helpers, settings, and which of them decides. */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { RegistryOptions } from '../../src/source/registry/registry-source.ts';
import { failureOf } from '../support/registry-reader.ts';
import {
  basic,
  directory,
  guard,
  MANIFEST,
  open,
  server,
  tokenRequests,
  useRegistry,
} from '../support/registry-stage.ts';

useRegistry('team/app');

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
