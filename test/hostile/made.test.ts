/** Hostile input made by hand (FAULTS section 5, B1 to B4): each ends as the table says, in a process that is watched. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Compiled, compile } from '../blob/compiled.ts';
import { MADE_SETS } from './made/made-sets.ts';
import type { Outcome } from './readers.ts';
import { type Cost, excess } from './watch.ts';

const START_MS = 120_000;

describe('hostile input made by hand', () => {
  let compiled: Compiled | undefined;
  const outcomes = new Map<string, Outcome>();
  let cost: Cost | undefined;
  let errors = '';

  beforeAll(async () => {
    compiled = await compile(['test/hostile/made-process.ts']);
    const program = compiled.fileOf('test/hostile/made-process.ts');
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [program], {
      timeout: START_MS,
      killSignal: 'SIGKILL',
      maxBuffer: 1 << 28,
    }).catch((error: unknown) => error as { stdout: string; stderr: string });
    errors = stderr;
    for (const line of stdout.trimEnd().split('\n')) {
      const value = JSON.parse(line) as [string, string, Outcome] | Cost;
      if (Array.isArray(value)) outcomes.set(`${value[0]}: ${value[1]}`, value[2]);
      else cost = value;
    }
  }, 2 * START_MS);
  afterAll(() => compiled?.remove());

  test('has names of its own', () => {
    for (const cases of Object.values(MADE_SETS))
      expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  });

  test('takes at most 1 s of the processor for a MiB and 300 MiB of memory, and leaves no file open', () => {
    expect(errors).toBe('');
    expect(cost === undefined ? ['the process did not end by itself'] : excess(cost)).toEqual([]);
  });

  for (const [set, cases] of Object.entries(MADE_SETS))
    test.each(cases.map(({ name, expected }) => [name, expected]))(`${set}: %s`, (name, expected) => {
      expect(outcomes.get(`${set}: ${name}`)).toEqual(expected);
    });
});
