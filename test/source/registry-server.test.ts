/** Against Debian's docker-registry: what a real registry does, with each way of logging in, and TLS. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Descriptor } from '../../src/reference/descriptor.ts';
import { parseRegistryReference } from '../../src/reference/registry-reference.ts';
import { openRegistry, type RegistryOptions } from '../../src/source/registry/registry-source.ts';
import { listTags } from '../../src/source/registry/tags.ts';
import { compressed } from '../../src/units.ts';
import { sha256Digest } from '../support/digests.ts';
import { hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';

/** Nothing of the machine: no credentials, no proxies, no hosts files. */
const BARE = { env: {}, certsDir: '/nonexistent', backoffMs: 1 } satisfies RegistryOptions;
const LAYER = randomBytes(300_000);
async function readRange(
  address: string,
  options: RegistryOptions,
  start: number,
  end: number,
): Promise<{ bytes: Buffer; requests: number; bytesFetched: number }> {
  const source = openRegistry(parseRegistryReference(`${address}/team/app:v1`), { ...BARE, ...options });
  try {
    const top = await source.resolve();
    const manifest = JSON.parse(top.bytes.toString('utf8')) as { config: Descriptor; layers: Descriptor[] };
    expect(top.digest).toBe(sha256Digest(top.bytes));
    expect(top.mediaType).toBe('application/vnd.oci.image.manifest.v1+json');
    const config = await source.fetchBlob(manifest.config, 8 << 20);
    expect(sha256Digest(config)).toBe(manifest.config.digest);
    const before = source.stats.bytesFetched;
    const chunks: Uint8Array[] = [];
    const blob = source.openBlob(manifest.layers[0]!);
    for await (const chunk of blob.fetch({ start: compressed(start), end: compressed(end) })) {
      chunks.push(chunk);
    }
    return {
      bytes: Buffer.concat(chunks),
      requests: source.stats.requests,
      bytesFetched: source.stats.bytesFetched - before,
    };
  } finally {
    await source.close();
  }
}

