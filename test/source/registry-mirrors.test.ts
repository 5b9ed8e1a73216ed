/** Mirrors, with credentials of their own. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import type { RegistryOptions } from '../../src/source/registry/registry-source.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { readRange } from '../support/registry-reader.ts';
import {
  another,
  BYTES,
  basic,
  directory,
  layer,
  MANIFEST,
  MANIFEST_TYPE,
  open,
  server,
  useRegistry,
} from '../support/registry-stage.ts';
import type { ScriptedServer } from '../support/scripted-server.ts';

useRegistry('team/app');

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
    const manifest = server.addManifest('team/app', undefined, MANIFEST, MANIFEST_TYPE);
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
