// Group `first-look`: from nothing to the first output, beside a pull and an unpack; on a registry next door and
// through a slow line.
import { rmSync } from 'node:fs';
import { slowProxy } from '../../slow-proxy.mjs';
import { run, secondsOf } from '../command.mjs';
import { digits, megabytes, table, times } from '../format.mjs';
import { Peel } from '../peel.mjs';
import { registryWith } from '../registry.mjs';
import { interleaved, median, medianRatio } from '../statistics.mjs';

/** A home in a well-connected country, to a registry in the same part of the world. */
const LINE = { roundTripMs: 20, megabits: 100 };
/** A pull takes long over the slow line, and the line does not drift. */
const SLOW_RUNS = 3;

const PULL = 'skopeo copy, umoci unpack';
const JOBS = { 'ls /': ['ls', '/'], 'cat /etc/os-release': ['cat', '/etc/os-release'] };

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureFirstLook({ scratch, runs, base }) {
  const registry = await registryWith(scratch, base);
  const near = await measureThrough(
    scratch,
    runs,
    { address: registry.address, reset() {}, counts: { bytes: 0 } },
    registry.repository,
  );
  const line = await slowProxy(registry.address, LINE);
  const closeLine = scratch.onClose('closing the slow line', () => line.close());
  const far = await measureThrough(scratch, Math.min(runs, SLOW_RUNS), line, registry.repository);
  await closeLine();
  await registry.close();

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
      'Seconds from starting the command to its first byte of output; of a pull, to its end. First time: nothing cached, so every layer is fetched, verified and indexed. Index at hand: the same again without the content that was cached.',
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
    ],
    bars: [],
    notes: ['The slow line is `scripts/slow-proxy.mjs`, which counts the bytes that arrive.'],
  };
}

async function measureThrough(scratch, runs, line, repository) {
  const image = `${line.address}/${repository}`;
  const contestants = {};
  for (const [name, [command = '', file = '']] of Object.entries(JOBS)) {
    contestants[name] = async (round) => {
      const peel = new Peel(scratch, `look-${round}`);
      const first = await firstOutput(peel, [command, image, file], line);
      await peel.run(['cache', 'prune', '--content']);
      const indexed = await firstOutput(peel, [command, image, file], line);
      rmSync(peel.cacheDir, { recursive: true, force: true });
      return { first, indexed };
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
  const figures = Object.keys(JOBS).flatMap((name) => [
    figure(`peel ${name}, first time`, of(name, 'first')),
    figure(`peel ${name}, index at hand`, of(name, 'indexed')),
  ]);
  return { figures: [...figures, figure(PULL, of(PULL, 'first'))] };
}

/** @returns {Promise<{seconds: number, bytes: number}>} at the first byte that the command writes */
async function firstOutput(peel, args, line) {
  let seen;
  line.reset();
  const started = process.hrtime.bigint();
  await peel.run(args, {
    onFirstOutput: () => {
      seen = { seconds: Number(process.hrtime.bigint() - started) / 1e9, bytes: line.counts.bytes };
    },
  });
  if (seen === undefined) throw new Error(`peel ${args.join(' ')} wrote nothing`);
  return seen;
}

async function pull(scratch, image, line) {
  const layout = scratch.path('pulled');
  line.reset();
  const seconds = await secondsOf(async () => {
    await run(
      scratch,
      ['skopeo', 'copy', '-q', '--src-tls-verify=false', `docker://${image}`, `oci:${layout}:x`],
      {
        quiet: true,
      },
    );
    await run(scratch, ['umoci', 'unpack', '--image', `${layout}:x`, `${layout}/bundle`], { quiet: true });
  });
  const { bytes } = line.counts;
  rmSync(layout, { recursive: true, force: true });
  return { seconds, bytes };
}
