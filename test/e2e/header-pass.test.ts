/** Layers that are no more than a tar, by their headers alone (class D): what that costs, and what becomes of it. */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { countingProxy } from '../../scripts/counting-proxy.mjs';
import { madeBytes } from '../blob/made-toc.ts';
import { blobFile, member, writeLayout } from '../support/image-layout.ts';
import { rawHeader } from '../support/raw-tar.ts';
import { hasRegistry, startRegistry } from '../support/registry.ts';
import { PeelUser } from '../support/run-peel.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { serveImage } from '../support/served-image.ts';
import { type Member, writeTar } from '../support/tar-bytes.ts';

const MIB = 1024 * 1024;
const BLOBS = /\/blobs\//;
const LAZY = '--allow-unverified';
const content = Buffer.from(madeBytes(3 * MIB, 5));
const MEMBERS: readonly Member[] = [
  member('etc', { type: 'dir' }),
  member('etc/big', { content }),
  member('etc/small', { content: Buffer.from('hello\n') }),
  member('etc/large', { content: Buffer.alloc(4 * MIB, 'x') }),
  member('etc/last', { content: Buffer.from('bye\n') }),
];
const tar = writeTar(MEMBERS).bytes;

let user: PeelUser;
let server: ScriptedServer;
let image: string;
let layer: string;
beforeEach(async () => {
  user = new PeelUser();
  server = await startScriptedServer();
  image = `${server.address}/app`;
  layer = serveImage(server, 'app', [tar])[0]?.digest ?? '';
});
afterEach(async () => {
  await server.close();
  user.close();
});

interface Run {
  readonly status: number | undefined;
  readonly text: string;
  readonly stderr: string;
  /** Bytes of bodies. */
  readonly bytes: number;
}

async function peel(...args: string[]): Promise<Run> {
  const before = server.bodyBytes;
  const { status, stdout, stderr } = await user.run(args);
  return { status, text: stdout.toString('latin1'), stderr, bytes: server.bodyBytes - before };
}

const classOf = async (...options: string[]): Promise<unknown> => {
  const { text } = await peel('layers', '--format', 'jsonl', ...options, image);
  const { verificationClass, lazyBy, isIndexed } = JSON.parse(text) as Record<string, unknown>;
  return { verificationClass, lazyBy, isIndexed };
};
const UNVERIFIED = { verificationClass: 'D', lazyBy: 'ranges (headers alone)' };
const PROVED = { verificationClass: 'A', lazyBy: 'ranges', isIndexed: true };

/** A registry in whose layer the first header says another size, behind which another member waits. */
function forge(): Buffer {
  const forged = Buffer.from(tar);
  const inner = writeTar([member('evil', { content: Buffer.from('x') })]).bytes;
  forged.set(rawHeader({ name: 'etc/big', size: 1024 }), 512);
  forged.set(inner.subarray(0, 1024), 512 + 512 + 1024);
  forged.set(rawHeader({ name: 'etc/rest', size: 3 * MIB - 2048 - 512 }), 512 + 512 + 1024 + 1024);
  return forged;
}

/** Each layer blob is what `bytes` has, by range. */
function serve(bytes: Buffer): void {
  server.rule({
    path: new RegExp(`/blobs/${layer}`),
    reply: ({ headers }) => {
      const [, from = '0', to = String(bytes.length - 1)] =
        /bytes=(\d+)-(\d+)/.exec(headers['range'] ?? '') ?? [];
      const body = bytes.subarray(Number(from), Number(to) + 1);
      return headers['range'] === undefined
        ? { body: bytes }
        : { status: 206, headers: { 'content-range': `bytes ${from}-${to}/${bytes.length}` }, body };
    },
  });
}

