/** An image with a SOCI index of version 2, as a user meets it: class C, lazy from the first look, and bad ones. */
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { madeBytes } from '../blob/made-toc.ts';
import { sha256Digest } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { tocOfBlob } from '../support/layer-toc.ts';
import { PeelUser } from '../support/run-peel.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { writeTar } from '../support/tar-bytes.ts';
import { type ZtocOptions, ztocOf } from '../support/ztoc.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const PLATFORM = { os: 'linux', architecture: 'amd64' };
const big = Buffer.from(madeBytes(4_000_000, 9).toString('hex'));
const MEMBERS = [
  member('etc', { type: 'dir' }),
  member('etc/small', { content: Buffer.from('hello\n') }),
  member('etc/big', { content: big }),
];

let user: PeelUser;
let server: ScriptedServer;
beforeEach(async () => {
  user = new PeelUser();
  server = await startScriptedServer();
});
afterEach(async () => {
  await server.close();
  user.close();
});

interface Pushed {
  readonly image: string;
  readonly layer: string;
  readonly layerSize: number;
}

interface PushOptions extends ZtocOptions {
  /** What the manifest says the digest of the SOCI index is; `undefined` for version 1, which refers to the image. */
  readonly named?: string | undefined;
  /** The SOCI index is none, and the image has a second layer. */
  readonly isBroken?: true;
}

/** An image of one layer, if not told otherwise; the SOCI index stands in the image index, and its digest in the manifest. */
async function push(options: PushOptions = {}): Promise<Pushed> {
  const tar = Buffer.from(writeTar(MEMBERS).bytes);
  const blob = gzipSync(tar);
  const { toc } = await tocOfBlob(blob);
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const layer = { ...server.addBlob('app', blob), mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' };
  const ztoc = {
    ...server.addBlob('app', ztocOf(toc, blob, tar, options)),
    mediaType: 'application/octet-stream',
    annotations: { 'com.amazon.soci.image-layer-digest': layer.digest },
  };
  const isVersion1 = 'named' in options && options.named === undefined;
  const sociType = `application/vnd.amazon.soci.index.v${isVersion1 ? 1 : 2}+json`;
  const upperTar = Buffer.from(writeTar([member('etc/upper', { content: Buffer.from('up\n') })]).bytes);
  const upper = { ...layer, ...server.addBlob('app', gzipSync(upperTar)), mediaType: layer.mediaType };
  const hasUpper = options.isBroken === true;
  const soci = json({
    schemaVersion: options.isBroken ? 'two' : 2,
    mediaType: MANIFEST,
    artifactType: sociType,
    config: { ...server.addBlob('app', Buffer.from('{}')), mediaType: sociType },
    layers: [ztoc],
  });
  const config = {
    ...PLATFORM,
    rootfs: { type: 'layers', diff_ids: (hasUpper ? [tar, upperTar] : [tar]).map(sha256Digest) },
  };
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { ...server.addBlob('app', json(config)), mediaType: 'application/vnd.oci.image.config.v1+json' },
    layers: hasUpper ? [layer, upper] : [layer],
    ...(isVersion1
      ? {}
      : { annotations: { 'com.amazon.soci.index-digest': options.named ?? sha256Digest(soci) } }),
  });
  const listed = [manifest, soci].map((bytes, index) => {
    server.addManifest('app', `part-${index}`, bytes, MANIFEST);
    const descriptor = {
      mediaType: MANIFEST,
      digest: sha256Digest(bytes),
      size: bytes.length,
      platform: PLATFORM,
    };
    return index === 0 ? descriptor : { ...descriptor, artifactType: sociType };
  });
  const listOf = (manifests: readonly object[]): Buffer =>
    json({ schemaVersion: 2, mediaType: INDEX, manifests });
  server.addManifest('app', 'latest', listOf(isVersion1 ? listed.slice(0, 1) : listed), INDEX);
  // No referrers API: the tag that stands in for it.
  if (isVersion1) {
    server.addManifest('app', sha256Digest(manifest).replace(':', '-'), listOf(listed.slice(1)), INDEX);
  }
  return { image: `${server.address}/app`, layer: layer.digest, layerSize: blob.length };
}

async function out(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await user.run([...args]);
  expect([status, stderr]).toEqual([0, '']);
  return stdout.toString('latin1');
}

/** Bytes of the layer that were asked for so far. */
function layerBytes(layer: string): number {
  return server.requests
    .filter(({ path }) => path.endsWith(layer))
    .reduce((sum, { headers }) => {
      const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(headers['range'] ?? '') ?? [];
      return start === undefined ? Number.POSITIVE_INFINITY : sum + Number(end) + 1 - Number(start);
    }, 0);
}

async function classOf(image: string): Promise<string> {
  const row = await out('layers', '--platform', 'linux/amd64', '--format', 'jsonl', image);
  const { verificationClass, lazyBy } = JSON.parse(row) as { verificationClass: string; lazyBy: string };
  return `${verificationClass} ${lazyBy}`;
}

