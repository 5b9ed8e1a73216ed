/**
 * What a read costs, counted at the server: a proxy in front of a real registry, not peel's own counters.
 */
import { randomFillSync } from 'node:crypto';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { countingProxy } from '../../scripts/counting-proxy.mjs';
import { ownCompressedStart, spanAt } from '../../src/blob/plan.ts';
import { TocStore } from '../../src/layer/toc-store.ts';
import type { Digest } from '../../src/units.ts';
import { member, writeLayout } from '../support/image-layout.ts';
import { hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';
import { PeelUser } from '../support/run-peel.ts';

const SIZE = 100 * 1024 * 1024;

/** 100 MiB that gzip halves, and in which no two places are alike: hex digits of random bytes. */
function hexDigits(): Buffer {
  const half = randomFillSync(Buffer.alloc(SIZE / 2));
  return Buffer.from(half.toString('hex'), 'latin1');
}

describe.skipIf(!hasRegistry())('bytes fetched from the registry', () => {
  const user = new PeelUser();
  const content = hexDigits();
  let registry: TestRegistry;
  let proxy: Awaited<ReturnType<typeof countingProxy>>;
  let image: string;
  let layer: { digest: Digest; size: number };

  beforeAll(async () => {
    const layout = path.join(user.work, 'layout');
    const written = writeLayout(layout, {
      layers: [[member('etc', { type: 'dir' }), member('etc/big', { content })]],
    });
    const [descriptor] = written.layers;
    layer = { digest: descriptor?.digest as Digest, size: descriptor?.size ?? 0 };
    registry = await startRegistry();
    await registry.pushLayout('big', 'latest', `oci:${layout}`);
    rmSync(layout, { recursive: true });
    proxy = await countingProxy(registry.address);
    image = `${proxy.address}/big`;
  }, 120_000);

  afterAll(async () => {
    proxy.close();
    await registry.close();
    user.close();
  });

  test('the first look reads the layer once', async () => {
    const { status, stdout } = await user.run(['ls', image, '/etc'], { deadlineMs: 60_000 });
    expect([status, stdout.toString()]).toEqual([0, 'big\n']);
    expect(proxy.counts.blobBytes).toBeGreaterThanOrEqual(layer.size);
    expect(proxy.counts.blobBytes).toBeLessThan(layer.size + 10_000);
  }, 90_000);

  test('a second look fetches no blob at all', async () => {
    proxy.reset();
    expect((await user.run(['ls', image, '/etc'])).status).toBe(0);
    expect(proxy.counts).toMatchObject({ requests: 1, blobBytes: 0 });
  });

  test('one byte deep inside costs at most the compressed bytes of its one span', async () => {
    const stored = await new TocStore((digest) => layerFolder(user, digest)).load(layer.digest);
    if (stored === undefined) throw new Error('the layer has no TOC in the cache');
    const { toc } = stored;
    const entry = toc.entries.find(({ path: name }) => name === 'etc/big');
    if (entry === undefined) throw new Error('the TOC lacks the file');
    await stored.close();

    for (const offset of [77_777_777, 0, SIZE - 1]) {
      proxy.reset();
      const { status, stdout } = await user.run(['cat', '--range', `${offset}-${offset}`, image, '/etc/big']);
      expect([status, stdout.toString()]).toEqual([0, content.toString('latin1', offset, offset + 1)]);
      const index = spanAt(toc.spans, entry.dataOffset + offset);
      const spanBytes = (toc.spans[index]?.compressedEnd ?? 0) - ownCompressedStart(toc, index);
      expect(proxy.counts.blobRequests).toBe(1);
      expect(proxy.counts.blobBytes).toBeLessThanOrEqual(spanBytes);
      // Hex digits: gzip cannot go below half of the span's 256 KiB and the block that it ends with.
      expect(spanBytes).toBeLessThan(300_000);
    }
  });

  test('the byte is in the cache from then on, also for the next process', async () => {
    proxy.reset();
    const { stdout } = await user.run(['cat', '--range', '77777777-77777780', image, '/etc/big']);
    expect(stdout.toString()).toBe(content.toString('latin1', 77_777_777, 77_777_781));
    expect(proxy.counts.blobBytes).toBe(0);
  });

  test('when the content is dropped, the index stays: the byte is fetched again, the layer is not', async () => {
    expect((await user.run(['cache', 'prune', '--content'])).status).toBe(0);
    proxy.reset();
    expect((await user.run(['ls', image, '/etc'])).stdout.toString()).toBe('big\n');
    expect(proxy.counts.blobBytes).toBe(0);
    await user.run(['cat', '--range', '0-0', image, '/etc/big']);
    expect(proxy.counts.blobRequests).toBe(1);
    expect(proxy.counts.blobBytes).toBeLessThan(300_000);
  });

  test('a file of an upper layer costs the layers down to it, not the one below', async () => {
    const layout = path.join(user.work, 'stack');
    const upper = [member('app', { type: 'dir' }), member('app/hello', { content: Buffer.from('hello') })];
    const base = [
      member('etc', { type: 'dir' }),
      member('etc/base', { content: content.subarray(0, SIZE / 4) }),
    ];
    const written = writeLayout(layout, { layers: [base, upper, [member('top', { type: 'dir' })]] });
    await registry.pushLayout('stack', 'latest', `oci:${layout}`);
    const sizes = written.layers.map(({ size }) => size);
    proxy.reset();
    const { stdout } = await user.run(['cat', `${proxy.address}/stack`, '/app/hello']);
    expect(stdout.toString()).toBe('hello');
    // The layers above, the file's own span, manifest and config.
    expect(proxy.counts.bytes).toBeLessThan(2 * ((sizes[1] ?? 0) + (sizes[2] ?? 0)) + 4000);
    expect(sizes[0]).toBeGreaterThan(10_000_000);
    proxy.reset();
    const whole = await user.run(['cat', `${proxy.address}/stack`, '/etc/base']);
    expect(whole.stdout.equals(content.subarray(0, SIZE / 4))).toBe(true);
    expect(proxy.counts.bytes).toBeGreaterThan(sizes[0] ?? 0);
  });

  test('a layer that two images have is fetched, indexed and cached once', async () => {
    const base = [
      member('etc', { type: 'dir' }),
      member('etc/base', { content: content.subarray(0, SIZE / 8) }),
    ];
    const sizes: number[] = [];
    for (const name of ['first', 'second']) {
      const layout = path.join(user.work, name);
      const written = writeLayout(layout, { layers: [base, [member(name, { content: Buffer.from(name) })]] });
      sizes.push(written.layers[1]?.size ?? 0);
      await registry.pushLayout(name, 'latest', `oci:${layout}`);
    }
    expect((await user.run(['tags', `${proxy.address}/first`])).stdout.toString()).toBe('latest\n');
    expect((await user.run(['ls', `${proxy.address}/first`])).stdout.toString()).toBe('etc\nfirst\n');
    expect((await user.run(['cat', `${proxy.address}/first`, '/etc/base'])).status).toBe(0);
    proxy.reset();
    expect((await user.run(['ls', `${proxy.address}/second`])).stdout.toString()).toBe('etc\nsecond\n');
    const read = await user.run(['cat', `${proxy.address}/second`, '/etc/base']);
    expect(read.stdout.equals(content.subarray(0, SIZE / 8))).toBe(true);
    // Its own layer, its configuration, nothing of the shared one.
    expect(proxy.counts.blobBytes).toBeLessThan((sizes[1] ?? 0) + 2_000);
  }, 60_000);
});

function layerFolder(user: PeelUser, digest: Digest): string {
  return path.join(user.cacheDir, 'v1', 'layers', ...digest.split(':'));
}
