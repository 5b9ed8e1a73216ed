/** Our own index travels: made on one machine, used on another that never read the layer; and forged ones. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { brotliCompressSync, brotliDecompressSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { decodeToc } from '../../src/layer/decode-toc.ts';
import { encodeToc } from '../../src/layer/encode-toc.ts';
import type { SealedToc } from '../../src/layer/toc-format.ts';
import { madeBytes } from '../blob/made-toc.ts';
import { sha256Digest } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { PeelUser } from '../support/run-peel.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { serveImage } from '../support/served-image.ts';
import { writeTar } from '../support/tar-bytes.ts';

const INDEX = 'application/vnd.oci.image.index.v1+json';
const big = Buffer.from(madeBytes(4_000_000, 9).toString('hex'));
const MEMBERS = [
  member('etc', { type: 'dir' }),
  member('etc/small', { content: Buffer.from('hello\n') }),
  member('etc/big', { content: big }),
  member('etc/last', { content: Buffer.from('bye\n') }),
];

let maker: PeelUser;
let user: PeelUser;
let server: ScriptedServer;
let layer: { readonly digest: string; readonly size: number };
let image: string;
beforeEach(async () => {
  maker = new PeelUser();
  user = new PeelUser();
  server = await startScriptedServer();
  const [served] = serveImage(server, 'app', [gzipSync(Buffer.from(writeTar(MEMBERS).bytes))]);
  if (served === undefined) throw new Error('no layer');
  layer = served;
  image = `${server.address}/app`;
});
afterEach(async () => {
  await server.close();
  maker.close();
  user.close();
});

interface Run {
  readonly status: number | undefined;
  readonly text: string;
  readonly stderr: string;
  /** What was asked for, without the repository; ranges as they were sent. */
  readonly asked: readonly string[];
}

async function peel(as: PeelUser, ...args: string[]): Promise<Run> {
  const before = server.requests.length;
  const { status, stdout, stderr } = await as.run(args);
  const asked = server.requests
    .slice(before)
    .filter((request) => request.path !== '/v2/')
    .map(({ path: sent, headers }) => `${sent.replace('/v2/app/', '')} ${headers['range'] ?? ''}`.trim());
  return { status, text: stdout.toString('latin1'), stderr, asked };
}

async function out(as: PeelUser, ...args: string[]): Promise<string> {
  const { status, text, stderr } = await peel(as, ...args);
  expect([status, stderr]).toEqual([0, '']);
  return text;
}

interface Exported {
  readonly pin: string;
  readonly file: string;
  readonly blobs: readonly Buffer[];
}

async function exported(): Promise<Exported> {
  const file = path.join(maker.work, 'index.tar');
  const pin = (await out(maker, 'index', 'export', image, file)).trim();
  const folder = path.join(maker.work, 'layout');
  mkdirSync(folder);
  execFileSync('tar', ['-xf', file, '-C', folder]);
  const blobs = path.join(folder, 'blobs/sha256');
  return { pin, file, blobs: readdirSync(blobs).map((name) => readFileSync(path.join(blobs, name))) };
}

/** As the registry has it once it was pushed there. */
function serve({ blobs, pin }: Pick<Exported, 'pin' | 'blobs'>): void {
  for (const bytes of blobs) {
    if (sha256Digest(bytes) === pin) server.addManifest('app', 'index', bytes, INDEX);
    else server.addBlob('app', bytes);
  }
}

/** The list and what it lists, with the TOC changed, or the windows; it names itself by digest as any other. */
function forged({ blobs, pin }: Exported, change: (sealed: SealedToc) => SealedToc): Exported {
  const list = blobs.find((bytes) => sha256Digest(bytes) === pin)?.toString() ?? '';
  const { manifests, ...rest } = JSON.parse(list) as { manifests: { data: string }[] };
  const [first] = manifests;
  if (first === undefined) throw new Error('an empty list');
  const { data, ...named } = first;
  const artifact = JSON.parse(Buffer.from(data, 'base64').toString()) as {
    layers: { digest: string; size: number }[];
  };
  const packed = blobs.find((bytes) => sha256Digest(bytes) === artifact.layers[0]?.digest);
  if (packed === undefined) throw new Error('no TOC');
  const toc = brotliCompressSync(encodeToc(change(decodeToc(brotliDecompressSync(packed)))));
  Object.assign(artifact.layers[0] ?? {}, { digest: sha256Digest(toc), size: toc.length });
  const manifest = Buffer.from(JSON.stringify(artifact));
  const descriptor = { ...named, digest: sha256Digest(manifest), size: manifest.length };
  const forgedList = Buffer.from(
    JSON.stringify({ ...rest, manifests: [{ ...descriptor, data: manifest.toString('base64') }] }),
  );
  return { pin: sha256Digest(forgedList), file: '', blobs: [...blobs, toc, forgedList] };
}

