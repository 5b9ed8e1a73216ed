import { chmod, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { BackingFile, BackingFiles } from '../../src/blob/backing-files.ts';
import { cacheUsage, pruneCache } from '../../src/blob/cache-usage.ts';
import { uncompressed } from '../../src/units.ts';
import { useTempDirs } from '../support/temp-dirs.ts';
import { type CachedReader, openCachedReader } from './cached-reader.ts';

const makeDir = useTempDirs();
const SPAN = 10_000;
const SIZE = 20 * SPAN;
const range = (start: number, end: number) => ({ start: uncompressed(start), end: uncompressed(end) });
/** From within a span to within another. */
const RANGE = range(4_608, 57_000);
const never = new AbortController().signal;

interface Opened extends CachedReader {
  readonly files: BackingFiles;
  readonly folder: string;
  /** The content of the backing file of a range, undefined where there is none. */
  bytesOf(wanted: typeof RANGE): Promise<Buffer | undefined>;
}

async function open(folder: string, maxSize = 1e9): Promise<Opened> {
  const opened = await openCachedReader(folder, { size: SIZE, spanSize: SPAN, cacheLimits: { maxSize } });
  const files = opened.dir.openBackingFiles(opened.toc, opened.reader);
  return {
    ...opened,
    files,
    folder: opened.dir.layerDir(opened.toc.digest),
    async bytesOf(wanted) {
      const backing = await files.open(wanted, never);
      return backing === undefined ? undefined : await contentOf(backing);
    },
  };
}

async function contentOf({ handle }: BackingFile): Promise<Buffer> {
  try {
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

async function filled(maxSize?: number): Promise<Opened> {
  const opened = await open(makeDir(), maxSize);
  expect(await opened.isAllRight()).toBe(true);
  return opened;
}

async function namesOf({ folder }: Opened): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.startsWith('file-'));
}

describe('a backing file', () => {
  test.each([
    ['from within a span to within another', RANGE],
    ['within one span', range(100, 200)],
    ['of whole spans', range(SPAN, 3 * SPAN)],
    ['of all the layer', range(0, SIZE)],
  ])('has the bytes of a range %s, for its owner to read', async (_what, wanted) => {
    const opened = await filled();
    expect((await opened.bytesOf(wanted))?.equals(opened.bytes.subarray(wanted.start, wanted.end))).toBe(
      true,
    );
    const [name = ''] = await namesOf(opened);
    expect((await stat(path.join(opened.folder, name))).mode & 0o7777).toBe(0o400);
    await opened.close();
  });

  test('is not made while a span of it is missing, and nothing is fetched for it', async () => {
    const opened = await open(makeDir());
    await opened.isRight(1);
    const requests = opened.source.requests.length;
    expect(await opened.bytesOf(RANGE)).toBe(undefined);
    expect(opened.source.requests.length).toBe(requests);
    expect(await namesOf(opened)).toEqual([]);
    await opened.close();
  });

  test('is made of right bytes alone: a damaged span ends the making', async () => {
    const opened = await filled();
    await opened.cache.flush();
    const spans = path.join(opened.folder, 'spans');
    const bytes = await readFile(spans);
    bytes[SPAN * 3 + 1] = (bytes[SPAN * 3 + 1] ?? 0) ^ 1;
    await writeFile(spans, bytes);
    expect(await opened.bytesOf(RANGE)).toBe(undefined);
    expect((await readdir(opened.folder)).filter((name) => name.startsWith('.new-'))).toEqual([]);
    // The span is fetched again by whoever reads it, and then it works.
    expect(await opened.isAllRight()).toBe(true);
    expect((await opened.bytesOf(RANGE))?.equals(opened.bytes.subarray(RANGE.start, RANGE.end))).toBe(true);
    await opened.close();
  });

  test.each([
    ['in a whole span', (bytes: Buffer) => flip(bytes, 20_000)],
    ['before its first whole span', (bytes: Buffer) => flip(bytes, 0)],
    ['after its last whole span', (bytes: Buffer) => flip(bytes, bytes.length - 1)],
    ['by being cut', (bytes: Buffer) => bytes.subarray(0, -1)],
    ['by growing', (bytes: Buffer) => Buffer.concat([bytes, bytes])],
  ])('that was damaged %s is made anew', async (_how, damage) => {
    const opened = await filled();
    const right = await opened.bytesOf(RANGE);
    const file = path.join(opened.folder, (await namesOf(opened))[0] ?? '');
    await chmod(file, 0o600);
    await writeFile(file, damage(Buffer.from(right ?? [])));
    expect((await opened.bytesOf(RANGE))?.equals(right ?? Buffer.alloc(0))).toBe(true);
    expect((await readFile(file)).equals(right ?? Buffer.alloc(0))).toBe(true);
    await opened.close();
  });

  test('is not found through a link that lies in its place (F41)', async () => {
    const opened = await filled();
    const right = await opened.bytesOf(RANGE);
    const file = path.join(opened.folder, (await namesOf(opened))[0] ?? '');
    const elsewhere = path.join(makeDir(), 'elsewhere');
    await writeFile(elsewhere, right ?? '');
    await rm(file);
    await symlink(elsewhere, file);
    expect((await opened.bytesOf(RANGE))?.equals(right ?? Buffer.alloc(0))).toBe(true);
    expect((await stat(file)).ino).not.toBe((await stat(elsewhere)).ino);
    await opened.close();
  });

  test('is used again as it is', async () => {
    const opened = await filled();
    await opened.bytesOf(RANGE);
    const [name = ''] = await namesOf(opened);
    const { ino } = await stat(path.join(opened.folder, name));
    await opened.bytesOf(RANGE);
    expect((await stat(path.join(opened.folder, name))).ino).toBe(ino);
    await opened.close();
  });

  test('is not made of more than a quarter of what the cache may take (P13)', async () => {
    const opened = await filled(4 * (RANGE.end - RANGE.start));
    expect(await opened.bytesOf(range(RANGE.start, RANGE.end + 1))).toBe(undefined);
    await opened.close();
  });

  test('ends with the signal, and leaves nothing half made', async () => {
    const opened = await filled();
    const stop = new AbortController();
    const making = opened.files.open(RANGE, stop.signal);
    stop.abort();
    await expect(making).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect((await readdir(opened.folder)).filter((name) => /^(file-|\.new-)/.test(name))).toEqual([]);
    await opened.close();
  });
});

describe('eviction of backing files', () => {
  test('takes them and spans in the order of their last use (P13)', async () => {
    const opened = await filled();
    await opened.bytesOf(RANGE);
    await opened.bytesOf(range(100_000, 150_000));
    const [old = '', other = ''] = await namesOf(opened);
    await utimes(path.join(opened.folder, old), 1000, 1000);
    await opened.cache.flush();
    const { layers } = await cacheUsage(opened.dir);
    expect(layers[0]?.backingBytes).toBeGreaterThan(RANGE.end - RANGE.start + 50_000);
    const { totalBytes } = await cacheUsage(opened.dir);
    await pruneCache(opened.dir, { keepBytes: totalBytes - 10_000 });
    expect(await namesOf(opened)).toEqual([other]);
    expect((await opened.cache.lastUses(0, 19)).includes(0)).toBe(false);
    await opened.close();
  });

  test('takes all of them with the content, and lets them be made again', async () => {
    const opened = await filled();
    await opened.bytesOf(RANGE);
    await pruneCache(opened.dir, { content: true });
    expect(await namesOf(opened)).toEqual([]);
    expect(await opened.bytesOf(RANGE)).toBe(undefined);
    expect(await opened.isAllRight()).toBe(true);
    expect(await opened.bytesOf(RANGE)).toBeInstanceOf(Buffer);
    await opened.close();
  });
});

function flip(bytes: Buffer, at: number): Buffer {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}
