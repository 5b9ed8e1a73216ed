/** Images whose manifest is of schema 1, in a registry that makes and signs such manifests: Debian's docker-registry. */
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST } from '../../src/reference/media-types.ts';
import { DocumentStore, withDocumentStore } from '../../src/source/document-store.ts';
import { type ResolvedImage, resolveImage } from '../../src/source/resolve-image.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { codeOfAsync } from '../reference/code-of.ts';
import { sha256Digest } from '../support/digests.ts';
import { hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';
import { openBare } from '../support/registry-reader.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { useTempDirs } from '../support/temp-dirs.ts';
import { tarOf } from './made-image.ts';

const SIGNED = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
const makeDir = useTempDirs();

async function resolve(source: ImageSource): Promise<ResolvedImage> {
  try {
    return await resolveImage(source, undefined);
  } finally {
    await source.close();
  }
}

describe.skipIf(!hasRegistry())('in docker-registry', () => {
  let registry: TestRegistry;
  let signed: Response;
  let bytes: Buffer;

  beforeAll(async () => {
    registry = await startRegistry({ schema1: true });
    const tars = [await tarOf([{ name: 'a', body: 'a' }]), await tarOf([{ name: 'b', body: 'b' }])];
    const configBytes = Buffer.from(
      JSON.stringify({
        os: 'linux',
        architecture: 'amd64',
        created: '2016-01-03T00:00:00Z',
        container_config: { Cmd: ['add b'] },
        config: { Cmd: ['/b'] },
        rootfs: { type: 'layers', diff_ids: tars.map(sha256Digest) },
        history: [
          { created: '2016-01-01T00:00:00Z', created_by: 'add a' },
          { created: '2016-01-02T00:00:00Z', created_by: 'set Cmd', empty_layer: true },
          { created: '2016-01-03T00:00:00Z', created_by: 'add b' },
        ],
      }),
    );
    const manifest = {
      schemaVersion: 2,
      mediaType: DOCKER_MANIFEST,
      config: { ...(await registry.pushBlob('app', configBytes)), mediaType: DOCKER_CONFIG },
      layers: [
        { ...(await registry.pushBlob('app', gzipSync(tars[0] ?? ''))), mediaType: DOCKER_LAYER_GZIP },
        { ...(await registry.pushBlob('app', gzipSync(tars[1] ?? ''))), mediaType: DOCKER_LAYER_GZIP },
      ],
    };
    await registry.pushManifest('app', 'schema2', Buffer.from(JSON.stringify(manifest)), DOCKER_MANIFEST);
    // Asked for without a type, it converts what it has, and signs that.
    signed = await fetch(`${registry.origin}/v2/app/manifests/schema2`, {
      headers: { accept: '*/*' },
      signal: AbortSignal.timeout(20_000),
    });
    bytes = Buffer.from(await signed.arrayBuffer());
    await registry.pushManifest('app', 'schema1', bytes, SIGNED);
  }, 60_000);
  afterAll(async () => {
    await registry?.close();
  });

  test('the layers, history and command are those of the image that it was made of (E151)', async () => {
    expect(signed.headers.get('content-type')).toBe(SIGNED);
    const old = await resolve(openBare(`${registry.address}/app:schema1`));
    const current = await resolve(openBare(`${registry.address}/app:schema2`));
    expect(old.manifestDocument.digest).toBe(signed.headers.get('docker-content-digest'));
    const named = ({ manifest }: ResolvedImage): unknown =>
      manifest.layers.map(({ digest, size }) => ({ digest, size }));
    expect(named(old)).toEqual(named(current));
    expect(old.config.history).toEqual(current.config.history);
    expect(old.config.platform).toEqual(current.config.platform);
    expect(old.config.runtime['Cmd']).toEqual(['/b']);
    expect(old.config.diffIDs).toEqual([]);
  });

  test('it is found by the digest of its payload, which is not that of its bytes (E151)', async () => {
    const digest = signed.headers.get('docker-content-digest');
    const found = await resolve(openBare(`${registry.address}/app@${digest}`));
    expect(found.manifestDocument.digest).toBe(digest);
    expect(found.manifest.mediaType).toBe(SIGNED);
  });

  test('P11: seen once, it opens offline, sizes included', async () => {
    const store = new DocumentStore(makeDir());
    const open = (offline: boolean): Promise<ResolvedImage> =>
      resolve(withDocumentStore(openBare(`${registry.address}/app:schema1`), store, offline));
    const online = await open(false);
    const offline = await open(true);
    expect(offline.manifest).toEqual(online.manifest);
    expect(offline.config).toEqual(online.config);
    const other = new DocumentStore(makeDir());
    await other.writeName(`${registry.address}/app:schema1`, {
      digest: online.manifestDocument.digest,
      mediaType: SIGNED,
    });
    await other.writeDocument(online.manifestDocument.digest, bytes);
    const source = withDocumentStore(openBare(`${registry.address}/app:schema1`), other, true);
    expect(await codeOfAsync(() => resolve(source))).toBe('ERR_OFFLINE');
  });
});

describe('a registry that is asked for the size of a blob', () => {
  let server: ScriptedServer;
  let digest: string;
  beforeAll(async () => {
    server = await startScriptedServer();
    ({ digest } = server.addBlob('app', Buffer.alloc(1000, 7)));
  });
  afterAll(async () => {
    await server.close();
  });

  async function measure(reply?: object): Promise<number> {
    server.clearRules();
    if (reply !== undefined) server.rule({ path: /\/blobs\//, reply });
    const source = openBare(`${server.address}/app:v1`);
    try {
      return await source.measureBlob(digest as never);
    } finally {
      await source.close();
    }
  }

  test('says it in the answer to one byte', async () => {
    server.clearRequests();
    expect(await measure()).toBe(1000);
    expect(server.requests.map(({ headers }) => headers['range'])).toEqual(['bytes=0-0']);
  });

  test.each([
    ['the whole blob', { status: 200, body: 'x'.repeat(77) }, 77],
    ['status 416 for an empty blob', { status: 416, headers: { 'content-range': 'bytes */0' } }, 0],
    ['status 416 and nothing more', { status: 416 }, 0],
  ])('may say it by %s', async (_, reply, size) => {
    expect(await measure(reply)).toBe(size);
  });

  test.each([
    ['a part of unknown size', { status: 206, headers: { 'content-range': 'bytes 0-0/*' }, body: 'x' }],
    ['a part of nothing', { status: 206, body: 'x' }],
    ['nonsense', { status: 206, headers: { 'content-range': 'bytes 0-0/-1' }, body: 'x' }],
    [
      'more than a number holds',
      { status: 206, headers: { 'content-range': `bytes 0-0/${'9'.repeat(30)}` } },
    ],
    ['a blob of unknown length', { status: 200, body: 'x', chunked: true }],
    ['416 for a blob that is not empty', { status: 416, headers: { 'content-range': 'bytes */5' } }],
  ])('is refused for %s', async (_, reply) => {
    expect(await codeOfAsync(() => measure(reply))).toBe('ERR_REGISTRY_RESPONSE');
  });
});