describe.skipIf(!hasRegistry())('a real registry', () => {
  const registries: TestRegistry[] = [];
  let open: TestRegistry;
  let htpasswd: TestRegistry;
  let token: TestRegistry;
  let tls: TestRegistry;

  beforeAll(async () => {
    const start = async (options: Parameters<typeof startRegistry>[0]): Promise<TestRegistry> => {
      const registry = await startRegistry(options);
      registries.push(registry);
      await registry.pushImage('team/app', 'v1', [LAYER]);
      return registry;
    };
    [open, htpasswd, token, tls] = await Promise.all([
      start({}),
      start({ auth: 'htpasswd' }),
      start({ auth: 'token', isOpen: false }),
      start({ tls: true }),
    ]);
  });
  afterAll(async () => {
    await Promise.all(registries.map((registry) => registry.close()));
  });

  test('an anonymous registry on loopback is read over plain HTTP without a flag (E217)', async () => {
    const { bytes, bytesFetched } = await readRange(open.address, {}, 1000, 5000);
    expect(bytes.equals(LAYER.subarray(1000, 5000))).toBe(true);
    expect(bytesFetched).toBe(4000);
  });

  test.each([
    [0, 300_000],
    [0, 1],
    [299_999, 300_000],
    [0, 299_999],
    [1, 300_000],
    [150_000, 150_000],
  ])('the range %i-%i has exactly its bytes (E196, E199, E200)', async (start, end) => {
    const { bytes } = await readRange(open.address, {}, start, end);
    expect(bytes.equals(LAYER.subarray(start, end))).toBe(true);
  });

  test('a registry with htpasswd is read with the credentials of an auth file (E190)', async () => {
    const { bytes } = await readRange(htpasswd.address, { authfile: htpasswd.authfile }, 0, 100);
    expect(bytes.equals(LAYER.subarray(0, 100))).toBe(true);
  });

  test('a registry with tokens is read with one token for all requests (E187, E188)', async () => {
    const before = token.tokenServer!.requests.length;
    const { bytes } = await readRange(token.address, { authfile: token.authfile }, 0, 100);
    expect(bytes.equals(LAYER.subarray(0, 100))).toBe(true);
    expect(token.tokenServer!.requests.length - before).toBe(1);
  });

  test('its tags are listed, with the credentials that it wants (E219)', async () => {
    for (const tag of ['v2', 'a-tag']) await token.pushImage('team/app', tag, [LAYER]);
    const reference = parseRegistryReference(`${token.address}/team/app`);
    const found: string[] = [];
    for await (const page of listTags(reference, { ...BARE, authfile: token.authfile })) found.push(...page);
    expect(found.toSorted()).toEqual(['a-tag', 'v1', 'v2']);
  });

  test.each(['htpasswd', 'token'] as const)(
    'without credentials %s refuses, and the message says how to log in',
    async (kind) => {
      const { address } = kind === 'token' ? token : htpasswd;
      const error: unknown = await readRange(address, {}, 0, 1).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ code: 'ERR_AUTH_REFUSED' });
      expect(String(error)).toContain(`docker login ${address}`);
    },
  );

  test.each(['htpasswd', 'token'] as const)(
    'wrong credentials for %s are refused by their source, not their secret',
    async (kind) => {
      const { address } = kind === 'token' ? token : htpasswd;
      const auth = Buffer.from('tester:wrong-canary').toString('base64');
      const env = { DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { [address]: { auth } } }) };
      const error: unknown = await readRange(address, { env }, 0, 1).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ code: 'ERR_AUTH_REFUSED' });
      expect(String(error)).toContain('DOCKER_AUTH_CONFIG');
      expect(String(error)).not.toContain('canary');
      expect(String(error)).not.toContain(auth);
    },
  );

  test('TLS with a private authority needs --tls-ca, and does not fall back to plain HTTP (F20)', async () => {
    await expect(readRange(tls.address, {}, 0, 1)).rejects.toMatchObject({
      code: 'ERR_REGISTRY_UNREACHABLE',
    });
    await expect(readRange(tls.address, {}, 0, 1)).rejects.toThrow(/--tls-ca/);
    const { bytes } = await readRange(tls.address, { tlsCa: tls.caFile }, 5, 9);
    expect(bytes.equals(LAYER.subarray(5, 9))).toBe(true);
  });

  test('--tls-skip-verify names one host', async () => {
    const { bytes } = await readRange(tls.address, { tlsSkipVerify: [tls.address] }, 5, 9);
    expect(bytes.equals(LAYER.subarray(5, 9))).toBe(true);
    await expect(readRange(tls.address, { tlsSkipVerify: ['other.example'] }, 0, 1)).rejects.toMatchObject({
      code: 'ERR_REGISTRY_UNREACHABLE',
    });
  });

  test('a tag that is not there is ERR_IMAGE_NOT_FOUND with what the registry says', async () => {
    const source = openRegistry(parseRegistryReference(`${open.address}/team/app:v2`), BARE);
    await expect(source.resolve()).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    await expect(source.resolve()).rejects.toThrow(/MANIFEST_UNKNOWN/);
    await source.close();
  });

  test('a moved tag changes nothing for an open source (E222)', async () => {
    await open.pushImage('moving', 'v1', [LAYER]);
    const source = openRegistry(parseRegistryReference(`${open.address}/moving:v1`), BARE);
    const first = await source.resolve();
    await open.pushImage('moving', 'v1', [randomBytes(10)]);
    expect((await source.resolve()).digest).toBe(first.digest);
    const again = await source.fetchDocument({
      mediaType: '',
      digest: first.digest,
      size: first.bytes.length,
    });
    expect(again.bytes.equals(first.bytes)).toBe(true);
    await source.close();
    const other = openRegistry(parseRegistryReference(`${open.address}/moving:v1`), BARE);
    expect((await other.resolve()).digest).not.toBe(first.digest);
    await other.close();
  });

  test('a blob that was removed is ERR_IMAGE_NOT_FOUND with its digest (F16)', async () => {
    const source = openRegistry(parseRegistryReference(`${open.address}/team/app:v1`), BARE);
    const digest = `sha256:${'0'.repeat(64)}` as Descriptor['digest'];
    const blob = source.openBlob({ mediaType: '', digest, size: 10 });
    const read = blob.fetch({ start: compressed(0), end: compressed(5) })[Symbol.asyncIterator]();
    await expect(read.next()).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    await source.close();
  });

  test('a registry that stopped is ERR_REGISTRY_UNREACHABLE within its tries (F1)', async () => {
    const registry = await startRegistry();
    try {
      await registry.stop();
      const source = openRegistry(parseRegistryReference(`${registry.address}/app`), BARE);
      await expect(source.resolve()).rejects.toMatchObject({ code: 'ERR_REGISTRY_UNREACHABLE' });
      expect(source.stats.requests).toBe(5);
      await source.close();
    } finally {
      await registry.close();
    }
  });
});
