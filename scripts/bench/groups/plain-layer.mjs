// A layer that is no more than a tar, of 1 GiB, through a slow line: listed by its headers alone, and by the pass over all
// of it. A part of the group `first-look`.
import { rmSync } from 'node:fs';
import { slowProxy } from '../../slow-proxy.mjs';
import { secondsOf } from '../command.mjs';
import { digits, megabytes, table, times } from '../format.mjs';
import { plainLayerImage } from '../images.mjs';
import { Peel } from '../peel.mjs';
import { registryWith } from '../registry.mjs';
import { interleaved, median, medianRatio } from '../statistics.mjs';

const WAYS = {
  'all of the layer': [],
  '--allow-unverified, by its headers': ['--allow-unverified'],
};

/**
 * @param {import('../scratch.mjs').Scratch} scratch
 * @param {number} runs
 * @param {{roundTripMs: number, megabits: number}} line
 * @returns {Promise<import('../report.mjs').MeasuredTable>}
 */
export async function measurePlainLayer(scratch, runs, line) {
  const image = await plainLayerImage(scratch);
  const registry = await registryWith(scratch, image);
  const proxy = await slowProxy(registry.address, line);
  const closeProxy = scratch.onClose('closing the slow line', () => proxy.close());
  const listing = (flags) => async (round) => {
    const peel = new Peel(scratch, `plain-${round}`);
    proxy.reset();
    const seconds = await secondsOf(() =>
      peel.run(['ls', '-q', ...flags, `${proxy.address}/${image.tag}`, '/']),
    );
    rmSync(peel.cacheDir, { recursive: true, force: true });
    return { seconds, bytes: proxy.counts.bytes };
  };
  const rounds = await interleaved(
    runs,
    Object.fromEntries(Object.entries(WAYS).map(([name, flags]) => [name, listing(flags)])),
  );
  await closeProxy();
  await registry.close();
  const secondsIn = (name) => (rounds[name] ?? []).map(({ seconds }) => seconds);
  const [whole = ''] = Object.keys(WAYS);
  const figures = Object.keys(WAYS).map((name) => ({
    name,
    seconds: median(secondsIn(name)),
    ratio: medianRatio(secondsIn(name), secondsIn(whole)),
    bytes: median((rounds[name] ?? []).map(({ bytes }) => bytes)),
  }));
  const title = `peel ls of a plain tar of 1 GiB, ${line.roundTripMs} ms, ${line.megabits} Mbit/s, seconds to the end`;
  return {
    name: 'first-look-plain',
    title:
      'A layer of 1 GiB that is a plain tar of 64 files, behind the same line: `peel ls /`, nothing cached',
    markdown: table(
      ['', 'seconds', 'beside', 'MB arrived'],
      figures.map(({ name, seconds, ratio, bytes }) => [
        name,
        digits(seconds),
        times(ratio),
        megabytes(bytes),
      ]),
    ),
    plot: {
      title: `${title}: shorter is better`,
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
  };
}
