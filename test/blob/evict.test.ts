import { lstat, mkdir, open, readdir, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCacheDir } from '../../src/blob/cache-dir.ts';
import { cacheUsage, pruneCache } from '../../src/blob/cache-usage.ts';
import { tryEvictLock } from '../../src/blob/evict-lock.ts';
import { entryPosition } from '../../src/blob/span-map.ts';
import { useTempDirs } from '../support/temp-dirs.ts';
import { type CachedReader, openCachedReader } from './cached-reader.ts';

const makeDir = useTempDirs();
const KiB = 1024;
const SPAN = 64 * KiB;
const LAYER = 16 * SPAN;

/** Bytes on disk below a folder, as du counts. */
async function diskBytes(folder: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    // What vanishes meanwhile takes nothing.
    const found = await lstat(path.join(entry.parentPath, entry.name)).catch(() => undefined);
    total += (found?.blocks ?? 0) * 512;
  }
  return total;
}

const openLayer = (folder: string, seed: number, maxSize = 1e9): Promise<CachedReader> =>
  openCachedReader(folder, { size: LAYER, spanSize: SPAN, seed, cacheLimits: { maxSize } });

async function fill(folder: string, seed: number): Promise<CachedReader> {
  const opened = await openLayer(folder, seed);
  expect(await opened.isAllRight()).toBe(true);
  await opened.close();
  return opened;
}

/** Sets when the spans of a layer were used last. */
async function setUses({ dir, toc }: CachedReader, useOf: (span: number) => number): Promise<void> {
  const handle = await open(path.join(dir.layerDir(toc.digest), 'spans.map'), 'r+');
  try {
    for (let span = 0; span < toc.spans.length; span += 1) {
      const entry = Buffer.alloc(4);
      entry.writeUInt32LE(useOf(span));
      await handle.write(entry, 0, 4, entryPosition(toc.spans.length, span));
    }
  } finally {
    await handle.close();
  }
}

describe('eviction', () => {
  test('the spans least recently used go first, whichever layer they are of, and their bytes go from the disk', async () => {
    const folder = makeDir();
    const old = await fill(folder, 1);
    const recent = await fill(folder, 2);
    await setUses(old, (span) => 1000 + span);
    await setUses(recent, (span) => (span === 0 ? 999 : 5000));
    expect(await diskBytes(folder)).toBeGreaterThan(2 * LAYER);

    const dir = await openCacheDir(folder, { maxSize: 1.25 * LAYER, minFreeShare: 0 });
    expect(await dir.evict()).toBeGreaterThan(0);
    expect(await diskBytes(folder)).toBeLessThanOrEqual(1.25 * LAYER);

    const again = await Promise.all([openLayer(folder, 1), openLayer(folder, 2)]);
    const [oldUses, recentUses] = await Promise.all(again.map(({ cache }) => cache.lastUses(0, 15)));
    expect(recentUses?.[0]).toBe(0);
    expect(recentUses?.slice(1).every((use) => use === 5000)).toBe(true);
    const firstKept = oldUses?.findIndex((use) => use !== 0) ?? -1;
    expect(firstKept).toBeGreaterThan(8);
    expect(oldUses?.slice(firstKept).every((use) => use !== 0)).toBe(true);
    for (const opened of again) {
      expect(await opened.isAllRight()).toBe(true);
      await opened.close();
    }
  });

  test('two spans evicted one after the other leave no page of theirs on the disk', async () => {
    const folder = makeDir();
    // Spans that do not end at a page.
    const sizes = { size: 100_000, spanSize: 10_000, seed: 3 };
    const opened = await openCachedReader(folder, sizes);
    await opened.isAllRight();
    await opened.close();
    for (let keep = 9; keep >= 0; keep -= 1) {
      await setUses(opened, (span) => (span < keep ? 2000 : span === keep ? 1000 : 0));
      const usage = await cacheUsage(opened.dir);
      await pruneCache(opened.dir, { keepBytes: usage.totalBytes - 1 });
    }
    const spans = await lstat(path.join(opened.dir.layerDir(opened.toc.digest), 'spans')).catch(
      () => undefined,
    );
    expect(spans?.blocks ?? 0).toBe(0);
  });

  test('whole layers go when their spans are not enough, the one unused for longest first', async () => {
    const folder = makeDir();
    const cache = await openCacheDir(folder, { maxSize: 150 * KiB, minFreeShare: 0 });
    const hexes = ['aa', 'bb', 'cc'].map((pair) => pair.repeat(32));
    for (const [n, hex] of hexes.entries()) {
      const layer = path.join(cache.versionDir, 'layers', 'sha256', hex);
      await mkdir(layer, { recursive: true });
      await writeFile(path.join(layer, 'toc'), Buffer.alloc(64 * KiB, 1));
      await utimes(path.join(layer, 'toc'), 1000 + n, 1000 + n);
    }
    await cache.evict();
    expect((await readdir(path.join(cache.versionDir, 'layers', 'sha256'))).sort()).toEqual(hexes.slice(1));
  });

  test('F43: readers over a cache of a tenth of what they read get every byte, and the size stays bounded', async () => {
    const folder = makeDir();
    const readers = await Promise.all([1, 2, 3, 4].map((seed) => openLayer(folder, seed, 0.4 * LAYER)));
    let largest = 0;
    const measuring = setInterval(() => {
      void diskBytes(folder).then((bytes) => {
        largest = Math.max(largest, bytes);
      });
    }, 5);
    try {
      const outcomes = await Promise.all(
        readers.map(async (opened, n) => {
          let isRight = true;
          for (let step = 0; step < 60; step += 1) {
            isRight &&= await opened.isRight((step * (2 * n + 3)) % 16);
          }
          await opened.cache.flush();
          return isRight;
        }),
      );
      expect(outcomes).toEqual([true, true, true, true]);
    } finally {
      clearInterval(measuring);
      await Promise.all(readers.map((opened) => opened.close()));
    }
    // Each reader's process measures for itself: a span each beyond the limit, and the maps.
    expect(largest).toBeGreaterThan(0);
    expect(largest).toBeLessThanOrEqual(0.4 * LAYER + 4 * SPAN + 8 * 4 * KiB);
    expect(await diskBytes(folder)).toBeGreaterThan(0);
  });

  test('a disk that is too full for the cache holds nothing of it, and its reader does not notice', async () => {
    const folder = makeDir();
    const opened = await openCachedReader(folder, { cacheLimits: { minFreeShare: 1 } });
    expect([await opened.isAllRight(), await opened.isAllRight()]).toEqual([true, true]);
    await opened.cache.flush();
    expect(await opened.cache.cachedBytes()).toBe(0);
    await opened.close();
  });
});

