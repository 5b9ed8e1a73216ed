/**
 * Puts mutated inputs of one set to their readers, in a process of its own: node mutate-process.js SET SEED COUNT
 * PROGRESS. Says in one line of JSON what became of them; a case that ends in anything but a documented error or a
 * right result ends the process. PROGRESS is a file that names the case that runs, for whoever finds the process dead.
 */
import { createHash } from 'node:crypto';
import { openSync, writeSync } from 'node:fs';
import { randomNumbers } from '../support/random-numbers.ts';
import { mutated, withChecksums } from './mutations.ts';
import type { Form } from './readers.ts';
import { type MutatedSet, type Seed, seedsOf } from './seeds.ts';
import { Watch } from './watch.ts';

/** Sums set right again, so that readers look at what they hold. */
function withSums(form: Form, bytes: Buffer): Buffer {
  if (form === 'tar') return withChecksums(bytes);
  if (form !== 'toc') return bytes;
  const end = Math.max(0, bytes.length - 32);
  return Buffer.concat([
    bytes.subarray(0, end),
    createHash('sha256').update(bytes.subarray(0, end)).digest(),
  ]);
}

const [set, firstSeed, count, progress] = process.argv.slice(2) as [MutatedSet, string, string, string];
const seeds = await seedsOf(set);
const watch = new Watch();
for (const { form, bytes } of seeds)
  if (typeof (await watch.outcomeOf(form, bytes)) === 'string')
    throw new Error(`${form}: a seed is not sound`);
const progressFile = openSync(progress, 'w');
const outcomes: Record<string, number> = {};
watch.begin();
for (let number = Number(firstSeed); number < Number(firstSeed) + Number(count); number += 1) {
  writeSync(progressFile, String(number).padEnd(16), 0);
  const random = randomNumbers(number);
  const seed = seeds[Math.floor(random() * seeds.length)] as Seed;
  const changed = mutated(seed.bytes, random);
  const bytes = random() < 0.7 ? withSums(seed.form, changed) : changed;
  const outcome = await watch.outcomeOf(seed.form, bytes, String(number));
  const word = typeof outcome === 'string' ? outcome : 'right';
  outcomes[word] = (outcomes[word] ?? 0) + 1;
}
process.stdout.write(`${JSON.stringify({ outcomes, ...watch.end() })}\n`);
