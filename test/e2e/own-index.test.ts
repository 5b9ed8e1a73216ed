/**
 * Images whose layers bring their own index, as a user meets them: what is fetched, what is verified, what happens
 * where the index is bad. Bytes are counted at the server.
 */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { countingProxy } from '../../scripts/counting-proxy.mjs';
import { madeBytes } from '../blob/made-toc.ts';
import { type ChunkedLayer, chunkedLayer, type TocJson } from '../support/chunked-layer.ts';
import { sha256Digest } from '../support/digests.ts';
import { blobFile, member, writeLayout } from '../support/image-layout.ts';
import { imagesDir } from '../support/images.ts';
import { hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';
import { PeelUser } from '../support/run-peel.ts';
import { startScriptedServer } from '../support/scripted-server.ts';

const FORMATS = ['estargz', 'zstd-chunked'] as const;
const MEMBERS = [
  member('etc', { type: 'dir' }),
  member('etc/secret', { content: Buffer.from('right\n') }),
  member('etc/empty'),
  member('etc/big', { content: madeBytes(300_000, 3) }),
];

let user: PeelUser;
beforeEach(() => {
  user = new PeelUser();
});
afterEach(() => {
  user.close();
});

/** Standard output; fails where the command does. */
async function out(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await user.run(args);
  expect([status, stderr]).toEqual([0, '']);
  return stdout.toString('latin1');
}

interface LayerRow {
  readonly isIndexed: boolean;
  readonly lazyBy: string;
  readonly verificationClass: string;
}

async function layerRows(image: string, ...options: string[]): Promise<LayerRow[]> {
  const rows = (await out('layers', '--format', 'jsonl', ...options, image)).trim().split('\n');
  return rows.map((row) => {
    const { isIndexed, lazyBy, verificationClass } = JSON.parse(row) as LayerRow;
    return { isIndexed, lazyBy, verificationClass };
  });
}

function layoutOf(name: string, layer: ChunkedLayer): string {
  const folder = path.join(user.work, name);
  writeLayout(folder, { layers: [layer] });
  return `oci:${folder}`;
}

/** A layer of the same size with another secret: which one comes out as long depends on the compression. */
function lieLike(good: ChunkedLayer): ChunkedLayer {
  const format = good.mediaType.endsWith('zstd') ? 'zstd-chunked' : 'estargz';
  for (let attempt = 100; attempt < 1000; attempt += 1) {
    const members = MEMBERS.map((each) =>
      each.name === 'etc/secret' ? { ...each, content: Buffer.from(`wrong ${attempt}`) } : each,
    );
    const lie = chunkedLayer(members, { format });
    if (lie.blob.length === good.blob.length) return lie;
  }
  throw new Error('no lie is as long as the truth');
}

describe.each(FORMATS)('an image of %s layers', (format) => {
  test('is read by the index that it brings (class B), also by the next process', async () => {
    const image = layoutOf('image', chunkedLayer(MEMBERS, { format }));
    const lazyBy = format === 'estargz' ? 'chunks (eStargz)' : 'chunks (zstd:chunked)';
    expect(await layerRows(image)).toEqual([{ isIndexed: false, lazyBy, verificationClass: 'B' }]);
    for (let process = 0; process < 2; process += 1) {
      expect(await out('ls', '-A', image, '/etc')).toBe('big\nempty\nsecret\n');
      expect(await out('cat', image, '/etc/secret')).toBe('right\n');
      expect(await out('cat', image, '/etc/big')).toBe(madeBytes(300_000, 3).toString('latin1'));
    }
    expect(await layerRows(image)).toEqual([{ isIndexed: true, lazyBy, verificationClass: 'B' }]);
    const known = JSON.parse(await out('images', '--format', 'jsonl')) as {
      layers: object[];
      cachedBytes: number;
    };
    expect(known.layers).toMatchObject([{ isIndexed: true }]);
    expect(known.cachedBytes).toBeGreaterThan(300_000);
  });

  test('whose index is not the one that the manifest names is read as a whole, and says so', async () => {
    const good = chunkedLayer(MEMBERS, { format });
    const annotations = Object.fromEntries(
      Object.entries(good.annotations).map(([name, value]) => [
        name,
        value.replace(/^sha256:..../, 'sha256:0000'),
      ]),
    );
    const image = layoutOf('image', { ...good, annotations });
    const { status, stdout, stderr } = await user.run(['ls', '-A', image, '/etc']);
    expect([status, stdout.toString()]).toEqual([0, 'big\nempty\nsecret\n']);
    expect(stderr).toMatch(/index that it brings cannot be used: .* the manifest says sha256:0000/);
    expect(await out('cat', image, '/etc/secret')).toBe('right\n');
    expect((await layerRows(image))[0]?.verificationClass).toBe('A');
  });

  test('whose index lies is believed for this manifest, and for no other image with the same layer (P3)', async () => {
    const good = chunkedLayer(MEMBERS, { format });
    const lie = lieLike(good);
    // A registry of the liar's: it says that the blob is the good one, and gives another.
    const liar = path.join(user.work, 'liar');
    const [layer] = writeLayout(liar, { layers: [{ ...good, annotations: lie.annotations }] }).layers;
    writeFileSync(blobFile(liar, layer?.digest ?? ''), lie.blob);
    expect(await out('cat', `oci:${liar}`, '/etc/secret')).toMatch(/^wrong/);

    const honest = layoutOf('honest', good);
    expect(await out('cat', honest, '/etc/secret')).toBe('right\n');
    expect(await out('ls', '-A', honest, '/etc')).toBe('big\nempty\nsecret\n');
    // Also where the honest manifest says nothing of an index.
    const plain = layoutOf('plain', { ...good, annotations: {} });
    expect(await out('cat', plain, '/etc/secret')).toBe('right\n');
    expect((await layerRows(plain))[0]?.verificationClass).toBe('A');
  });

  test('hides what eStargz adds in the root alone (E125)', async () => {
    const members = [
      member('.prefetch.landmark', { content: Buffer.from([15]) }),
      member('etc/.prefetch.landmark', { content: Buffer.from([15]) }),
      member('etc/stargz.index.json', { content: Buffer.from('{}') }),
    ];
    const layer = chunkedLayer(members, { format });
    const stargz = { 'containerd.io/snapshot/stargz/toc.digest': sha256Digest(layer.json) };
    const image = layoutOf('image', { ...layer, annotations: { ...layer.annotations, ...stargz } });
    expect(await out('ls', '-A', image)).toBe('etc\n');
    expect(await out('ls', '-A', image, '/etc')).toBe('.prefetch.landmark\nstargz.index.json\n');
  });

  test('shows the same files with and without the index (E124)', async () => {
    const members = [member('.no.prefetch.landmark', { content: Buffer.from([15]) }), ...MEMBERS];
    const good = chunkedLayer(members, { format });
    const stargz = {
      ...good.annotations,
      'containerd.io/snapshot/stargz/toc.digest': `sha256:${'0'.repeat(64)}`,
    };
    const bad = layoutOf('bad', { ...good, annotations: stargz });
    const { stdout } = await user.run(['ls', '-RA', bad]);
    expect(stdout.toString()).toBe('/:\netc\n\n/etc:\nbig\nempty\nsecret\n');
    if (format === 'estargz') expect(await out('ls', '-RA', layoutOf('good', good))).toBe(stdout.toString());
  });

  test('is class A without the annotations, and class D only where the user says so (E122)', async () => {
    const image = layoutOf('image', { ...chunkedLayer(MEMBERS, { format }), annotations: {} });
    const { stderr, stdout } = await user.run(['cat', '--allow-unverified', image, '/etc/secret']);
    expect(stdout.toString()).toBe('right\n');
    expect(stderr).toMatch(/by an index that nothing verifies, as --allow-unverified says/);
    expect(await layerRows(image)).toMatchObject([{ isIndexed: false, verificationClass: 'A' }]);
    expect(await out('cat', image, '/etc/secret')).toBe('right\n');
    expect(await layerRows(image)).toMatchObject([{ isIndexed: true, verificationClass: 'A' }]);
  });

  test.each<[string, RegExp, (toc: TocJson) => unknown]>([
    [
      'another owner',
      /\/etc\/secret: its uid is not/,
      ({ entries }) => void Object.assign(entries[1] ?? {}, { uid: 7 }),
    ],
    [
      'a file less',
      /entry 1 is \/etc\/empty, the layer has \/etc\/secret/,
      ({ entries }) => void entries.splice(1, 1),
    ],
    [
      'another content',
      /\/etc\/secret: its content is not/,
      ({ entries }) => void Object.assign(entries[1] ?? {}, { chunkType: 'zeros' }),
    ],
  ])('E139: whose index disagrees with the tar (%s) is found out by verify', async (_, why, change) => {
    const image = layoutOf('image', chunkedLayer(MEMBERS, { format, change }));
    const { status, stdout } = await user.run(['index', 'verify', image]);
    expect([status, stdout.toString()]).toEqual([6, expect.stringMatching(why)]);
    expect(await out('cat', image, '/etc/secret')).toBe('right\n');
    expect((await layerRows(image))[0]?.verificationClass).toBe('A');
  });

  test('E139: whose index disagrees with its tar-split is read as a whole, and says so', async () => {
    if (format === 'estargz') return;
    const tarSplit = (lines: string[]): string[] => lines;
    const good = layoutOf('good', chunkedLayer(MEMBERS, { format, tarSplit }));
    expect(await out('cat', good, '/etc/secret')).toBe('right\n');
    expect((await layerRows(good))[0]?.verificationClass).toBe('B');
    const change = ({ entries }: TocJson): void => void Object.assign(entries[1] ?? {}, { mode: 0o4755 });
    const image = layoutOf('image', chunkedLayer(MEMBERS, { format, tarSplit, change }));
    const { status, stdout, stderr } = await user.run(['cat', image, '/etc/secret']);
    expect([status, stdout.toString()]).toEqual([0, 'right\n']);
    expect(stderr).toMatch(/cannot be used: the mode of its \/etc\/secret is not what its tar-split says/);
    expect((await layerRows(image))[0]?.verificationClass).toBe('A');
  });

  test('whose index is true is found to be so by verify', async () => {
    const image = layoutOf('image', chunkedLayer(MEMBERS, { format, chunksPerMember: 2 }));
    expect(await out('index', 'verify', image)).toMatch(/ B {6}same\n$/);
  });

  test('of class D is checked where that is asked for: class A, or exit status 6 and nothing left (B4)', async () => {
    const wait = ['--allow-unverified', '--check-unverified', 'wait'];
    const list = (image: string): ReturnType<typeof user.run> =>
      user.run(['ls', '-A', ...wait, image, '/etc']);
    const honest = layoutOf('honest', { ...chunkedLayer(MEMBERS, { format }), annotations: {} });
    expect(await list(honest)).toMatchObject({ status: 0, stdout: Buffer.from('big\nempty\nsecret\n') });
    expect(await layerRows(honest, '--allow-unverified')).toMatchObject([{ verificationClass: 'A' }]);
    const change = ({ entries }: TocJson): void => void entries.splice(1, 1);
    const forged = layoutOf('forged', { ...chunkedLayer(MEMBERS, { format, change }), annotations: {} });
    const told = await list(forged);
    expect(told.status).toBe(6);
    expect(told.stderr).toMatch(/entry 1 is \/etc\/empty.*do not trust what was shown/);
    expect(await out('ls', '-A', '--allow-unverified', forged, '/etc')).toBe('big\nempty\nsecret\n');
  });

  test('whose stored index was lost opens again, the tree still being there', async () => {
    const image = layoutOf('image', chunkedLayer(MEMBERS, { format }));
    expect(await out('ls', '-A', image, '/etc')).toBe('big\nempty\nsecret\n');
    const layers = path.join(user.cacheDir, 'v1', 'layers', 'sha256');
    for (const name of readdirSync(layers)) rmSync(path.join(layers, name), { recursive: true });
    expect(await out('cat', image, '/etc/secret')).toBe('right\n');
  });
});

test('E140: a registry that ignores ranges costs bytes, and nothing else', async () => {
  const layer = chunkedLayer(MEMBERS, { format: 'zstd-chunked' });
  const server = await startScriptedServer();
  try {
    const stored = server.addBlob('app', layer.blob);
    const config = {
      os: 'linux',
      architecture: 'amd64',
      rootfs: { type: 'layers', diff_ids: [sha256Digest(layer.tar)] },
    };
    const mediaType = 'application/vnd.oci.image.manifest.v1+json';
    const manifest = {
      schemaVersion: 2,
      mediaType,
      config: {
        ...server.addBlob('app', Buffer.from(JSON.stringify(config))),
        mediaType: 'application/vnd.oci.image.config.v1+json',
      },
      layers: [{ ...stored, mediaType: layer.mediaType, annotations: layer.annotations }],
    };
    server.addManifest('app', 'latest', Buffer.from(JSON.stringify(manifest)), mediaType);
    server.rule({ path: new RegExp(stored.digest), reply: { status: 200, body: layer.blob } });
    const image = `${server.address}/app`;
    expect(await out('cat', '--quiet', image, '/etc/secret')).toBe('right\n');
    expect(await layerRows(image)).toMatchObject([{ verificationClass: 'B' }]);
  } finally {
    await server.close();
  }
});

const folder = imagesDir();

describe.skipIf(!hasRegistry() || folder === undefined)('what the first look costs at a registry', () => {
  let registry: TestRegistry;
  let proxy: Awaited<ReturnType<typeof countingProxy>>;

  beforeAll(async () => {
    registry = await startRegistry();
    proxy = await countingProxy(registry.address);
  }, 60_000);
  afterAll(async () => {
    proxy.close();
    await registry.close();
  });

  test.each([
    ['estargz-dive-14layers-64k', 60_000],
    ['zstdchunked-skopeo-dive-14layers', 11_000],
  ])(
    '%s: one request for each layer, and no more than %d bytes of blobs; then the file alone',
    async (name, most) => {
      await registry.pushLayout(name, 'latest', `oci:${path.join(folder ?? '', 'layouts', 'derived', name)}`);
      const image = `${proxy.address}/${name}`;
      proxy.reset();
      expect((await out('ls', '-R', image)).split('\n').length).toBeGreaterThan(400);
      // 14 layers, and the configuration.
      expect(proxy.counts.blobRequests).toBe(15);
      expect(proxy.counts.blobBytes).toBeLessThan(most);
      proxy.reset();
      expect(await out('cat', image, '/etc/passwd')).toContain('root:');
      expect(proxy.counts.blobRequests).toBe(1);
      expect(proxy.counts.blobBytes).toBeLessThan(1000);
      proxy.reset();
      expect(await out('cat', '--offline', image, '/etc/passwd')).toContain('root:');
      expect(proxy.counts.requests).toBe(0);
    },
  );
});
