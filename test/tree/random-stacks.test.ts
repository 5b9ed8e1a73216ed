/**
 * Random stacks of layers, merged from real tars, against two references: a model written from the specification, and
 * `umoci unpack`. PEEL_STACKS and PEEL_SEED choose how many and which; a failure prints its seed and a shrunk stack.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import { contentFrom, rowsOf } from '../support/listing.ts';
import { randomStack, type Stack } from '../support/random-stack.ts';
import { readLayer } from '../support/read-layer.ts';
import { describeStack } from '../support/shrink-stack.ts';
import { modelled, type Outcome, report, same } from '../support/stack-outcomes.ts';
import { writeTar } from '../support/tar-bytes.ts';
import { storedAndMapped } from '../support/tree-snapshot.ts';
import { rowsOnDisk, UmociLayout, umociProblem, xattrsBelow } from '../support/umoci.ts';

const COUNT = Number(process.env['PEEL_STACKS'] ?? 200);
const FIRST_SEED = Number(process.env['PEEL_SEED'] ?? 1);
const SEEDS = Array.from({ length: COUNT }, (_, index) => FIRST_SEED + index);
const BATCH = 50;
/** The slowest that a stack may be on a busy machine of 2 cores; the usual is a tenth. */
const STACK_MS = 2000;

async function merged(stack: Stack): Promise<Outcome> {
  try {
    const layers = await Promise.all(
      stack.map((members, index) => {
        const tar = writeTar(members).bytes;
        return readLayer(index % 2 === 0 ? tar : gzipSync(tar));
      }),
    );
    const tree = mergeLayers(layers.map(({ entries }) => entries));
    return rowsOf(await storedAndMapped(tree), contentFrom(layers.map(({ tar }) => tar)));
  } catch (error) {
    if (isPeelError(error, 'ERR_LAYER_INVALID')) {
      return 'refused';
    }
    throw error;
  }
}

/** umoci leaves times of directories at "now" in places, and counts and sizes of directories are the disk's. */
function comparableWithDisk(outcome: Outcome): Outcome {
  return outcome === 'refused'
    ? outcome
    : outcome.map((row) => ({
        ...row,
        implied: false,
        ...(row.kind === 'dir' ? { mtime: '', size: 0, nlink: 0 } : {}),
      }));
}

describe('random stacks', () => {
  test(`${COUNT} stacks from seed ${FIRST_SEED} merge to what the model of the specification says`, {
    timeout: COUNT * STACK_MS,
  }, async () => {
    for (const seed of SEEDS) {
      const { stack, isPoisoned } = randomStack(seed);
      const actual = await merged(stack);
      if (!same(actual, modelled(stack))) {
        await report(seed, stack, async (candidate) => [await merged(candidate), modelled(candidate)]);
      }
      expect(actual === 'refused', `seed ${seed}`).toBe(isPoisoned);
    }
  });

  const problem = umociProblem();
  describe.skipIf(problem !== undefined)(
    `with umoci${problem === undefined ? '' : ` (skipped: ${problem})`}`,
    () => {
      let folder = '';
      beforeAll(() => {
        folder = mkdtempSync(path.join(tmpdir(), 'peel-stacks-'));
      });
      afterAll(() => {
        rmSync(folder, { recursive: true, force: true });
      });

      /** Unpacks stacks by tag, two at a time, and lists them. */
      async function unpacked(stacks: ReadonlyMap<string, Stack>): Promise<Map<string, Outcome>> {
        const batch = mkdtempSync(path.join(folder, 'batch-'));
        const images = path.join(batch, 'images');
        const trees = path.join(batch, 'trees');
        mkdirSync(images);
        mkdirSync(trees);
        try {
          const layout = new UmociLayout(images);
          for (const [tag, stack] of stacks) {
            layout.add(
              tag,
              stack.map((members) => writeTar(members).bytes),
            );
          }
          const refusals = new Map<string, string | undefined>();
          const tags = stacks.keys();
          const work = async (): Promise<void> => {
            for (const tag of tags) {
              refusals.set(tag, await layout.unpack(tag, path.join(trees, tag)));
            }
          };
          await Promise.all([work(), work()]);
          const xattrs = xattrsBelow(trees);
          return new Map(
            [...stacks.keys()].map((tag) => [
              tag,
              refusals.get(tag) === undefined ? rowsOnDisk(path.join(trees, tag), xattrs) : 'refused',
            ]),
          );
        } finally {
          rmSync(batch, { recursive: true, force: true });
        }
      }

      test(`${COUNT} stacks from seed ${FIRST_SEED} merge to what umoci unpacks`, {
        timeout: COUNT * STACK_MS,
      }, async () => {
        let compared = 0;
        for (let from = 0; from < SEEDS.length; from += BATCH) {
          const stacks = new Map(
            SEEDS.slice(from, from + BATCH).map((seed) => [`s${seed}`, randomStack(seed)] as const),
          );
          const outcomes = await unpacked(new Map([...stacks].map(([tag, { ordered }]) => [tag, ordered])));
          for (const [tag, { stack, ordered }] of stacks) {
            const expected = comparableWithDisk(outcomes.get(tag) ?? 'refused');
            const actual = comparableWithDisk(await merged(stack));
            if (!same(actual, expected)) {
              await report(Number(tag.slice(1)), ordered, async (candidate) => [
                comparableWithDisk(await merged(candidate)),
                comparableWithDisk((await unpacked(new Map([['one', candidate]]))).get('one') ?? 'refused'),
              ]);
              expect(actual, `${tag}, only with its whiteouts elsewhere:\n${describeStack(stack)}`).toEqual(
                expected,
              );
            }
            compared += 1;
          }
        }
        expect(compared).toBe(COUNT);
      });
    },
  );
});
