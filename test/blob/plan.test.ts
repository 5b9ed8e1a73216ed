import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ownCompressedStart, planRequests, spanAt, spansOf } from '../../src/blob/plan.ts';
import { uncompressed } from '../../src/units.ts';
import { madeBytes, madeToc } from './made-toc.ts';

const range = (start: number, end: number) => ({ start: uncompressed(start), end: uncompressed(end) });

describe('spansOf', () => {
  const { spans } = madeToc(madeBytes(2500));

  test.each([
    [0, 1, 0, 0],
    [999, 1000, 0, 0],
    [999, 1001, 0, 1],
    [1000, 1001, 1, 1],
    [0, 2500, 0, 2],
    [2499, 2500, 2, 2],
  ])('bytes %i to %i lie in spans %i to %i', (start, end, first, last) => {
    expect(spansOf(spans, range(start, end))).toEqual({ first, last });
  });

  test.each([
    [5, 5],
    [6, 5],
    [-1, 5],
    [0, 2501],
    [2500, 2501],
    [0.5, 2],
    [Number.NaN, 5],
  ])('a range from %d to %d that is empty or leaves the layer is the mistake of the caller', (start, end) => {
    expect(() => spansOf(spans, range(start, end))).toThrow(RangeError);
  });

  test('a layer without bytes has no range', () => {
    expect(() => spansOf([], range(0, 1))).toThrow(RangeError);
  });

  test('the span at an offset is the one that a search from the beginning finds', () => {
    for (let offset = 0; offset < 2500; offset += 7) {
      expect(spanAt(spans, offset)).toBe(spans.findIndex((span) => span.end > offset));
    }
  });
});

describe('planRequests', () => {
  const toc = madeToc(madeBytes(20_000));

  test('neighbours are asked for in one request, gaps are not asked for', () => {
    expect(planRequests(toc, [3, 4, 5, 8], 100_000)).toEqual([
      { first: 3, last: 5 },
      { first: 8, last: 8 },
    ]);
  });

  test('a request ends before it would pass the cap', () => {
    expect(planRequests(toc, [0, 1, 2, 3, 4], 2000)).toEqual([
      { first: 0, last: 1 },
      { first: 2, last: 3 },
      { first: 4, last: 4 },
    ]);
  });

  test('a span larger than the cap is still asked for whole', () => {
    expect(planRequests(toc, [7, 8], 10)).toEqual([
      { first: 7, last: 7 },
      { first: 8, last: 8 },
    ]);
  });

  test('bytes before a span that shares its checkpoint are not counted as its own', () => {
    const shared = madeToc(madeBytes(20_000), { spansPerCheckpoint: 20 });
    expect(ownCompressedStart(shared, 12)).toBe(12_000);
    expect(planRequests(shared, [12, 13, 14], 2000)).toEqual([
      { first: 12, last: 13 },
      { first: 14, last: 14 },
    ]);
  });

  test('every missing span is in exactly one request, and nothing else is', () => {
    const missing = fc.uniqueArray(fc.integer({ min: 0, max: 19 })).map((list) => list.sort((a, b) => a - b));
    fc.assert(
      fc.property(missing, fc.integer({ min: 1, max: 9000 }), (spans, cap) => {
        const planned = planRequests(toc, spans, cap).flatMap(({ first, last }) =>
          Array.from({ length: last - first + 1 }, (_, index) => first + index),
        );
        expect(planned).toEqual(spans);
      }),
    );
  });
});
