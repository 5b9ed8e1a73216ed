// Group `bytes`: what is fetched from a registry for a job, counted by a proxy in front of the registry.
import { rmSync } from 'node:fs';
import { countingProxy } from '../../counting-proxy.mjs';
import { run, secondsOf } from '../command.mjs';
import { digits, megabytes, percent, table } from '../format.mjs';
import { layersOf } from '../images.mjs';
import { Peel } from '../peel.mjs';
import { registryWith } from '../registry.mjs';
import { interleaved, median } from '../statistics.mjs';

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureBytes({ scratch, runs, base }) {
  const registry = await registryWith(scratch, base);
  const proxy = await countingProxy(registry.address);
  const closeProxy = scratch.onClose('closing the proxy', () => proxy.close());
  const image = `${proxy.address}/${registry.repository}`;
  const imageBytes = layersOf(base).reduce((sum, layer) => sum + layer.size, 0);

  /** @type {Record<string, (peel: Peel) => Promise<unknown>>} */
  const jobs = {
    'ls /': (peel) => peel.run(['ls', image, '/']),
    'cat /etc/os-release': (peel) => peel.run(['cat', image, '/etc/os-release']),
    "mount, python3 -c 'print(1)', umount": async (peel) => {
      const { folder, unmount } = await peel.mount(image, 'bytes');
      await run(scratch, ['chroot', folder, '/usr/bin/python3', '-c', 'print(1)']);
      await unmount();
    },
  };
  const contestants = Object.fromEntries(
    Object.entries(jobs).map(([name, job]) => [
      name,
      async (round) => {
        const peel = new Peel(scratch, `bytes-${round}`);
        const counted = async () => {
          proxy.reset();
          const seconds = await secondsOf(() => job(peel));
          return { ...proxy.counts, seconds };
        };
        const first = await counted();
        // The index stays, the cached spans go: what a host pays that got the index from elsewhere.
        await peel.run(['cache', 'prune', '--content']);
        const indexed = await counted();
        rmSync(peel.cacheDir, { recursive: true, force: true });
        return { first, indexed };
      },
    ]),
  );
  const rounds = await interleaved(runs, contestants);
  await closeProxy();
  await registry.close();

  const figure = (name, when, counts) => ({
    name,
    when,
    requests: median(counts.map((count) => count.requests)),
    bytes: median(counts.map((count) => count.bytes)),
    seconds: median(counts.map((count) => count.seconds)),
  });
  const results = Object.entries(rounds).flatMap(([name, each]) => [
    figure(
      name,
      'first time',
      each.map((round) => round.first),
    ),
    figure(
      name,
      'index at hand',
      each.map((round) => round.indexed),
    ),
  ]);
  return {
    title: 'Bytes and requests',
    intro: [
      `A registry on loopback, ${layersOf(base).length} layers, ${megabytes(imageBytes)} MB compressed. Bytes are those of response bodies, and requests are counted, by \`scripts/counting-proxy.mjs\`, not by peel. First time: an empty cache. Index at hand: the same again without the content that was cached.`,
    ],
    tables: [
      {
        name: 'bytes',
        title: '',
        markdown: table(
          ['job', 'when', 'requests', 'MB fetched', 'of the image', 'seconds'],
          results.map(({ name, when, requests, bytes, seconds }) => [
            `\`${name}\``,
            when,
            requests,
            megabytes(bytes),
            percent(bytes, imageBytes),
            digits(seconds),
          ]),
        ),
        plot: {
          title: 'MB fetched: shorter is better',
          rows: Object.keys(jobs).map((name) => ({
            label: name.length > 26 ? `${name.slice(0, 25)}…` : name,
            bars: [
              { series: 'the whole image', value: imageBytes, text: megabytes(imageBytes) },
              ...results
                .filter((result) => result.name === name)
                .map(({ when, bytes }) => ({
                  series: `peel, ${when}`,
                  value: bytes,
                  text: megabytes(bytes),
                })),
            ],
          })),
        },
      },
    ],
    bars: [],
  };
}
