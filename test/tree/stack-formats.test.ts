/**
 * Random stacks in all forms that layers come in: each is read by its own reader and must merge to what the model of
 * the specification says (and that to what umoci unpacks: random-stacks.test.ts). PEEL_STACKS and PEEL_SEED choose.
 */
import { expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import { isSaidByIndex } from '../support/chunked-layer.ts';
import { contentFrom, rowsOf } from '../support/listing.ts';
import { randomStack, type Stack } from '../support/random-stack.ts';
import { asSaidByEstargz, readStack, STACK_FORMATS, type StackFormat } from '../support/stack-formats.ts';
import { modelled, type Outcome, report, same } from '../support/stack-outcomes.ts';

const COUNT = Number(process.env['PEEL_STACKS'] ?? 100);
const FIRST_SEED = Number(process.env['PEEL_SEED'] ?? 1);
/** The slowest that a stack may be on a busy machine of 2 cores; the usual is a tenth. */
const STACK_MS = 2000;

async function merged(stack: Stack, format: StackFormat): Promise<Outcome> {
  try {
    const layers = await readStack(stack, format);
    const tree = mergeLayers(layers.map(({ entries }) => entries));
    return rowsOf(tree, contentFrom(layers.map(({ tar }) => tar)));
  } catch (error) {
    if (isPeelError(error, 'ERR_LAYER_INVALID')) return 'refused';
    throw error;
  }
}

function expected(stack: Stack, format: StackFormat): Outcome {
  return modelled(format === 'estargz' ? asSaidByEstargz(stack) : stack);
}

test.each(STACK_FORMATS)(
  `${COUNT} stacks from seed ${FIRST_SEED} as %s merge to what the model says`,
  {
    timeout: COUNT * STACK_MS,
  },
  async (format) => {
    let saidByIndex = 0;
    for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed += 1) {
      const { stack } = randomStack(seed);
      saidByIndex += stack.filter(isSaidByIndex).length;
      if (!same(await merged(stack, format), expected(stack, format))) {
        await report(seed, stack, async (candidate) => [
          await merged(candidate, format),
          expected(candidate, format),
        ]);
        expect.fail(`seed ${seed}: one side alone refuses it`);
      }
    }
    // A generator whose layers all fall back to the pass would prove nothing about indexes.
    if (COUNT >= 50) expect(saidByIndex).toBeGreaterThan(COUNT);
  },
);
