/** Layers that an image says lie elsewhere (E159, E182; FAULTS section 2): asked there only where the user allows it. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RegistryOptions } from '../../src/source/registry/options.ts';
import { codeOfAsync } from '../reference/code-of.ts';
import { sha256Digest } from '../support/digests.ts';
import { openBare, readRange } from '../support/registry-reader.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';

const BYTES = randomBytes(50_000);
const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
const ALLOWED: RegistryOptions = { foreignLayers: true };

let registry: ScriptedServer;
let elsewhere: ScriptedServer;
let place: string;

beforeEach(async () => {
  registry = await startScriptedServer();
  elsewhere = await startScriptedServer({ host: '127.0.0.2' });
  const { digest } = elsewhere.addBlob('x', BYTES);
  place = `${elsewhere.origin}/v2/x/blobs/${digest}`;
});
afterEach(async () => {
  await registry.close();
  await elsewhere.close();
});

async function read(
  urls: readonly string[],
  options: RegistryOptions,
  start = 0,
  end = BYTES.length,
): Promise<Buffer> {
  const source = openBare(`${registry.address}/app:v1`, options);
  try {
    const layer = { mediaType: FOREIGN, digest: sha256Digest(BYTES), size: BYTES.length, urls };
    return await readRange(source, layer, start, end);
  } finally {
    await source.close();
  }
}

describe('a foreign layer', () => {
  test('is not asked for elsewhere by default, and the error says how it could be (E159)', async () => {
    const reading = read([place, place], {});
    await expect(reading).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    await expect(reading).rejects.toThrow(/foreign layer, .* 2 other places: --foreign-layers allows/);
    expect(elsewhere.requests).toEqual([]);
  });

  test('is read by range from where the image says, once that is allowed (E159)', async () => {
    expect(await read([place], ALLOWED, 1000, 2000)).toEqual(BYTES.subarray(1000, 2000));
    expect(elsewhere.requests.map(({ headers }) => headers['range'])).toEqual(['bytes=1000-1999']);
  });

  test('is asked for at the registry first, and not again once it was found elsewhere', async () => {
    const source = openBare(`${registry.address}/app:v1`, ALLOWED);
    const layer = { mediaType: FOREIGN, digest: sha256Digest(BYTES), size: BYTES.length, urls: [place] };
    for (const start of [0, 100, 200]) await readRange(source, layer, start, start + 10);
    await source.close();
    const blobs = registry.requests.filter(({ path }) => path.includes('/blobs/'));
    expect([blobs.length, elsewhere.requests.length]).toEqual([1, 3]);
  });

  test('that the registry has comes from there', async () => {
    registry.addBlob('app', BYTES);
    expect(await read([place], ALLOWED)).toEqual(BYTES);
    expect(elsewhere.requests).toEqual([]);
  });

  test('is looked for at each place in turn, and no further than four', async () => {
    const nowhere = `${elsewhere.origin}/nothing`;
    expect(await read([nowhere, 'ftp://x/y', place], ALLOWED)).toEqual(BYTES);
    expect(await codeOfAsync(() => read([nowhere, nowhere, nowhere, nowhere, place], ALLOWED))).toBe(
      'ERR_IMAGE_NOT_FOUND',
    );
  });

  test.each([
    ['of another protocol', 'file:///etc/passwd', 'neither https nor http'],
    ['that is none', '../../etc/passwd', 'not a URL'],
    ['with credentials in it', 'http://user:secret@127.0.0.2/x', 'carries credentials'],
  ])('at a URL %s is refused', async (_, url, why) => {
    const reading = read([url], ALLOWED);
    await expect(reading).rejects.toMatchObject({ code: 'ERR_DOCUMENT_INVALID' });
    await expect(reading).rejects.toThrow(why);
    await expect(reading).rejects.not.toThrow('secret');
  });

  test.each([
    ['http://169.254.169.254/latest/meta-data'],
    ['http://[fe80::1]/x'],
    ['http://0.0.0.0:1/x'],
    ['http://10.0.0.1/x'],
  ])('at %s, an address that the registry has no business to name, is not connected to (B5)', async (url) => {
    await expect(read([url], ALLOWED)).rejects.toThrow('not connected');
  });

  test('gets no credentials, neither elsewhere nor at the address of the registry itself (B5)', async () => {
    const canary = Buffer.from('canary:secret').toString('base64');
    const env = { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { [registry.address]: { auth: canary } } }) };
    registry.rule({
      when: ({ path, headers }) => path.startsWith('/v2/') && headers['authorization'] === undefined,
      reply: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
    });
    registry.rule({ path: '/own', reply: { status: 200, body: BYTES } });
    expect(await read([`${registry.origin}/own`], { ...ALLOWED, env })).toEqual(BYTES);
    expect(await read([place], { ...ALLOWED, env })).toEqual(BYTES);
    const sent = (path: RegExp, server: ScriptedServer): unknown[] =>
      server.requests
        .filter((request) => path.test(request.path))
        .map(({ headers }) => headers['authorization']);
    expect(sent(/^\/v2\/app\/blobs/, registry)).toContain(`Basic ${canary}`);
    expect(new Set(sent(/^\/own$/, registry))).toEqual(new Set([undefined]));
    expect(new Set(sent(/./, elsewhere))).toEqual(new Set([undefined]));
  });

  test('whose place asks for credentials is not given any', async () => {
    elsewhere.rule({ reply: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } } });
    expect(await codeOfAsync(() => read([place], ALLOWED))).toBe('ERR_REGISTRY_RESPONSE');
    expect(elsewhere.requests).toHaveLength(1);
  });
});
