/**
 * Indexes that other people's tools wrote (ctr-remote, soci, skopeo) for one image, as a user meets them: each shows what
 * the plain image shows, and is what the layer says; TOCs of eStargz that lie in another image besides.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { sha256Digest } from '../support/digests.ts';
import { blobFile } from '../support/image-layout.ts';
import { extractWritten, serveWritten, writtenImage } from '../support/index-writers.ts';
import { PeelUser } from '../support/run-peel.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';

let user: PeelUser;
let folder: string;
let server: ScriptedServer;

beforeAll(async () => {
  server = await startScriptedServer();
});
beforeEach(() => {
  user = new PeelUser();
  folder = path.join(user.work, 'written');
  extractWritten(folder);
  serveWritten(folder, server);
  server.clearRequests();
});
afterEach(() => {
  server.clearRules();
  user.close();
});
afterAll(() => server.close());

/** Standard output; fails where the command does, or warns. */
async function out(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await user.run(args);
  expect([status, stderr]).toEqual([0, '']);
  return stdout.toString();
}

async function classOf(image: string, ...options: string[]): Promise<string> {
  const row = await out('layers', '--format', 'jsonl', ...options, image);
  const { verificationClass, lazyBy } = JSON.parse(row) as { verificationClass: string; lazyBy: string };
  return `${verificationClass} ${lazyBy}`;
}

/** Every entry with all that `ls` says of it; times to the second, as eStargz has them. */
async function entriesOf(image: string, ...options: string[]): Promise<unknown[]> {
  const rows = (await out('ls', '-RA', '--format', 'jsonl', ...options, image)).trim().split('\n');
  return rows.map((row) => {
    const { mtime, ...rest } = JSON.parse(row) as { mtime: string };
    return { ...rest, mtime: Math.round(Date.parse(mtime) / 1000) };
  });
}

describe.each([
  ['estargz', 'E117', 'chunks (eStargz)'],
  ['small', 'E128', 'chunks (eStargz)'],
  ['external', 'E119', 'chunks (eStargz)'],
  ['same', 'E119, E128', 'chunks (eStargz)'],
  ['chunked-stargz', 'E136, E137', 'chunks (zstd:chunked)'],
  ['chunked-skopeo', 'E136, E139', 'chunks (zstd:chunked)'],
])('the index in %s (%s)', (name, _, lazyBy) => {
  test('is used (class B), shows the image, and is what the layer says', async () => {
    const image = `oci:${folder}:${name}`;
    expect(await entriesOf(image)).toEqual(await entriesOf(`oci:${folder}:orig`));
    expect(await classOf(image)).toBe(`B ${lazyBy}`);
    expect(await out('cat', image, '/etc/hard')).toBe('hello\n');
    expect(await out('cat', image, '/etc/lines')).toHaveLength(572_000);
    expect(await out('index', 'verify', image)).toMatch(/ B {6}same\n$/);
  });
});

