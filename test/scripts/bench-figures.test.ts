/** The benchmark harness: medians, ratios, bars and tables say what was measured. */
import { describe, expect, test } from 'vitest';
import { GROUPS, parseArguments } from '../../scripts/bench/arguments.mjs';
import { columnTable } from '../../scripts/bench/columns.mjs';
import { barLine, digits, table, times } from '../../scripts/bench/format.mjs';
import { interleaved, median, medianRatio } from '../../scripts/bench/statistics.mjs';

describe('statistics', () => {
  test('the median of an odd count is the middle value, whatever the order', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([100, 2, 1, 3, 4])).toBe(3);
  });

  test('the median of an even count is the mean of the two in the middle', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  test('the median of nothing is an error, not a figure', () => {
    expect(() => median([])).toThrow(RangeError);
  });

  test('a ratio is taken round by round, so that a machine that slows down does not move it', () => {
    // Twice the base in every round, while the machine gets ten times slower.
    expect(medianRatio([2, 20, 200], [1, 10, 100])).toBe(2);
    // The ratio of the medians would be 1 here.
    expect(medianRatio([1, 10, 20], [10, 5, 10])).toBe(2);
  });

  test('ratios of a different number of rounds are refused', () => {
    expect(() => medianRatio([1, 2], [1])).toThrow(RangeError);
  });

  test('contestants take turns inside a round', async () => {
    const order: string[] = [];
    const contestant = (name: string) => async (round: number) => {
      order.push(`${name}${round}`);
      return round;
    };
    const rounds = await interleaved(2, { a: contestant('a'), b: contestant('b') });
    expect(order).toEqual(['a0', 'b0', 'a1', 'b1']);
    expect(rounds).toEqual({ a: [0, 1], b: [0, 1] });
  });

  test('a contestant that fails ends the measurement', async () => {
    const failing = interleaved(2, { a: () => Promise.reject(new Error('no such file')) });
    await expect(failing).rejects.toThrow('no such file');
  });
});

describe('format', () => {
  test.each([
    [0, '0.00'],
    [0.0123, '0.0123'],
    [1.234, '1.23'],
    [12.34, '12.3'],
    [1234.5, '1235'],
    [0.000_000_4, '0.000000'],
  ])('%d is written as %s', (value, text) => {
    expect(digits(value)).toBe(text);
  });

  test.each([
    [0.001_23, '0.00123x'],
    [0.5, '0.50x'],
    [12.34, '12.3x'],
  ])('a ratio of %d is written as %s', (value, text) => {
    expect(times(value)).toBe(text);
  });

  test.each([
    { side: 'at most', limit: 0.6, got: 0.43, line: '- x: bar at most 0.6x, got 0.430x: **met**' },
    { side: 'at most', limit: 0.6, got: 0.61, line: '- x: bar at most 0.6x, got 0.610x: **missed**' },
    { side: 'at least', limit: 0.3, got: 0.3, line: '- x: bar at least 0.3x, got 0.300x: **met**' },
    { side: 'at least', limit: 0.3, got: 0.29, line: '- x: bar at least 0.3x, got 0.290x: **missed**' },
    { side: 'at most', limit: 1, got: undefined, line: '- x: bar at most 1x, not measured' },
  ] as const)('a bar $side $limit that got $got', ({ line, ...bar }) => {
    expect(barLine({ what: 'x', unit: 'x', ...bar })).toBe(line);
  });

  test('a table refuses a row with a cell too few, and escapes what would end a cell', () => {
    expect(() => table(['a', 'b'], [['1']])).toThrow(RangeError);
    expect(table(['a'], [['x|y']])).toBe('| a |\n| --- |\n| x\\|y |');
  });
});

describe('columnTable', () => {
  const jobs = [{ key: 'find', label: 'find', unit: 'ms', shown: (seconds: number) => seconds * 1000 }];

  test('cells are medians in the unit of the row, with the ratio beside the first column', () => {
    const { markdown } = columnTable(jobs, {
      ext4: [{ find: 0.1 }, { find: 0.3 }, { find: 0.2 }],
      peel: [{ find: 0.05 }, { find: 0.15 }, { find: 0.1 }],
    });
    expect(markdown.split('\n').at(-1)).toBe('| find (ms) | 200 | 100 (0.50x) |');
  });

  test('a figure that a round did not give is an error, not a blank', () => {
    expect(() => columnTable(jobs, { ext4: [{ find: 1 }], peel: [{}] })).toThrow(
      'peel has no figure for find',
    );
  });
});

describe('arguments', () => {
  test('without any, all groups run five times and nothing is written', () => {
    expect(parseArguments([])).toEqual({ runs: 5, only: GROUPS, write: false, help: false, columns: [] });
  });

  test('groups run in the order of the document, whatever the order they are named in', () => {
    expect(parseArguments(['--only', 'memory,bytes', '--runs', '1', '--write'])).toMatchObject({
      runs: 1,
      only: ['bytes', 'memory'],
      write: true,
    });
  });

  test('a column has a name and the flags of the mount', () => {
    const { columns } = parseArguments(['--column', 'passthrough=--transport native --opt=1']);
    expect(columns).toEqual([{ name: 'peel, passthrough', flags: ['--transport', 'native', '--opt=1'] }]);
  });

  test.each([
    [['--runs', '0']],
    [['--runs', 'many']],
    [['--runs', '1.5']],
    [['--runs']],
    [['--only', 'bytes,nothing']],
    [['--column', '=flags']],
    [['--fast']],
    [['data']],
  ])('%j is refused', (words) => {
    expect(() => parseArguments(words)).toThrow();
  });
});