describe('the lock of eviction', () => {
  test('keeps the second one out until it is released', async () => {
    const folder = makeDir();
    const release = await tryEvictLock(folder);
    expect(release).toBeDefined();
    expect(await tryEvictLock(folder)).toBeUndefined();
    await release?.();
    const again = await tryEvictLock(folder);
    expect(again).toBeDefined();
    await again?.();
    expect(await readdir(folder)).toEqual([]);
  });

  test('F47: one that a dead process left, or that is too old, or no file at all, is taken over', async () => {
    const folder = makeDir();
    const file = path.join(folder, 'evict.lock');
    // Above the largest pid that Linux gives.
    await writeFile(file, '4194305');
    await (await tryEvictLock(folder))?.();
    await writeFile(file, String(process.pid));
    expect(await tryEvictLock(folder)).toBeUndefined();
    await utimes(file, 1000, 1000);
    await (await tryEvictLock(folder))?.();
    await mkdir(file);
    await (await tryEvictLock(folder))?.();
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('cacheUsage and pruneCache', () => {
  test('tell what each layer takes, and make room', async () => {
    const folder = makeDir();
    const first = await fill(folder, 1);
    const second = await openLayer(folder, 2);
    await second.isRight(4);
    await second.close();
    await writeFile(path.join(first.dir.layerDir(first.toc.digest), 'toc'), Buffer.alloc(5000, 1));

    const usage = await cacheUsage(first.dir);
    const byDigest = new Map(usage.layers.map((layer) => [layer.digest, layer]));
    expect(byDigest.get(first.toc.digest)).toMatchObject({
      spansPresent: 16,
      spansTotal: 16,
      tocBytes: 8192,
    });
    expect(byDigest.get(second.toc.digest)).toMatchObject({ spansPresent: 1, spansTotal: 16, tocBytes: 0 });
    expect(usage.totalBytes).toBe(await diskBytes(folder));
    for (const { lastUsed } of usage.layers)
      expect(Math.abs(Date.now() - lastUsed.getTime())).toBeLessThan(60_000);

    const freed = await pruneCache(first.dir, { keepBytes: 3 * SPAN });
    expect(await diskBytes(folder)).toBeLessThanOrEqual(3 * SPAN);
    expect(freed).toBe(usage.totalBytes - (await diskBytes(folder)));
    await mkdir(path.join(first.dir.versionDir, 'documents'));
    await writeFile(path.join(first.dir.versionDir, 'documents', 'some'), 'manifest');
    expect(await pruneCache(first.dir, { all: true })).toBeGreaterThan(4096);
    expect(await readdir(first.dir.versionDir)).toEqual([]);
    expect(await cacheUsage(first.dir)).toEqual({ layers: [], totalBytes: 0 });
  });

  test('a cache emptied under a reader does not disturb it', async () => {
    const folder = makeDir();
    const opened = await openLayer(folder, 1);
    expect(await opened.isAllRight()).toBe(true);
    await opened.cache.flush();
    await pruneCache(opened.dir, { all: true });
    expect(await opened.isAllRight()).toBe(true);
    await opened.close();
  });

  test('what is no layer in the cache is neither counted nor touched', async () => {
    const folder = makeDir();
    const cache = await openCacheDir(folder);
    const layers = path.join(cache.versionDir, 'layers', 'sha256');
    await mkdir(layers, { recursive: true });
    await writeFile(path.join(layers, 'README'), 'x');
    await mkdir(path.join(layers, '..', 'md5', 'ab'), { recursive: true });
    expect((await cacheUsage(cache)).layers).toEqual([]);
    await pruneCache(cache, { keepBytes: 0 });
    expect(await readdir(layers)).toEqual(['README']);
  });

  test('trees of images count, and go before the indexes of layers, the oldest first', async () => {
    const folder = makeDir();
    const { dir: cache } = await fill(folder, 1);
    await mkdir(cache.treesDir);
    for (const [name, age] of [
      ['old', 1000],
      ['new', 2000],
    ] as const) {
      const file = path.join(cache.treesDir, name);
      await writeFile(file, Buffer.alloc(1 << 20, 1));
      await utimes(file, age, age);
    }
    const { totalBytes } = await cacheUsage(cache);
    expect(totalBytes).toBeGreaterThan(2 << 20);
    await pruneCache(cache, { content: true });
    const left = (await cacheUsage(cache)).totalBytes;
    await pruneCache(cache, { keepBytes: left - 1 });
    expect(await readdir(cache.treesDir)).toEqual(['new']);
    expect((await cacheUsage(cache)).layers).toHaveLength(1);
    await pruneCache(cache, { keepBytes: 0 });
    expect([await readdir(cache.treesDir), (await cacheUsage(cache)).layers]).toEqual([[], []]);
  });
});
