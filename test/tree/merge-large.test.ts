/** What only size brings out of a merge: made without tars, which would take longer than the merge. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { PeelError } from '../../src/errors.ts';
import type { Entry } from '../../src/layer/toc.ts';
import { type MergeLimits, mergeLayers } from '../../src/tree/merge.ts';
import type { ByteString } from '../../src/units.ts';
import { nodeAt } from '../support/listing.ts';
import { madeEntry } from '../support/made-tree.ts';

describe('large and hostile layers', { timeout: 120_000 }, () => {
  test('a directory of 200,000 names, a fifth of them replaced from above, comes out sorted and numbered', () => {
    const names = Array.from({ length: 200_000 }, (_, index) => `dir/n${(index * 7919) % 200_000}`);
    const upper = names.filter((_, index) => index % 5 === 0);
    const tree = mergeLayers([names.map((name) => entry(name)), upper.map((name) => entry(name))]);
    const found = [...(nodeAt(tree, '/dir').children?.entries() ?? [])];
    expect(found.length).toBe(200_000);
    expect(found.every(([name], at) => at === 0 || (found[at - 1]?.[0] ?? '') < name)).toBe(true);
    expect(new Set(found.map(([, { ino }]) => ino)).size).toBe(200_000);
    expect(found.filter(([, { layer }]) => layer === 1).length).toBe(40_000);
  });

  test('L8: 127 layers with a thousand whiteouts each leave what the last ones added', () => {
    const layers = Array.from({ length: 127 }, (_, layer) => [
      ...Array.from({ length: 1000 }, (_unused, at) => entry(`d/f${layer}-${at}`)),
      ...(layer === 0
        ? []
        : Array.from({ length: 1000 }, (_unused, at) => entry(`d/.wh.f${layer - 1}-${at}`))),
    ]);
    const tree = mergeLayers(layers);
    expect(nodeAt(tree, '/d').children?.size).toBe(1000);
    expect(nodeAt(tree, '/d/f126-0').layer).toBe(126);
  });

  test('a million nested directories are merged, numbered and hidden without recursion', () => {
    const deep = Array.from({ length: 1_000_000 }, () => 'a').join('/');
    const tree = mergeLayers([[entry(deep)]]);
    expect(tree.inodes).toBe(1_000_001);
    expect(mergeLayers([[entry(deep)], [entry('.wh.a')]]).inodes).toBe(1);
  });

  test('a hundred thousand hard links, each before its target, are settled', () => {
    const links = Array.from({ length: 100_000 }, (_, at) => entry(`l${at}`, 'hardlink', `l${at + 1}`));
    const tree = mergeLayers([[...links, entry('l100000')]]);
    expect([tree.inodes, nodeAt(tree, '/l0').nlink]).toEqual([2, 100_001]);
  });

  test('the tree of two hundred thousand files takes less than 150 MB', () => {
    const entries = Array.from({ length: 200_000 }, (_, at) => entry(`usr/d${at % 1000}/f${at}`));
    const gc = collector();
    gc();
    const before = process.memoryUsage().heapUsed;
    const tree = mergeLayers([entries]);
    gc();
    const used = process.memoryUsage().heapUsed - before;
    expect(tree.inodes).toBe(201_002);
    expect(used).toBeLessThan(150e6);
  });

  test('more entries or implied directories than the cap are refused, not endured', () => {
    const limited = (limits: MergeLimits, ...entries: Entry[]) => {
      try {
        mergeLayers([entries], limits);
        return 'merged';
      } catch (error) {
        return error instanceof PeelError ? error.code : error;
      }
    };
    expect(limited({ maxEntries: 3 }, entry('a'), entry('b'), entry('c'))).toBe('merged');
    expect(limited({ maxEntries: 3 }, entry('a'), entry('b'), entry('c'), entry('d'))).toBe(
      'ERR_LIMIT_EXCEEDED',
    );
    expect(limited({ maxEntries: 3 }, entry('a/b/c'))).toBe('merged');
    expect(limited({ maxEntries: 3 }, entry('a/b/c/d'))).toBe('ERR_LIMIT_EXCEEDED');
  });

  test('links that lead through links are followed 255 times at most, however many ways there are', () => {
    // 2^60 components, if anyone walked them all.
    const doubling = Array.from({ length: 60 }, (_, at) =>
      entry(`l${at + 1}`, 'symlink', `l${at}/../l${at}`),
    );
    expect(() => mergeLayers([[entry('l0', 'dir'), ...doubling, entry('l60/x')]])).toThrow(
      '255 symbolic links',
    );
  });

  test('a small layer of long links is refused before it costs more than its size allows', () => {
    // 400 KB of tar, 500,000 components a path.
    const long = 'd/../'.repeat(800);
    const chain = Array.from({ length: 250 }, (_, at) => entry(`l${at}`, 'symlink', `${long}l${at + 1}`));
    const files = Array.from({ length: 400 }, (_, at) => entry(`l0/f${at}`));
    const layer = [entry('d', 'dir'), ...chain, entry('l250', 'dir'), ...files];
    expect(() => mergeLayers([layer])).toThrow(PeelError);
    expect(() => mergeLayers([layer])).toThrow('links with too many components');
    expect(nodeAt(mergeLayers([layer.slice(0, 300)]), '/l250').children?.size).toBe(48);
  });

  test('many files below a link with a long target are no reason to refuse', () => {
    // 24 million components of link targets in all, more than a small layer may walk.
    const files = Array.from({ length: 300_000 }, (_, at) => entry(`lib/f${at}`));
    const lower = [entry('a/b', 'dir'), entry('lib', 'symlink', `${'a/../'.repeat(39)}a/b`)];
    expect(mergeLayers([lower, files]).inodes).toBe(300_004);
  });

  test('warnings stay few, however many there are', () => {
    const files = Array.from({ length: 1000 }, (_, at) => entry(`f${at}`));
    const below = files.map(({ path: at }) => entry(`${at}/x`));
    const { warnings } = mergeLayers([files, below]);
    expect(warnings.length).toBe(101);
    expect(warnings.at(-1)).toBe('and 900 more warnings');
  });
});

function entry(at: string, type: Entry['type'] = 'file', target?: string): Entry {
  return madeEntry(at, type, { target: target as ByteString | undefined });
}

/** Runs a full collection, without a flag for the whole test run. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
