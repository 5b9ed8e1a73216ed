/**
 * A process that reads made-up layers over a cache directory, as one mount among several would. Run by
 * processes.test.ts in its compiled form:
 *
 *   node cache-process.js FOLDER SEED ROUNDS MAX_SIZE [no-descriptors]
 *
 * Reads random spans of three layers for so many rounds (0: until it is killed). Writes `reading` once it does,
 * and one line of JSON when it is done, or has seen a wrong byte or an error.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { sha256 } from '../../src/native.ts';
import { openCachedReader } from './cached-reader.ts';

const [folder = '', seedText = '1', roundsText = '0', maxSizeText = '1e9', trouble = ''] =
  process.argv.slice(2);
const rounds = Number(roundsText) || Number.POSITIVE_INFINITY;
let state = Number(seedText) * 7919 + 1;

function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state % below;
}

async function main(): Promise<string> {
  const layers = await Promise.all(
    [1, 2, 3].map((seed) =>
      openCachedReader(folder, {
        seed,
        size: 600_000,
        spanSize: 20_000,
        cacheLimits: { maxSize: Number(maxSizeText) },
      }),
    ),
  );
  if (trouble === 'no-descriptors') {
    // The addon is a file, and a server has loaded it by the time that it runs out of descriptors.
    await sha256(Buffer.alloc(0));
    const open = readdirSync('/proc/self/fd').length;
    execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${open - 1}`], { timeout: 10_000 });
  }
  let read = 0;
  for (let round = 0; round < rounds; round += 1) {
    const picks = Array.from({ length: 8 }, () => ({ layer: layers[random(3)], span: random(30) }));
    const areRight = await Promise.all(
      picks.map(async ({ layer, span }) => (await layer?.isRight(span)) === true),
    );
    if (areRight.includes(false)) return JSON.stringify({ wrong: picks[areRight.indexOf(false)]?.span });
    if (read === 0) process.stdout.write('reading\n');
    read += picks.length;
  }
  await Promise.all(layers.map((layer) => layer.close()));
  const fetched = layers.reduce((sum, { reader }) => sum + reader.stats.fetchedSpans, 0);
  const fromDisk = layers.reduce((sum, { reader }) => sum + reader.stats.diskHits, 0);
  return JSON.stringify({ read, fetched, fromDisk });
}

main().then(
  (line) => process.stdout.write(`${line}\n`),
  (error: unknown) => process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`),
);