describe('a plain tar layer with --allow-unverified', () => {
  test('is listed by its headers alone, then read by ranges, and shown as class D', async () => {
    expect(await classOf(LAZY)).toEqual({ ...UNVERIFIED, isIndexed: false });
    const listed = await peel('ls', LAZY, image, '/etc');
    expect([listed.status, listed.text]).toEqual([0, 'big\nlarge\nlast\nsmall\n']);
    expect(listed.stderr).toContain('nothing verifies');
    expect(listed.bytes).toBeLessThan(tar.length / 20);
    expect(await classOf(LAZY)).toEqual({ ...UNVERIFIED, isIndexed: true });
    const again = await peel('ls', LAZY, image, '/etc');
    expect([again.text, again.bytes < 10_000]).toEqual([listed.text, true]);
    expect(again.stderr).toContain('nothing verifies');
    const read = await peel('cat', LAZY, image, '/etc/last');
    expect([read.status, read.text]).toEqual([0, 'bye\n']);
    expect(read.bytes).toBeLessThan(MIB);
    expect((await peel('cat', LAZY, '-q', image, '/etc/big')).text).toBe(content.toString('latin1'));
    expect((await peel('cat', LAZY, '-q', '--offline', image, '/etc/last')).text).toBe('bye\n');
  });

  test('is read as a whole without that option, whatever is in the cache', async () => {
    await peel('ls', LAZY, image, '/etc');
    await peel('cat', LAZY, image, '/etc/last');
    const read = await peel('cat', image, '/etc/last');
    expect([read.status, read.text, read.stderr, read.bytes > tar.length]).toEqual([0, 'bye\n', '', true]);
    expect(await classOf()).toEqual(PROVED);
    expect(await classOf(LAZY)).toEqual(PROVED);
  });

  test('is checked afterwards where that is asked for, and is class A then', async () => {
    const listed = await peel('ls', LAZY, '--check-unverified', 'wait', image, '/etc');
    expect([listed.status, listed.text]).toEqual([0, 'big\nlarge\nlast\nsmall\n']);
    expect(listed.bytes).toBeGreaterThan(tar.length);
    expect(await classOf(LAZY)).toEqual(PROVED);
    const verified = await peel('index', 'verify', LAZY, image);
    expect([verified.status, /\bA +same/.test(verified.text), /\bD +same/.test(verified.text)]).toEqual([
      0,
      true,
      true,
    ]);
  });

  test('with a forged header chain is shown until the check, which exits with 6 and leaves nothing (B4)', async () => {
    serve(forge());
    const listed = await peel('ls', LAZY, image);
    expect([listed.status, listed.text]).toEqual([0, 'etc\nevil\n']);
    const checked = await peel('ls', LAZY, '--check-unverified', 'wait', image);
    expect([checked.status, checked.text]).toEqual([6, 'etc\nevil\n']);
    expect(checked.stderr).toContain('do not trust what was shown');
    server.clearRules();
    expect((await peel('ls', LAZY, image)).text).toBe('etc\n');
    expect((await peel('ls', image)).text).toBe('etc\n');
  });

  test('of one folder is not what a folder of the same name says of it elsewhere (B4)', async () => {
    const blob = { blob: tar, tar, mediaType: 'application/vnd.oci.image.layer.v1.tar', annotations: {} };
    const listed: string[] = [];
    for (const place of ['there', 'here']) {
      const folder = path.join(user.work, place);
      const written = writeLayout(path.join(folder, 'app'), { layers: [blob] });
      const stored = blobFile(path.join(folder, 'app'), written.layers[0]?.digest ?? '');
      if (place === 'there') writeFileSync(stored, forge());
      const wrapper = ['env', '-C', folder];
      const { stdout } = await user.run(['ls', LAZY, '-q', 'oci:app'], { wrapper });
      listed.push(stdout.toString());
    }
    expect(listed).toEqual(['etc\nevil\n', 'etc\n']);
  });

  test('of which a body was another one when it was read is told by the check (B4, F14)', async () => {
    const forged = Buffer.from(tar);
    forged.write('BYE', tar.lastIndexOf('bye\n'));
    serve(forged);
    expect((await peel('cat', LAZY, image, '/etc/last')).text).toBe('BYE\n');
    server.clearRules();
    // The bytes are those of the layer now: only what was learned says otherwise.
    const checked = await peel('stat', LAZY, '--check-unverified', 'wait', image, '/etc/last');
    expect(checked.status).toBe(6);
    expect(checked.stderr).toContain('other bytes');
    expect((await peel('cat', LAZY, '-q', image, '/etc/last')).text).toBe('bye\n');
    expect(await classOf(LAZY)).toEqual(PROVED);
  });

  test('whose bytes change between two reads is not read on (F14, F16)', async () => {
    expect((await peel('cat', LAZY, image, '/etc/last')).text).toBe('bye\n');
    const forged = Buffer.from(tar);
    forged.write('BYE', tar.lastIndexOf('bye\n'));
    serve(forged);
    const folder = path.join(user.cacheDir, 'v1/layers/sha256');
    const [key = ''] = readdirSync(folder);
    for (const name of ['spans', 'spans.map']) rmSync(path.join(folder, key, name));
    const read = await peel('cat', LAZY, image, '/etc/last');
    expect([read.status, read.text]).toEqual([6, '']);
    expect(read.stderr).toContain('that it gave before');
  });

  test('is read as a whole, and said so, where the registry knows no ranges (F12)', async () => {
    server.rule({ path: BLOBS, reply: (request) => server.content({ ...request, headers: {} }) });
    const listed = await peel('ls', LAZY, image, '/etc');
    expect([listed.status, listed.text]).toEqual([0, 'big\nlarge\nlast\nsmall\n']);
    expect(listed.stderr).toContain('cannot be read by its headers alone');
    server.clearRules();
    expect(await classOf(LAZY)).toEqual(PROVED);
  });

  test('that is no plain tar, or a broken one, is what the pass says of it (E116)', async () => {
    const broken = Buffer.from(tar);
    broken.fill(0x7f, 512, 1024);
    const [served] = serveImage(server, 'broken', [broken]);
    expect(served?.size).toBe(tar.length);
    const listed = await peel('ls', LAZY, `${server.address}/broken`);
    expect([listed.status, listed.stderr.includes('wrong checksum')]).toEqual([1, true]);
  });
});

test.skipIf(!hasRegistry())(
  'two hundred large files of a real registry cost a request each, and hardly a byte of them',
  { timeout: 60_000 },
  async () => {
    const registry = await startRegistry();
    const proxy = await countingProxy(registry.address);
    try {
      const size = 1.2 * MIB;
      const files = Array.from({ length: 200 }, (_, at) =>
        member(`f${at}`, { content: Buffer.alloc(size, at) }),
      );
      await registry.pushImage('large', 'latest', [writeTar(files).bytes]);
      const name = `${proxy.address}/large`;
      const listed = await user.run(['ls', LAZY, name]);
      expect([listed.status, listed.stdout.toString().split('\n').length]).toEqual([0, 201]);
      const { blobRequests, blobBytes } = proxy.counts;
      // The configuration, and each header; of 240 MiB.
      expect(blobRequests).toBeLessThanOrEqual(202);
      expect(blobBytes).toBeLessThanOrEqual(201 * 64 * 1024);
      proxy.reset();
      const read = await user.run(['cat', LAZY, name, '/f199']);
      expect(read.stdout.equals(Buffer.alloc(size, 199))).toBe(true);
      expect(proxy.counts.blobBytes).toBeLessThanOrEqual(size + MIB);
    } finally {
      proxy.close();
      await registry.close();
    }
  },
);
