/** What is asked of a registry, and what of its answer is believed. */
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RegistryOptions } from '../../src/source/registry/registry-source.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { failureOf, openBare, readRange } from '../support/registry-reader.ts';
import {
  type ScriptedServer,
  type ServedDescriptor,
  startScriptedServer,
} from '../support/scripted-server.ts';

const TYPE = 'application/vnd.oci.image.manifest.v1+json';
const MANIFEST = Buffer.from('{"schemaVersion":2}');
const LAYER = Buffer.from('a layer of no importance, long enough for two ranges');

let server: ScriptedServer;
let layer: ServedDescriptor;
let source: ImageSource;

beforeEach(async () => {
  server = await startScriptedServer();
  layer = server.addBlob('team/app', LAYER);
  server.addManifest('team/app', 'v1', MANIFEST, TYPE);
  source = open();
});
afterEach(async () => {
  await source.close();
  await server.close();
});

function open(options: RegistryOptions = {}): ImageSource {
  return openBare(`${server.address}/team/app:v1`, options);
}

describe('requests', () => {
  test('HEAD is never sent, so a registry that refuses it is none the wiser (E207, E210)', async () => {
    server.rule({ method: 'HEAD', reply: { status: 405 } });
    expect((await source.resolve()).bytes.equals(MANIFEST)).toBe(true);
    expect((await readRange(source, layer, 2, 9)).equals(LAYER.subarray(2, 9))).toBe(true);
    expect(server.requests.map(({ method }) => method)).toEqual(['GET', 'GET']);
  });

  test('a tag costs one manifest request against a limit of pulls, which is shown when it is reached (E216)', async () => {
    await source.resolve();
    expect(server.requests.filter(({ path }) => path.includes('/manifests/')).length).toBe(1);
    server.rule({
      path: /\/manifests\//,
      reply: {
        status: 429,
        headers: { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '0;w=21600', 'retry-after': '0' },
        body: '{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}',
      },
    });
    const limited = open();
    const failure = await failureOf(limited.resolve());
    await limited.close();
    expect(failure.message).toMatch(/429 \(too many requests\).*You have reached your pull rate limit/);
  });

  test('several ranges are never asked for in one request (E202)', async () => {
    await Promise.all([
      readRange(source, layer, 0, 5),
      readRange(source, layer, 20, 25),
      readRange(source, layer),
    ]);
    for (const { headers } of server.requests) expect(headers['range'] ?? '').not.toContain(',');
  });
});

describe('Docker-Content-Digest', () => {
  const sha512 = `sha512:${createHash('sha512').update(MANIFEST).digest('hex')}`;
  test.each([
    ['is missing', undefined],
    ['has another algorithm', sha512],
    ['is that of something else', `sha256:${'0'.repeat(64)}`],
    ['is no digest', 'latest'],
  ])('%s: the digest of the bytes is what counts (E209)', async (_, header) => {
    server.rule({
      path: '/v2/team/app/manifests/v1',
      reply: {
        headers: {
          'content-type': TYPE,
          ...(header === undefined ? {} : { 'docker-content-digest': header }),
        },
        body: MANIFEST,
      },
    });
    expect((await source.resolve()).digest).toBe(
      `sha256:${createHash('sha256').update(MANIFEST).digest('hex')}`,
    );
  });
});

describe('a token that allows less than was asked', () => {
  test('is taken; what it does not allow is refused when it is used (E194)', async () => {
    server.rule({
      path: '/token',
      reply: { body: '{"token":"t","scope":"repository:team/app:metadata"}' },
    });
    const challenge = `Bearer realm="${server.origin}/token",scope="repository:team/app:pull"`;
    server.rule({
      when: ({ path, headers }) => path.startsWith('/v2/') && headers['authorization'] !== 'Bearer t',
      reply: { status: 401, headers: { 'www-authenticate': challenge } },
    });
    server.rule({
      path: /\/blobs\//,
      reply: {
        status: 403,
        headers: { 'www-authenticate': `${challenge},error="insufficient_scope"` },
        body: '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}',
      },
    });
    expect((await source.resolve()).bytes.equals(MANIFEST)).toBe(true);
    const failure = await failureOf(readRange(source, layer, 0, 5));
    expect(failure).toMatchObject({ code: 'ERR_AUTH_REFUSED' });
    expect(failure.message).toContain('requested access to the resource is denied');
    expect(server.requests.length).toBeLessThan(10);
  });
});
