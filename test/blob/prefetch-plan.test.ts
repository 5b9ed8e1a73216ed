import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { planPrefetch } from '../../src/blob/prefetch-plan.ts';
import { madeBytes, madeToc } from './made-toc.ts';

/** `[span, rank]` */
type Wanted = readonly [span: number, rank: number];

describe('planPrefetch', () => {
  const SPAN = 10_000;
  const toc = madeToc(madeBytes(400 * SPAN), { spanSize: SPAN });
  const plan = (...wanted: Wanted[]) =>
    planPrefetch(
      toc,
      wanted.map(([span, rank]) => ({ span, rank })),
    );
  const run = (first: number, last: number): Wanted[] =>
    Array.from({ length: last - first + 1 }, (_, index) => [first + index, first + index] as const);

  test('what is read first is asked for first, wherever it lies', () => {
    expect(plan([300, 0], [10, 1], [11, 3], [200, 2])).toEqual([
      { first: 300, last: 300, rank: 0, bytes: SPAN },
      { first: 10, last: 11, rank: 1, bytes: 2 * SPAN },
      { first: 200, last: 200, rank: 2, bytes: SPAN },
    ]);
  });

  test('a gap that is small beside what is wanted is fetched with it, in one request', () => {
    expect(plan(...run(0, 31), ...run(33, 64))).toEqual([{ first: 0, last: 64, rank: 0, bytes: 65 * SPAN }]);
  });

  test('a gap that is not is left out', () => {
    expect(plan(...run(0, 9), ...run(11, 20)).map(({ first, last }) => [first, last])).toEqual([
      [0, 9],
      [11, 20],
    ]);
  });

  test('gaps are joined, the smallest first, up to one byte for 32 that are wanted', () => {
    const wanted = [...run(0, 29), ...run(32, 61), ...run(63, 89)];
    expect(plan(...wanted).map(({ first, last }) => [first, last])).toEqual([
      [0, 29],
      [32, 89],
    ]);
  });

  test('a request is no longer than a mebibyte, so that who waits for its end does not wait long', () => {
    const runs = plan(...run(0, 399));
    expect(runs.length).toBe(4);
    for (const { bytes } of runs) expect(bytes).toBeLessThanOrEqual(1024 * 1024);
  });

  test('nothing wanted is nothing asked for', () => {
    expect(plan()).toEqual([]);
  });

  test('all that is wanted is brought, once, and little besides', () => {
    const spans = fc.uniqueArray(fc.integer({ min: 0, max: 399 }), { maxLength: 200 });
    fc.assert(
      fc.property(spans, (order) => {
        const runs = plan(...order.map((span, rank): Wanted => [span, rank]));
        const brought = runs.flatMap(({ first, last }) => run(first, last).map(([span]) => span));
        const rising = order.toSorted((a, b) => a - b);
        expect(new Set(brought).size).toBe(brought.length);
        expect(rising.filter((span) => !brought.includes(span))).toEqual([]);
        expect(brought.length).toBeLessThanOrEqual(rising.length * (1 + 1 / 32));
        const ranks = runs.map(({ rank }) => rank);
        expect(ranks).toEqual(ranks.toSorted((a, b) => a - b));
      }),
    );
  });
});
