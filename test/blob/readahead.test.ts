import { describe, expect, test } from 'vitest';
import { Readahead } from '../../src/blob/readahead.ts';
import { uncompressed } from '../../src/units.ts';

const range = (start: number, end: number) => ({ start: uncompressed(start), end: uncompressed(end) });
const MiB = 1024 * 1024;

describe('Readahead', () => {
  test('a first read and a read elsewhere get nothing ahead', () => {
    const readahead = new Readahead();
    expect(readahead.note(range(0, 4096))).toBe(0);
    expect(readahead.note(range(50 * MiB, 50 * MiB + 4096))).toBe(0);
    expect(readahead.note(range(20 * MiB, 20 * MiB + 4096))).toBe(0);
  });

  test('a reader that goes on gets as much ahead as it has read in a row, up to the cap', () => {
    const readahead = new Readahead(3 * MiB);
    const ahead = [0, 1, 2, 3, 4, 5].map((step) => readahead.note(range(step * MiB, (step + 1) * MiB)));
    expect(ahead).toEqual([0, 2 * MiB, 3 * MiB, 3 * MiB, 3 * MiB, 3 * MiB]);
  });

  test('two readers of one layer are told apart', () => {
    const readahead = new Readahead();
    readahead.note(range(0, 1000));
    readahead.note(range(90 * MiB, 90 * MiB + 500));
    expect(readahead.note(range(1000, 2000))).toBe(2000);
    expect(readahead.note(range(90 * MiB + 500, 90 * MiB + 1000))).toBe(1000);
  });

  test('the header between two files of a tar does not end a row', () => {
    const readahead = new Readahead();
    readahead.note(range(512, 5000));
    expect(readahead.note(range(5632, 8000))).toBeGreaterThan(0);
  });

  test('many readers in random places are forgotten, not collected', () => {
    const readahead = new Readahead();
    readahead.note(range(0, 1000));
    for (let index = 1; index <= 1000; index += 1) readahead.note(range(index * MiB, index * MiB + 1));
    expect(readahead.note(range(1000, 2000))).toBe(0);
  });
});
