// Group `first-look`: from nothing to the first output, beside a pull and an unpack; on a registry next door and
// through a slow line.
import { rmSync } from 'node:fs';
import path from 'node:path';
import { slowProxy } from '../../slow-proxy.mjs';
import { run } from '../command.mjs';
import { firstOutput, pull } from '../first-output.mjs';
import { digits, megabytes, table, times } from '../format.mjs';
import { Peel } from '../peel.mjs';
import { registryWith } from '../registry.mjs';
import { absence, estargzImage, STARGZ, Stargz } from '../stargz.mjs';
import { interleaved, median, medianRatio } from '../statistics.mjs';
import { measurePlainLayer } from './plain-layer.mjs';

/** A home in a well-connected country, to a registry in the same part of the world. */
const LINE = { roundTripMs: 20, megabits: 100 };
/** A pull takes long over the slow line, and the line does not drift. */
const SLOW_RUNS = 3;

const PULL = 'skopeo copy, umoci unpack';
const lazyPull = (job) => `${STARGZ}: rpull, mount, ${job}`;
/**
 * What is looked at, by `peel COMMAND FLAGS IMAGE FILE`. Those with a flag are shown for the first time alone: with
 * the index at hand it changes nothing. `os-release` is in the lowest of eight layers, `f20` in the seventh.
 */
const JOBS = {
  'ls /': { command: 'ls', flags: [], file: '/' },
  'cat /etc/os-release': { command: 'cat', flags: [], file: '/etc/os-release' },
  ...Object.fromEntries(
    ['/etc/os-release', '/app/f20'].flatMap((file) =>
      ['progressive', 'strict'].map((verify) => [
        `cat --verify ${verify} ${file}`,
        { command: 'cat', flags: ['--verify', verify], file },
      ]),
    ),
  ),
};

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureFirstLook({ scratch, runs, base, stargzMissing }) {
  const images = { base };
  if (stargzMissing.length === 0) images.converted = await estargzImage(scratch, base);
  const registry = await registryWith(scratch, ...Object.values(images));
  const straight = { address: registry.address, reset() {}, counts: { bytes: 0 } };
  const near = await measureThrough(scratch, runs, straight, images);
  const line = await slowProxy(registry.address, LINE);
  const closeLine = scratch.onClose('closing the slow line', () => line.close());
  const far = await measureThrough(scratch, Math.min(runs, SLOW_RUNS), line, images);
  await closeLine();
  await registry.close();
  const plain = await measurePlainLayer(scratch, Math.min(runs, SLOW_RUNS), LINE);

  const rowsOf = ({ figures }, withBytes) =>
    figures.map(({ name, seconds, ratio, bytes }) => [
      `\`${name}\``,
      digits(seconds),
      times(ratio),
      ...(withBytes ? [megabytes(bytes)] : []),
    ]);
  const plotOf = ({ figures }, title) => ({
    title,
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
  });
  return {
    title: 'First look',
    intro: [
      'Seconds from starting the command to its first byte of output; of a pull, to its end. First time: nothing cached, so every layer is fetched, verified and indexed. Index at hand: the same again without the content that was cached. `cat` is progressive unless told: it reads layers from the top down, no further than it must, and writes a file while its layer comes in; with `--verify strict` it writes when all layers are verified. `/etc/os-release` is in the lowest of the eight layers, `/app/f20` in the seventh. The stargz snapshotter is given the same image converted to eStargz, whose layers bring their index; its daemons run already.',
    ],
    tables: [
      {
        name: 'first-look-near',
        title: 'A registry on loopback',
        markdown: table(['', 'seconds', 'beside a pull'], rowsOf(near, false)),
        plot: plotOf(near, 'Registry on loopback, seconds to the first output: shorter is better'),
      },
      {
        name: 'first-look-far',
        title: `The same registry behind ${LINE.roundTripMs} ms and ${LINE.megabits} Mbit/s, median of ${Math.min(runs, SLOW_RUNS)}`,
        markdown: table(['', 'seconds', 'beside a pull', 'MB arrived by then'], rowsOf(far, true)),
        plot: plotOf(
          far,
          `${LINE.roundTripMs} ms, ${LINE.megabits} Mbit/s, seconds to the first output: shorter is better`,
        ),
      },
      plain,
    ],
    bars: [],
    notes: [
      'The slow line is `scripts/slow-proxy.mjs`, which counts the bytes that arrive.',
      ...absence(stargzMissing),
    ],
  };
}

async function measureThrough(scratch, runs, line, { base, converted }) {
  const image = `${line.address}/${base.tag}`;
  const contestants = {};
  for (const [name, { command, flags, file }] of Object.entries(JOBS)) {
    contestants[name] = async (round) => {
      const peel = new Peel(scratch, `look-${round}`);
      const look = (options) => peel.run([command, ...flags, image, file], options);
      const first = await firstOutput(line, look);
      const figures = { first };
      if (flags.length === 0) {
        await peel.run(['cache', 'prune', '--content']);
        figures.indexed = await firstOutput(line, look);
      }
      rmSync(peel.cacheDir, { recursive: true, force: true });
      return figures;
    };
    if (converted !== undefined && flags.length === 0)
      contestants[lazyPull(name)] = async () => {
        const stargz = await Stargz.start(scratch, 'look');
        const first = await firstOutput(line, async (options) => {
          const { folder, unmount } = await stargz.mount(converted, line.address, 'look');
          await run(scratch, [command, path.join(folder, file)], options);
          await unmount();
        });
        await stargz.close();
        return { first };
      };
  }
  contestants[PULL] = async () => ({ first: await pull(scratch, image, line) });
  const rounds = await interleaved(runs, contestants);

  const pulls = (rounds[PULL] ?? []).map((round) => round.first.seconds);
  const figure = (name, results) => ({
    name,
    seconds: median(results.map((result) => result.seconds)),
    ratio: medianRatio(
      results.map((result) => result.seconds),
      pulls,
    ),
    bytes: median(results.map((result) => result.bytes)),
  });
  const of = (name, when) => (rounds[name] ?? []).map((round) => round[when]);
  const figures = Object.entries(JOBS).flatMap(([name, { flags }]) => {
    const first = figure(`peel ${name}, first time`, of(name, 'first'));
    if (flags.length > 0) return [first];
    return [
      first,
      figure(`peel ${name}, index at hand`, of(name, 'indexed')),
      ...(converted === undefined ? [] : [figure(lazyPull(name), of(lazyPull(name), 'first'))]),
    ];
  });
  return { figures: [...figures, figure(PULL, of(PULL, 'first'))] };
}
