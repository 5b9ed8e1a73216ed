import { mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { ProfileStore } from '../../src/image/profile-store.ts';
import {
  addStart,
  encodeProfile,
  parseProfile,
  type StartProfile,
  stableRanges,
  type TouchedRange,
} from '../../src/image/start-profile.ts';
import { type Digest, uncompressed } from '../../src/units.ts';
import { sha256Digest } from '../support/digests.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const IMAGE = sha256Digest('image');
const LAYER = sha256Digest('layer');

function touched(start: number, end: number, layer: Digest = LAYER): TouchedRange {
  return { layer, start: uncompressed(start), end: uncompressed(end) };
}

function afterStarts(...starts: readonly (readonly TouchedRange[])[]): StartProfile {
  let profile: StartProfile | undefined;
  for (const ranges of starts) profile = addStart(profile, IMAGE, ranges);
  if (profile === undefined) throw new Error('no start');
  return profile;
}

const startsOf = (ranges: readonly TouchedRange[]): number[] => ranges.map(({ start }) => start);

describe('a profile', () => {
  const A = touched(0, 100);
  const B = touched(100, 200);
  const C = touched(500, 600);

  test('of one start has all that it read, in order', () => {
    expect(startsOf(stableRanges(afterStarts([C, A, B])))).toEqual([500, 0, 100]);
  });

  test('keeps what every start reads, in the order of the last one', () => {
    expect(startsOf(stableRanges(afterStarts([A, B, C], [C, A, B])))).toEqual([500, 0, 100]);
  });

  test('replays no more what less than half of the starts read', () => {
    expect(startsOf(stableRanges(afterStarts([A, B], [A])))).toEqual([0, 100]);
    expect(startsOf(stableRanges(afterStarts([A, B], [A], [A])))).toEqual([0]);
  });

  test('does not replay what one start of many read', () => {
    expect(startsOf(stableRanges(afterStarts([A], [A], [A], [A, C])))).toEqual([0]);
    expect(startsOf(stableRanges(afterStarts([A], [A], [A], [A, C], [A, C], [A, C])))).toEqual([0, 500]);
  });

  test('forgets what the last eight starts did not read', () => {
    const starts = Array.from({ length: 8 }, () => [A]);
    expect(startsOf(afterStarts([A, C], ...starts.slice(1)).ranges)).toEqual([0, 500]);
    expect(startsOf(afterStarts([A, C], ...starts).ranges)).toEqual([0]);
  });

  test('takes ranges that overlap for the same place, cut otherwise', () => {
    const { ranges } = afterStarts([A, B], [touched(50, 150)]);
    expect(ranges).toEqual([{ ...touched(50, 150), starts: 0b11 }]);
  });

  test('tells the same bytes of two layers apart', () => {
    const other = sha256Digest('other');
    expect(afterStarts([A], [touched(0, 100, other)]).ranges.map(({ layer }) => layer)).toEqual([
      other,
      LAYER,
    ]);
  });

  test('is bounded, however much a start reads', () => {
    const many = Array.from({ length: 5000 }, (_, index) => touched(index * 10, index * 10 + 10));
    const profile = afterStarts(many);
    expect(profile.ranges.length).toBe(4096);
    expect(encodeProfile(profile).length).toBeLessThan(256 * 1024);
  });

  test('is what it was after it was written and read', () => {
    const profile = afterStarts([A, C], [B, C]);
    expect(parseProfile(encodeProfile(profile), 'it')).toEqual(profile);
  });
});

describe('a profile of a stranger', () => {
  const document = {
    schemaVersion: 1,
    image: IMAGE,
    starts: 2,
    layers: [LAYER],
    ranges: [[0, 100, 50, 3]] as unknown,
  };
  const parse = (change: object) => () =>
    parseProfile(Buffer.from(JSON.stringify({ ...document, ...change })), 'it');

  test('is read where it is right', () => {
    expect(parse({})().ranges).toEqual([{ ...touched(100, 150), starts: 3 }]);
  });

  test.each([
    ['a later version', { schemaVersion: 2 }, 'ERR_UNSUPPORTED'],
    ['no image', { image: 'latest' }, 'ERR_DOCUMENT_INVALID'],
    ['no starts', { starts: 0 }, 'ERR_DOCUMENT_INVALID'],
    ['more starts than are remembered', { starts: 9 }, 'ERR_DOCUMENT_INVALID'],
    ['a layer that is a path', { layers: ['../../etc'] }, 'ERR_DOCUMENT_INVALID'],
    ['a range of no layer', { ranges: [[1, 0, 1, 1]] }, 'ERR_DOCUMENT_INVALID'],
    ['a range without bytes', { ranges: [[0, 0, 0, 1]] }, 'ERR_DOCUMENT_INVALID'],
    ['a range before the layer', { ranges: [[0, -1, 2, 1]] }, 'ERR_DOCUMENT_INVALID'],
    ['a range past all numbers', { ranges: [[0, Number.MAX_SAFE_INTEGER, 2, 1]] }, 'ERR_DOCUMENT_INVALID'],
    ['a range that no start read', { ranges: [[0, 0, 1, 0]] }, 'ERR_DOCUMENT_INVALID'],
    ['a range with more starts than a byte', { ranges: [[0, 0, 1, 256]] }, 'ERR_DOCUMENT_INVALID'],
    ['ranges that overlap', { ranges: [0, 9].map((at) => [0, at, 10, 1]) }, 'ERR_DOCUMENT_INVALID'],
    ['a range that is text', { ranges: ['0'] }, 'ERR_DOCUMENT_INVALID'],
    [
      'more ranges than are kept',
      { ranges: Array.from({ length: 4097 }, () => [0, 0, 1, 1]) },
      'ERR_LIMIT_EXCEEDED',
    ],
  ])('is refused with %s', (_what, change, code) => {
    expect(parse(change)).toThrow(expect.objectContaining({ code }));
  });

  test('is refused where it is larger than any profile', () => {
    expect(() => parseProfile(Buffer.alloc(1024 * 1024 + 1, ' '), 'it')).toThrow(
      expect.objectContaining({ code: 'ERR_LIMIT_EXCEEDED' }),
    );
  });
});

describe('the profiles in the cache', () => {
  const makeTempDir = useTempDirs();

  test('one that is damaged, or of another image, is as good as none', async () => {
    const folder = makeTempDir();
    const store = new ProfileStore(folder);
    await store.save(afterStarts([touched(0, 10)]));
    expect((await store.load(IMAGE))?.starts).toBe(1);
    const [name = ''] = readdirSync(path.join(folder, 'profiles'));
    const file = path.join(folder, 'profiles', name);
    writeFileSync(file, '{"schemaVersion": 1');
    expect(await store.load(IMAGE)).toBeUndefined();
    writeFileSync(file, encodeProfile({ image: LAYER, starts: 1, ranges: [] }));
    expect(await store.load(IMAGE)).toBeUndefined();
  });

  test('the ones that were written longest ago go where there are more than a thousand', async () => {
    const folder = makeTempDir();
    const profiles = path.join(folder, 'profiles');
    mkdirSync(profiles);
    for (let index = 0; index < 1000; index += 1) {
      const file = path.join(profiles, `sha256-${index}`);
      writeFileSync(file, '');
      utimesSync(file, 1_000_000 + index, 1_000_000 + index);
    }
    await new ProfileStore(folder).save(afterStarts([touched(0, 10)]));
    const names = readdirSync(profiles);
    expect(names.length).toBe(1000);
    expect(names).not.toContain('sha256-0');
    expect(names).toContain('sha256-1');
  });
});
