import { execFileSync } from 'node:child_process';
import {
  chmod,
  mkdir,
  open,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { HEADER_BYTES } from '../../src/blob/span-map.ts';
import { useTempDirs } from '../support/temp-dirs.ts';
import { type CachedReader, openCachedReader } from './cached-reader.ts';
import { madeBytes } from './made-toc.ts';

const makeDir = useTempDirs();

/** A cache that holds the whole layer; the process that filled it is gone. Gives the folder of the layer. */
async function filledCache(folder: string): Promise<string> {
  const opened = await openCachedReader(folder);
  expect(await opened.isAllRight()).toBe(true);
  await opened.close();
  return opened.dir.layerDir(opened.toc.digest);
}

async function withReader<Result>(
  folder: string,
  use: (opened: CachedReader) => Promise<Result>,
): Promise<Result> {
  const opened = await openCachedReader(folder);
  try {
    return await use(opened);
  } finally {
    await opened.close();
  }
}

describe('SpanCache', () => {
  test('P11: what one process read, the next reads without a request', async () => {
    const folder = makeDir();
    await filledCache(folder);
    await withReader(folder, async (opened) => {
      expect(await opened.cache.isComplete()).toBe(true);
      expect(await opened.isAllRight()).toBe(true);
      expect(opened.source.requests).toEqual([]);
      expect(opened.reader.stats.diskHits).toBe(20);
    });
  });

  test('only what was read is kept, and its share is told', async () => {
    const folder = makeDir();
    await withReader(folder, async (opened) => {
      expect(await opened.isRight(3)).toBe(true);
      await opened.cache.flush();
      expect(await opened.cache.isComplete()).toBe(false);
      expect(await opened.cache.cachedBytes()).toBe(10_000);
      const { spans } = opened.toc;
      const start = spans[2]?.start ?? spans[0]?.start;
      const end = spans[3]?.end;
      if (start === undefined || end === undefined) throw new Error('no spans');
      expect(await opened.cache.cachedBytes({ start, end })).toBe(10_000);
    });
    await withReader(folder, async (opened) => {
      expect([await opened.isRight(3), await opened.isRight(4)]).toEqual([true, true]);
      expect(opened.source.requests).toEqual([{ start: 40_000, end: 50_000 }]);
    });
  });

  test('two readers at the same time share what the other one brought', async () => {
    const folder = makeDir();
    const first = await openCachedReader(folder);
    const second = await openCachedReader(folder);
    expect(await second.isRight(0)).toBe(true);
    expect(await first.isAllRight()).toBe(true);
    await first.cache.flush();
    second.source.requests.length = 0;
    expect(await second.isAllRight()).toBe(true);
    expect(second.source.requests).toEqual([]);
    await first.close();
    await second.close();
  });

  test('spans lie at their own offset in a file that is as private as the cache', async () => {
    const folder = makeDir();
    const layer = await filledCache(folder);
    expect((await readFile(path.join(layer, 'spans'))).equals(madeBytes(200_000))).toBe(true);
    for (const name of ['spans', 'spans.map']) {
      expect((await stat(path.join(layer, name))).mode & 0o777).toBe(0o600);
    }
    expect((await stat(layer)).mode & 0o777).toBe(0o700);
  });

  test('F14: bytes that are not the ones recorded are not kept', async () => {
    const folder = makeDir();
    await withReader(folder, async (opened) => {
      opened.source.fault = () => ({ change: (bytes) => bytes.fill(7) });
      await expect(opened.isRight(2)).rejects.toMatchObject({
        code: 'ERR_DIGEST_MISMATCH',
        facts: { span: 2 },
      });
      await opened.cache.flush();
      expect(await opened.cache.cachedBytes()).toBe(0);
      opened.source.fault = () => undefined;
      expect(await opened.isRight(2)).toBe(true);
    });
  });
});

type Damage = readonly [string, (layer: string) => Promise<void>];

async function patch(file: string, at: number, bytes: Buffer): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.write(bytes, 0, bytes.length, at);
  } finally {
    await handle.close();
  }
}

const spansFile = (layer: string): string => path.join(layer, 'spans');
const mapFile = (layer: string): string => path.join(layer, 'spans.map');