describe('an image with a SOCI index', () => {
  test('is read by it: nothing of the layer to list it, a span to read from it, nothing the second time', async () => {
    const { image, layer, layerSize } = await push();
    const peel = (...args: string[]): Promise<string> =>
      out(...args.slice(0, 1), '--platform', 'linux/amd64', ...args.slice(1));
    expect(await peel('ls', '-A', image, '/etc')).toBe('big\nsmall\n');
    expect(layerBytes(layer)).toBe(0);
    expect(await classOf(image)).toBe('C restart points (SOCI)');
    expect(await peel('cat', image, '/etc/small')).toBe('hello\n');
    const forOne = layerBytes(layer);
    expect(forOne).toBeLessThan(layerSize / 3);
    expect(await peel('cat', image, '/etc/small')).toBe('hello\n');
    expect(layerBytes(layer)).toBe(forOne);
    expect(await peel('cat', image, '/etc/big')).toBe(big.toString('latin1'));
    expect(layerBytes(layer)).toBeLessThan(layerSize + 1000);
    expect(await peel('cat', '--offline', image, '/etc/big')).toBe(big.toString('latin1'));
    expect(await peel('index', '--quiet', 'verify', image)).toMatch(/ C {6}same\n$/);
    expect(await classOf(image)).toBe('A restart points');
  });

  test.each<[string, PushOptions, RegExp]>([
    [
      'whose ztoc is of another layer',
      { change: (parts) => void (parts.compressedSize += 1) },
      /of a layer of/,
    ],
    [
      'whose files overlap',
      { change: ({ files }) => void Object.assign(files[2] ?? {}, { offset: 0 }) },
      /overlaps/,
    ],
  ])('%s is read as a whole, and says so', async (_, options, why) => {
    const { image, layer } = await push(options);
    const { status, stdout, stderr } = await user.run([
      'cat',
      '--platform',
      'linux/amd64',
      image,
      '/etc/small',
    ]);
    expect([status, stdout.toString()]).toEqual([0, 'hello\n']);
    expect(stderr).toMatch(/index that it brings cannot be used/);
    expect(stderr).toMatch(why);
    expect(layerBytes(layer)).toBe(Number.POSITIVE_INFINITY);
    expect(await classOf(image)).toBe('A restart points');
  });

  test('an index that cannot be used is said once for the image, not for each of its layers', async () => {
    const { image } = await push({ isBroken: true });
    const { status, stdout, stderr } = await user.run(['ls', '--platform', 'linux/amd64', image, '/etc']);
    expect([status, stdout.toString()]).toEqual([0, 'big\nsmall\nupper\n']);
    expect(stderr).toMatch(
      /^peel: warning: .*: its SOCI index cannot be used: .*; the image is read without\n$/,
    );
  });

  test('E142: a layer without a ztoc, and an index that is not listed, are read as if there were none', async () => {
    const { image } = await push({ named: sha256Digest('not there') });
    expect(await out('cat', '--platform', 'linux/amd64', image, '/etc/small')).toBe('hello\n');
    expect(await classOf(image)).toBe('A restart points');
  });

  test('a span that is not the one that the index names is an error, and nothing is shown of it', async () => {
    const { image } = await push({
      change: ({ digests }) => void digests.splice(0, 1, sha256Digest('another')),
    });
    const { status, stdout, stderr } = await user.run([
      'cat',
      '--platform',
      'linux/amd64',
      image,
      '/etc/small',
    ]);
    expect([status, stdout.length]).toEqual([6, 0]);
    expect(stderr).toMatch(/its stored bytes do not have the sha256 that the index names/);
  });

  test('of version 1, which anybody can attach, is used only where the user says so (class D)', async () => {
    const { image, layer } = await push({ named: undefined });
    const run = async (...options: string[]): Promise<string> => {
      const { status, stdout, stderr } = await user.run([
        'cat',
        '--platform',
        'linux/amd64',
        ...options,
        image,
        '/etc/small',
      ]);
      expect([status, stdout.toString()]).toEqual([0, 'hello\n']);
      return stderr;
    };
    expect(await run('--allow-unverified')).toMatch(/by an index that nothing verifies/);
    expect(layerBytes(layer)).toBeLessThan(Number.POSITIVE_INFINITY);
    const row = await user.run([
      'layers',
      '--platform',
      'linux/amd64',
      '--allow-unverified',
      '--format',
      'jsonl',
      image,
    ]);
    expect(JSON.parse(row.stdout.toString())).toMatchObject({ verificationClass: 'D', isIndexed: true });
    expect(await run()).toBe('');
    expect(layerBytes(layer)).toBe(Number.POSITIVE_INFINITY);
    expect(await classOf(image)).toBe('A restart points');
  });
});