describe('an eStargz layer whose TOC lies in another image', () => {
  const warning = /: the image that has the TOCs of its layers cannot be used: /;

  test('is asked for there once, and never again; of the layer its end and the file are fetched', async () => {
    const image = `${server.address}/app:external`;
    const layerRanges = (): (string | undefined)[] =>
      server.requests
        .filter(({ path: each }) => each.endsWith(layerOf('external')))
        .map(({ headers }) => headers['range']);
    const asked = (): string[] =>
      server.requests.map(({ path: each }) => each).filter((each) => each.endsWith('-esgztoc'));
    expect(await out('cat', image, '/etc/hello')).toBe('hello\n');
    expect(asked()).toEqual(['/v2/app/manifests/external-esgztoc']);
    expect(layerRanges()).toEqual([expect.stringMatching(/^bytes=/), expect.stringMatching(/^bytes=/)]);
    server.clearRequests();
    expect(await out('cat', '--offline', image, '/etc/hello')).toBe('hello\n');
    expect(await out('ls', '-A', image, '/dev')).toBe('null\npipe\n');
    expect(asked()).toEqual([]);
  });

  test('E119: is read as a whole where there is no such image, and says so', async () => {
    server.rule({ path: /-esgztoc$/, reply: { status: 404 } });
    const image = `${server.address}/app:external`;
    const { status, stdout, stderr } = await user.run(['cat', image, '/etc/hello']);
    expect([status, stdout.toString()]).toEqual([0, 'hello\n']);
    expect(stderr.match(/warning/g)).toHaveLength(1);
    expect(stderr).toMatch(warning);
    expect(await classOf(image)).toBe('A restart points');
  });

  test('is read as a whole where the image was named by digest alone', async () => {
    const { digest } = writtenImage(folder, 'external').listed;
    const { status, stderr } = await user.run(['ls', `${server.address}/app@${digest}`]);
    expect(status).toBe(0);
    expect(stderr).toMatch(/was not named by a tag/);
  });

  test.each<[string, (toc: string) => Buffer, RegExp]>([
    ['is no manifest', () => Buffer.from('[]'), warning],
    ['lists nothing', () => manifestOf([]), /says which layers its TOCs are of/],
    [
      'has TOCs of other layers',
      (toc) => manifestOf([[toc, sha256Digest('another')]]),
      /lies in another image, which does not have it/,
    ],
    [
      'has another TOC for the layer',
      () => manifestOf([[sha256Digest(tocOf('same')), layerOf('external')]]),
      /its TOC has the digest sha256:\w+, the manifest says/,
    ],
    [
      'has no TOC but text',
      () => manifestOf([[sha256Digest(Buffer.from('text')), layerOf('external'), 4]]),
      /does not decompress/,
    ],
    [
      'has a TOC that is too large',
      (toc) => manifestOf([[toc, layerOf('external'), 2 ** 40]]),
      /at most 67108864 are read/,
    ],
    [
      'has a TOC that is not there',
      () => manifestOf([[sha256Digest('gone'), layerOf('external'), 7]]),
      /cannot be used/,
    ],
  ])('is read as a whole where that image %s', async (_, forge, why) => {
    server.addBlob('app', Buffer.from('text'));
    const forged = forge(sha256Digest(tocOf('external')));
    server.addManifest('app', 'external-esgztoc', forged, MANIFEST);
    const image = `${server.address}/app:external`;
    const { status, stdout, stderr } = await user.run(['cat', image, '/etc/hello']);
    expect([status, stdout.toString()]).toEqual([0, 'hello\n']);
    expect(stderr.match(/warning/g)).toHaveLength(1);
    expect(stderr).toMatch(why);
    expect(await classOf(image)).toBe('A restart points');
  });

  test('E122: that no manifest names is class D, only where the user says so', async () => {
    const { manifest } = writtenImage(folder, 'external');
    const layers = manifest.layers.map((layer) => ({ ...layer, annotations: {} }));
    const unnamed = Buffer.from(JSON.stringify({ ...manifest, layers }));
    server.addManifest('app', 'unnamed', unnamed, MANIFEST);
    const toc = writtenImage(folder, 'external-esgztoc').manifest;
    server.addManifest('app', 'unnamed-esgztoc', Buffer.from(JSON.stringify(toc)), MANIFEST);
    const image = `${server.address}/app:unnamed`;
    const { status, stderr } = await user.run(['ls', '--allow-unverified', image]);
    expect([status, stderr]).toEqual([0, expect.stringMatching(/by an index that nothing verifies/)]);
    server.clearRequests();
    expect(await out('cat', image, '/etc/hello')).toBe('hello\n');
    expect(server.requests.some(({ path: asked }) => asked.endsWith('-esgztoc'))).toBe(false);
    expect(await classOf(image)).toBe('A restart points');
  });

  const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
  const layerOf = (name: string): string => writtenImage(folder, name).manifest.layers[0]?.digest ?? '';
  const tocOf = (name: string): Buffer => {
    const [toc] = writtenImage(folder, `${name}-esgztoc`).manifest.layers;
    return readBlob(toc?.digest ?? '');
  };
  /** TOC, layer, size. */
  function manifestOf(tocs: readonly (readonly [string, string, number?])[]): Buffer {
    const { manifest } = writtenImage(folder, 'external-esgztoc');
    const layers = tocs.map(([digest, layer, size]) => ({
      ...manifest.layers[0],
      digest,
      size: size ?? readBlob(digest).length,
      annotations: { 'containerd.io/snapshot/stargz/layer.digest': layer },
    }));
    return Buffer.from(JSON.stringify({ ...manifest, layers }));
  }
  const readBlob = (digest: string): Buffer => readFileSync(blobFile(folder, digest));
});

describe('the ztoc that soci wrote', () => {
  test('is used (class D where nothing names it), shows the image, and is what the layer says (E141)', async () => {
    const image = `${server.address}/app:orig`;
    const options = ['--allow-unverified', '--quiet'];
    const [layer] = writtenImage(folder, 'orig').manifest.layers;
    const byZtoc = await entriesOf(image, ...options);
    expect(server.requests.some(({ path: asked }) => asked.endsWith(layer?.digest ?? ''))).toBe(false);
    expect(await classOf(image, ...options)).toBe('D restart points (SOCI)');
    expect(await out('cat', ...options, image, '/etc/hello')).toBe('hello\n');
    expect(await out('index', 'verify', ...options, image)).toMatch(/ D {6}same\n$/);
    // Class A from here on.
    expect(byZtoc).toEqual(await entriesOf(`oci:${folder}:orig`));
  });

  test('is class C where the manifest names its index, as version 2 has it', async () => {
    const { listed, manifest } = writtenImage(folder, 'orig');
    const soci = writtenImage(folder, 'soci').listed;
    const annotations = { 'com.amazon.soci.index-digest': soci.digest };
    const naming = Buffer.from(JSON.stringify({ schemaVersion: 2, ...manifest, annotations }));
    server.addManifest('app', 'naming', naming, listed.mediaType);
    const platform = { os: 'linux', architecture: 'amd64' };
    const manifests = [
      { ...listed, digest: sha256Digest(naming), size: naming.length, annotations: {}, platform },
      { ...soci, artifactType: soci.artifactType?.replace('v1', 'v2'), annotations: {}, platform },
    ];
    const type = 'application/vnd.oci.image.index.v1+json';
    server.addManifest('app', 'v2', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })), type);
    const image = `${server.address}/app:v2`;
    const amd64 = ['--platform', 'linux/amd64'];
    server.clearRequests();
    const byZtoc = await entriesOf(image, ...amd64);
    const [layer] = manifest.layers;
    expect(server.requests.some(({ path: asked }) => asked.endsWith(layer?.digest ?? ''))).toBe(false);
    expect(await classOf(image, ...amd64)).toBe('C restart points (SOCI)');
    expect(await out('cat', ...amd64, image, '/etc/lines')).toHaveLength(572_000);
    expect(await out('index', 'verify', ...amd64, image)).toMatch(/ C {6}same\n$/);
    // Class A from here on.
    expect(byZtoc).toEqual(await entriesOf(`oci:${folder}:orig`));
  });
});