/** F41, one way to break the cache each. */
const DAMAGES: readonly Damage[] = [
  ...Array.from({ length: 40 }, (_, n): Damage => {
    const at = (n * 5003) % 200_000;
    return [
      `a flipped bit at byte ${at}`,
      async (layer) => {
        const byte = (await readFile(spansFile(layer)))[at] ?? 0;
        await patch(spansFile(layer), at, Buffer.from([byte ^ (1 << (n % 8))]));
      },
    ];
  }),
  ...Array.from(
    { length: 20 },
    (_, n): Damage => [`the bytes cut at ${n * 10_007}`, (layer) => truncate(spansFile(layer), n * 10_007)],
  ),
  ...Array.from(
    { length: 20 },
    (_, n): Damage => [
      `span ${n} zeroed`,
      (layer) => patch(spansFile(layer), n * 10_000, Buffer.alloc(10_000)),
    ],
  ),
  ...Array.from(
    { length: 19 },
    (_, n): Damage => [
      `spans ${n} and ${n + 1} swapped`,
      async (layer) => {
        const bytes = await readFile(spansFile(layer));
        await patch(spansFile(layer), n * 10_000, bytes.subarray((n + 1) * 10_000, (n + 2) * 10_000));
        await patch(spansFile(layer), (n + 1) * 10_000, bytes.subarray(n * 10_000, (n + 1) * 10_000));
      },
    ],
  ),
  ...Array.from(
    { length: 40 },
    (_, n): Damage => [`the map cut at ${n * 5}`, (layer) => truncate(mapFile(layer), n * 5)],
  ),
  ...Array.from(
    { length: HEADER_BYTES + 80 },
    (_, n): Damage => [
      `byte ${n} of the map wrong`,
      async (layer) => {
        const byte = (await readFile(mapFile(layer)))[n] ?? 0;
        await patch(mapFile(layer), n, Buffer.from([byte ^ 0xff]));
      },
    ],
  ),
  ['a map of random entries', (layer) => patch(mapFile(layer), HEADER_BYTES + 80, madeBytes(80, 9))],
  ['a map that goes on for ever', (layer) => truncate(mapFile(layer), 1e9)],
  ['no map', (layer) => rm(mapFile(layer))],
  ['no bytes', (layer) => rm(spansFile(layer))],
  ['no folder', (layer) => rm(layer, { recursive: true })],
  ...[spansFile, mapFile].flatMap((fileOf, n): Damage[] => {
    const what = ['the bytes', 'the map'][n];
    return [
      [
        `a FIFO in place of ${what}`,
        async (layer) => {
          await rm(fileOf(layer));
          execFileSync('mkfifo', [fileOf(layer)], { timeout: 10_000 });
        },
      ],
      [
        `a folder in place of ${what}`,
        async (layer) => {
          await rm(fileOf(layer));
          await mkdir(path.join(fileOf(layer), 'deeper'), { recursive: true });
        },
      ],
      [
        `a symbolic link in place of ${what}`,
        async (layer) => {
          await rename(fileOf(layer), `${fileOf(layer)}.moved`);
          await symlink(`${fileOf(layer)}.moved`, fileOf(layer));
        },
      ],
      [
        `a dead symbolic link in place of ${what}`,
        async (layer) => {
          await rm(fileOf(layer));
          await symlink('nowhere', fileOf(layer));
        },
      ],
      [
        `a second name for ${what}`,
        async (layer) => {
          execFileSync('ln', [fileOf(layer), `${fileOf(layer)}.other`], { timeout: 10_000 });
        },
      ],
      [
        `a device in place of ${what}`,
        async (layer) => {
          await rm(fileOf(layer));
          await symlink('/dev/zero', fileOf(layer));
        },
      ],
      [`text in place of ${what}`, (layer) => writeFile(fileOf(layer), 'not what it should be')],
    ];
  }),
];

describe('F41: a damaged cache', () => {
  test(`is found out, made good and never served, in ${DAMAGES.length} ways to damage it`, async () => {
    const outcomes: string[] = [];
    for (const [name, damage] of DAMAGES) {
      const folder = makeDir();
      await damage(await filledCache(folder));
      const isRight = await withReader(folder, (opened) => opened.isAllRight());
      // Read once more: what was refetched was kept, or the damage did no harm.
      const again = await withReader(folder, async (opened) => {
        const isRightAgain = await opened.isAllRight();
        return isRightAgain && opened.source.requests.length;
      });
      if (!isRight || again !== 0) outcomes.push(`${name}: ${isRight}, ${again}`);
    }
    expect(outcomes).toEqual([]);
  });

  test('a link in place of a file leaves alone what it leads to', async () => {
    const folder = makeDir();
    const layer = await filledCache(folder);
    const other = path.join(folder, 'precious');
    await writeFile(other, 'precious');
    await rm(spansFile(layer));
    await symlink(other, spansFile(layer));
    expect(await withReader(folder, (opened) => opened.isAllRight())).toBe(true);
    expect(await readFile(other, 'utf8')).toBe('precious');
  });

  test('damage under a process that runs is found out as well', async () => {
    const folder = makeDir();
    const layer = await filledCache(folder);
    await withReader(folder, async (opened) => {
      expect(await opened.isAllRight()).toBe(true);
      await patch(spansFile(layer), 55_555, Buffer.from([1, 2, 3, 4]));
      expect(await opened.isAllRight()).toBe(true);
      expect(opened.source.requests).toEqual([{ start: 50_000, end: 60_000 }]);
    });
  });
});

describe('F44: a cache that is taken away while it is used', () => {
  const takings: readonly (readonly [string, (folder: string, layer: string) => Promise<void>])[] = [
    ['the layer removed', (_, layer) => rm(layer, { recursive: true })],
    ['the whole cache removed', (folder) => rm(path.join(folder, 'v1'), { recursive: true })],
    ['the cache renamed', (folder) => rename(path.join(folder, 'v1'), path.join(folder, 'gone'))],
    ['nobody allowed in', (folder) => chmod(path.join(folder, 'v1'), 0)],
  ];

  test.each(takings)('%s: reads go on, and what is read is kept again', async (_, take) => {
    const folder = makeDir();
    const layer = await filledCache(folder);
    await withReader(folder, async (opened) => {
      expect(await opened.isRight(0)).toBe(true);
      await take(folder, layer);
      expect(await opened.isAllRight()).toBe(true);
      await chmod(path.join(folder, 'v1'), 0o700).catch(() => {});
      // Looked at again after a second; written anew with the read after that.
      await expect
        .poll(
          async () => {
            if (!(await opened.isAllRight())) throw new Error('wrong bytes');
            await opened.cache.flush();
            return await stat(spansFile(layer)).then(
              () => true,
              () => false,
            );
          },
          { timeout: 10_000, interval: 200 },
        )
        .toBe(true);
    });
    expect(
      await withReader(
        folder,
        async (opened) => (await opened.isAllRight()) && (await opened.cache.isComplete()),
      ),
    ).toBe(true);
  });
});
