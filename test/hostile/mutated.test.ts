/**
 * Mutated input (FAULTS section 5): each case ends in a right result or a documented error, in a process that is
 * watched for its end, memory, time and open files. PEEL_MUTATED (cases in each set) and PEEL_SEED choose.
 */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Compiled, compile } from '../blob/compiled.ts';
import { useTempDirs } from '../support/temp-dirs.ts';
import { MUTATED_SETS } from './seeds.ts';
import { type Cost, excess } from './watch.ts';

const COUNT = Number(process.env['PEEL_MUTATED'] ?? 300);
const FIRST_SEED = Number(process.env['PEEL_SEED'] ?? 1);
/** Of a case on a busy machine; the usual is a hundredth. */
const CASE_MS = 100;
const START_MS = 60_000;
/** Whatever a reader says that refuses; anything else, an internal error above all, is a finding. */
const DOCUMENTED = new Set([
  'right',
  'unusable index',
  'unusable TOC',
  'ERR_LAYER_INVALID',
  'ERR_LIMIT_EXCEEDED',
  'ERR_UNSUPPORTED',
  'ERR_DOCUMENT_INVALID',
  'ERR_DIGEST_MISMATCH',
]);

interface Result extends Cost {
  readonly outcomes: Readonly<Record<string, number>>;
}

describe('mutated input', () => {
  const makeDir = useTempDirs();
  let compiled: Compiled | undefined;
  beforeAll(async () => {
    compiled = await compile(['test/hostile/mutate-process.ts']);
  });
  afterAll(() => compiled?.remove());

  test.each(MUTATED_SETS)(
    `${COUNT} cases of %s from seed ${FIRST_SEED} end in a right result or a documented error`,
    {
      timeout: 2 * START_MS + COUNT * CASE_MS,
    },
    async (set) => {
      const result = await run(set);
      if (process.env['PEEL_MUTATED'] !== undefined)
        process.stderr.write(`${set} ${JSON.stringify(result)}\n`);
      const { outcomes } = result;
      expect(Object.keys(outcomes).filter((outcome) => !DOCUMENTED.has(outcome))).toEqual([]);
      expect(Object.values(outcomes).reduce((sum, count) => sum + count, 0)).toBe(COUNT);
      // Damage that a reader never sees, or that it always dies of at once, would prove nothing.
      if (COUNT >= 100) expect(Object.keys(outcomes).length).toBeGreaterThan(1);
      expect(excess(result)).toEqual([]);
    },
  );

  async function run(set: string): Promise<Result> {
    const program = compiled?.fileOf('test/hostile/mutate-process.ts') ?? '';
    const progress = path.join(makeDir(), 'progress');
    writeFileSync(progress, String(FIRST_SEED));
    try {
      const { stdout, stderr } = await promisify(execFile)(
        process.execPath,
        [program, set, String(FIRST_SEED), String(COUNT), progress],
        { timeout: START_MS + COUNT * CASE_MS, killSignal: 'SIGKILL' },
      );
      expect(stderr).toBe('');
      return JSON.parse(stdout) as Result;
    } catch (error) {
      const seed = readFileSync(progress, 'utf8').trim();
      throw new Error(`${set}, PEEL_SEED=${seed} PEEL_MUTATED=1`, { cause: error });
    }
  }
});
