// Group `bytes`: what is fetched from a registry for a job, counted by a proxy in front of the registry.
import { rmSync } from 'node:fs';
import { countingProxy } from '../../counting-proxy.mjs';
import { run, secondsOf } from '../command.mjs';
import { digits, megabytes, percent, table } from '../format.mjs';
import { layersOf, sizeOf } from '../images.mjs';
import { Peel } from '../peel.mjs';
import { registryWith } from '../registry.mjs';
import { absence, estargzImage, STARGZ, Stargz } from '../stargz.mjs';
import { interleaved, median } from '../statistics.mjs';

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureBytes({ scratch, runs, base, stargzMissing }) {
  const converted = stargzMissing.length === 0 ? await estargzImage(scratch, base) : undefined;
  const registry = await registryWith(scratch, base, ...(converted === undefined ? [] : [converted]));
  const proxy = await countingProxy(registry.address);
  const closeProxy = scratch.onClose('closing the proxy', () => proxy.close());
  const image = `${proxy.address}/${base.tag}`;
  const imageBytes = sizeOf(base);
  const counted = async (job) => {
    proxy.reset();
    const seconds = await secondsOf(job);
    return { ...proxy.counts, seconds };
  };

  // What peel does, and the words that look into a folder where something else has mounted the image.
  const python = (folder) => ['chroot', folder, '/usr/bin/python3', '-c', 'print(1)'];
  /** @type {Record<string, {look: (peel: Peel) => Promise<unknown>, inFolder: (folder: string) => string[]}>} */
  const jobs = {
    'ls /': { look: (peel) => peel.run(['ls', image, '/']), inFolder: (folder) => ['ls', folder] },
    'cat /etc/os-release': {
      look: (peel) => peel.run(['cat', image, '/etc/os-release']),
      inFolder: (folder) => ['cat', `${folder}/etc/os-release`],
    },
    "mount, python3 -c 'print(1)', umount": {
      look: async (peel) => {
        const { folder, unmount } = await peel.mount(image, 'bytes', ['--no-profile']);
        await run(scratch, python(folder));
        await unmount();
      },
      inFolder: python,
    },
  };
  const withPeel = async (job, round) => {
    const peel = new Peel(scratch, `bytes-${round}`);
    const first = await counted(() => job.look(peel));
    // The index stays, the cached spans go: what a host pays that got the index from elsewhere.
    await peel.run(['cache', 'prune', '--content']);
    const indexed = await counted(() => job.look(peel));
    rmSync(peel.cacheDir, { recursive: true, force: true });
    return { 'peel, first time': first, 'peel, index at hand': indexed };
  };
  const withStargz = async (job) => {
    const stargz = await Stargz.start(scratch, 'bytes');
    const first = await counted(async () => {
      const { folder, unmount } = await stargz.mount(converted, proxy.address, 'bytes-stargz');
      await run(scratch, job.inFolder(folder));
      await unmount();
    });
    await stargz.close();
    return { [`${STARGZ}, eStargz`]: first };
  };
  const rounds = await interleaved(
    runs,
    Object.fromEntries(
      Object.entries(jobs).map(([name, job]) => [
        name,
        async (round) => ({
          ...(await withPeel(job, round)),
          ...(converted === undefined ? {} : await withStargz(job)),
        }),
      ]),
    ),
  );
  await closeProxy();
  await registry.close();

  const results = Object.entries(rounds).flatMap(([name, each]) =>
    Object.keys(each[0] ?? {}).map((who) => {
      const middle = (key) => median(each.map((round) => round[who][key]));
      return { name, who, requests: middle('requests'), bytes: middle('bytes'), seconds: middle('seconds') };
    }),
  );
  return {
    title: 'Bytes and requests',
    intro: [
      `A registry on loopback, ${layersOf(base).length} layers, ${megabytes(imageBytes)} MB compressed. Bytes are those of response bodies, and requests are counted, by \`scripts/counting-proxy.mjs\`, not by peel. First time: an empty cache. Index at hand: the same again without the content that was cached.`,
      ...(converted === undefined
        ? []
        : [
            `The ${STARGZ} is given the same image converted to eStargz, ${megabytes(sizeOf(converted))} MB, whose layers bring their index; every job is a lazy pull and a mount of it with nothing cached.`,
          ]),
    ],
    tables: [
      {
        name: 'bytes',
        title: '',
        markdown: table(
          ['job', 'by', 'requests', 'MB fetched', 'of the image', 'seconds'],
          results.map(({ name, who, requests, bytes, seconds }) => [
            `\`${name}\``,
            who,
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
                .map(({ who, bytes }) => ({
                  series: who,
                  value: bytes,
                  text: megabytes(bytes),
                })),
            ],
          })),
        },
      },
    ],
    bars: [],
    notes: absence(stargzMissing),
  };
}
