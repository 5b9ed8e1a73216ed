// Group `start`: from nothing to the first output of a program in a container, through a slow line: without an index,
// with one, and with a profile of what an earlier start read; beside a pull, an unpack and a chroot.
import { rmSync } from 'node:fs';
import { slowProxy } from '../../slow-proxy.mjs';
import { run } from '../command.mjs';
import { firstOutput, pull } from '../first-output.mjs';
import { digits, megabytes, table, times } from '../format.mjs';
import { Peel } from '../peel.mjs';
import { registryWith } from '../registry.mjs';
import { interleaved, median, medianRatio } from '../statistics.mjs';

/** As the bars of the issue name it. */
const LINE = { roundTripMs: 50, megabits: 100 };
const PROGRAMS = {
  python3: ['python3', '-c', 'print(1)'],
  node: ['node', '-e', 'console.log(1)'],
};
const PULL = 'skopeo copy, umoci unpack, chroot';
const WAYS = ['nothing cached', 'index at hand', 'index and profile'];

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureStart({ scratch, runs, base }) {
  const registry = await registryWith(scratch, base);
  const line = await slowProxy(registry.address, LINE);
  const closeLine = scratch.onClose('closing the slow line', () => line.close());
  const image = `${line.address}/${base.tag}`;
  const figures = [];
  for (const [program, command] of Object.entries(PROGRAMS))
    figures.push(...(await measureProgram(scratch, runs, line, image, program, command)));
  await closeLine();
  await registry.close();
  return {
    title: 'From nothing to the first output',
    intro: [
      `Seconds from \`peel run\` to the first byte that the program writes, through ${LINE.roundTripMs} ms and ${LINE.megabits} Mbit/s. Nothing cached: every layer is fetched, verified and indexed first. Index at hand: the same again without the content that was cached, and with \`--no-profile\`. Index and profile: the same with what the first start read [fetched ahead](PROFILES.md).`,
    ],
    tables: [
      {
        name: 'start',
        title: '',
        markdown: table(
          ['', 'seconds', 'beside a pull', 'MB arrived by then'],
          figures.map(({ name, seconds, ratio, bytes }) => [
            `\`${name}\``,
            digits(seconds),
            times(ratio),
            megabytes(bytes),
          ]),
        ),
        plot: {
          title: `${LINE.roundTripMs} ms, ${LINE.megabits} Mbit/s, seconds to the first output: shorter is better`,
          rows: [
            {
              label: 'seconds',
              bars: figures.map(({ name, seconds, ratio }) => ({
                series: name,
                value: seconds,
                text: `${digits(seconds)} (${times(ratio)})`,
              })),
            },
          ],
        },
      },
    ],
    bars: [],
    notes: ['The slow line is `scripts/slow-proxy.mjs`, which counts the bytes that arrive.'],
  };
}

async function measureProgram(scratch, runs, line, image, program, command) {
  const rounds = await interleaved(runs, {
    peel: async (round) => {
      const peel = new Peel(scratch, `start-${program}-${round}`);
      const prune = () => peel.run(['cache', 'prune', '--content']);
      const start = (flags) =>
        firstOutput(line, (options) => peel.run(['run', '--rm', ...flags, image, ...command], options));
      // It is noted, too: the profile of the third.
      const first = await start([]);
      await prune();
      const indexed = await start(['--no-profile']);
      await prune();
      const replayed = await start([]);
      rmSync(peel.cacheDir, { recursive: true, force: true });
      return [first, indexed, replayed];
    },
    [PULL]: () =>
      pull(scratch, image, line, (rootfs) => run(scratch, ['chroot', rootfs, ...command], { quiet: true })),
  });
  const pulls = rounds[PULL] ?? [];
  const figure = (name, results) => ({
    name,
    seconds: median(results.map((result) => result.seconds)),
    ratio: medianRatio(
      results.map((result) => result.seconds),
      pulls.map((result) => result.seconds),
    ),
    bytes: median(results.map((result) => result.bytes)),
  });
  const ofPeel = WAYS.map((way, at) =>
    figure(
      `peel run ${program}, ${way}`,
      (rounds.peel ?? []).map((round) => round[at]),
    ),
  );
  return [...ofPeel, figure(`${PULL} ${program}`, pulls)];
}