describe('an index of peel on another machine', () => {
  test('lists the image without its layer, then reads a file by the windows and one span', async () => {
    const made = await exported();
    serve(made);
    const pinned = ['--index-digest', made.pin, image];
    const listed = await peel(user, 'ls', '-A', ...pinned, '/etc');
    expect([listed.status, listed.text, listed.stderr]).toEqual([0, 'big\nlast\nsmall\n', '']);
    // Manifest, config, list, TOC.
    expect(listed.asked.length).toBe(4);
    expect(listed.asked.filter((each) => each.includes(layer.digest))).toEqual([]);
    expect(JSON.parse(await out(user, 'layers', '--format', 'jsonl', ...pinned))).toMatchObject({
      verificationClass: 'C',
      lazyBy: 'restart points (index of peel)',
      isIndexed: true,
    });
    const read = await peel(user, 'cat', ...pinned, '/etc/last');
    expect([read.status, read.text]).toEqual([0, 'bye\n']);
    // The tag, the windows, a part of the layer.
    expect(read.asked.length).toBe(3);
    const [, start = '', end = ''] =
      /bytes=(\d+)-(\d+)$/.exec(read.asked.find((each) => each.includes(layer.digest)) ?? '') ?? [];
    expect(Number(end) - Number(start)).toBeLessThan(layer.size / 5);
    expect(await out(user, 'cat', '--offline', ...pinned, '/etc/last')).toBe('bye\n');
    expect(await out(user, 'cat', ...pinned, '/etc/big')).toBe(big.toString('latin1'));
  });

  test('comes in a file, too, and needs nothing but the span then', async () => {
    const { pin, file } = await exported();
    expect((await out(user, 'index', 'import', file)).trim()).toBe(pin);
    const read = await peel(user, 'cat', '--index-digest', pin, image, '/etc/last');
    expect([read.status, read.text]).toEqual([0, 'bye\n']);
    expect(read.asked.filter((each) => each.startsWith('blobs/')).length).toBe(2);
  });

  test('can be imported from a registry by the digest of the list', async () => {
    const made = await exported();
    serve(made);
    expect((await out(user, 'index', 'import', `docker://${image}@${made.pin}`)).trim()).toBe(made.pin);
    expect(await out(user, 'cat', '--index-digest', made.pin, image, '/etc/small')).toBe('hello\n');
  });

  test('is not used unless it is named, and a layer that was proved is read by that (P4)', async () => {
    const { pin, file } = await exported();
    await out(user, 'index', 'import', file);
    expect(JSON.parse(await out(user, 'layers', '--format', 'jsonl', image))).toMatchObject({
      verificationClass: 'A',
      isIndexed: false,
    });
    const asked = await peel(user, 'ls', image, '/etc');
    expect(asked.asked.some((each) => each.includes(layer.digest))).toBe(true);
    expect(
      JSON.parse(await out(user, 'layers', '--format', 'jsonl', '--index-digest', pin, image)),
    ).toMatchObject({
      verificationClass: 'A',
    });
  });

  test('that is verified is compared with the layer, which is class A after it', async () => {
    const { pin, file } = await exported();
    await out(user, 'index', 'import', file);
    expect(await out(user, 'index', 'verify', '--index-digest', pin, image)).toMatch(/ C {6}same\n$/);
    expect(JSON.parse(await out(user, 'layers', '--format', 'jsonl', image))).toMatchObject({
      verificationClass: 'A',
      isIndexed: true,
    });
  });

  test('that is not there, or is no list, is warned of, and the layer is read as a whole', async () => {
    for (const pin of [sha256Digest('nothing'), sha256Digest('{}')]) {
      server.addManifest('app', 'odd', Buffer.from('{}'), INDEX);
      const run = await peel(user, 'cat', '--index-digest', pin, image, '/etc/small');
      expect([run.status, run.text]).toEqual([0, 'hello\n']);
      expect(run.stderr).toMatch(/^peel: warning: .*: the index of --index-digest cannot be used: .*\n$/);
    }
  });
});

describe('a forged index', () => {
  const renamed = (sealed: SealedToc): SealedToc => ({
    ...sealed,
    toc: {
      ...sealed.toc,
      entries: sealed.toc.entries.map((entry) =>
        entry.path === 'etc/small' ? { ...entry, mode: 0o4777 } : entry,
      ),
    },
  });

  test('is found out by verify, with what differs and exit status 6', async () => {
    const made = forged(await exported(), renamed);
    serve(made);
    const run = await peel(user, 'index', 'verify', '--index-digest', made.pin, image);
    expect(run.status).toBe(6);
    expect(run.stderr).toMatch(/1 of the indexes are not what the layers say/);
    expect(run.text).toMatch(/ C {6}DIFFERS: entry 1, \/etc\/small: its mode is not what the layer says\n$/);
    expect((await peel(user, 'stat', image, '/etc/small')).text).toMatch(/0644/);
  });

  test('cannot be in the way of readers who did not name it (P3)', async () => {
    const made = forged(await exported(), renamed);
    serve(made);
    expect(await out(user, 'stat', '--index-digest', made.pin, image, '/etc/small')).toMatch(/4777/);
    expect(await out(user, 'stat', image, '/etc/small')).toMatch(/0644/);
    expect(await out(user, 'cat', image, '/etc/small')).toBe('hello\n');
  });

  test('with another sum of a span shows nothing of it', async () => {
    const made = forged(await exported(), (sealed) => {
      const spans = sealed.toc.spans.map((span) => ({ ...span, sha256: Buffer.alloc(32, 7) }));
      return { ...sealed, toc: { ...sealed.toc, spans } };
    });
    serve(made);
    const run = await peel(user, 'cat', '--index-digest', made.pin, image, '/etc/last');
    expect([run.status, run.text]).toEqual([6, '']);
  });

  test('whose windows are others than the TOC names shows nothing (X2)', async () => {
    const made = forged(await exported(), (sealed) => ({ ...sealed, windowsDigest: Buffer.alloc(32, 7) }));
    serve(made);
    const run = await peel(user, 'cat', '--index-digest', made.pin, image, '/etc/last');
    expect([run.status, run.text]).toEqual([6, '']);
    expect(run.stderr).toMatch(/the windows of its index are not the ones that the index names/);
  });
});
