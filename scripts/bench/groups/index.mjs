// Group `index`: the first pass over a gzip layer, beside what else one can do with it.
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { digits, megabytes, percent, table, times } from '../format.mjs';
import { layersOf, squashedImage } from '../images.mjs';
import { Peel } from '../peel.mjs';
import { interleaved, median, medianRatio } from '../statistics.mjs';

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureIndex({ scratch, runs, probe, base }) {
  const image = await squashedImage(scratch, base);
  const [layer] = layersOf(image);
  if (layer === undefined) throw new Error(`${image.reference} has no layer`);
  const unpacked = scratch.path('untarred');
  let indexBytes = 0;

  const peel = 'peel ls, nothing cached';
  const gunzip = 'gzip -dc';
  const untar = 'tar xzf to the disk';
  const contestants = {
    [peel]: async (round) => {
      const { env, cacheDir } = new Peel(scratch, `index-${round}`);
      const result = await probe.run(Peel.words('ls', image.reference, '/'), { env });
      indexBytes = bytesBelow(cacheDir);
      // The restart points alone come to more: without them this is not the time of indexing.
      if (indexBytes < layer.size / 1000) throw new Error(`peel ls has left no index in ${cacheDir}`);
      rmSync(cacheDir, { recursive: true, force: true });
      return result;
    },
    [gunzip]: () => probe.run(['gzip', '-dc', layer.file]),
    'tar tzf': () => probe.run(['tar', 'tzf', layer.file]),
    [untar]: async () => {
      mkdirSync(unpacked);
      const result = await probe.run(['tar', '-xzf', layer.file, '-C', unpacked]);
      rmSync(unpacked, { recursive: true, force: true });
      return result;
    },
  };
  // Once unmeasured: the layer is in the page cache for everybody.
  const { bytes: tarBytes } = await contestants[gunzip]();
  const rounds = await interleaved(runs, contestants);

  const seconds = (name) => (rounds[name] ?? []).map((round) => round.seconds);
  const figures = Object.entries(rounds).map(([name, results]) => ({
    name,
    wall: median(seconds(name)),
    cpu: median(results.map((result) => result.cpu)),
    peak: median(results.map((result) => result.peakBytes)),
    ratio: medianRatio(seconds(name), seconds(gunzip)),
  }));
  return {
    title: 'Indexing a layer',
    intro: [
      `One gzip layer (\`gzip -6\`), ${megabytes(layer.size)} MB compressed, ${megabytes(tarBytes)} MB of tar, in the page cache. peel: the whole process, Node's start included, from an empty cache: both digests, tar headers, restart points, sha256 of every span, all of it stored. What it stores, the merged tree included, takes ${megabytes(indexBytes)} MB, ${percent(indexBytes, layer.size)} of the layer. Standard output goes into a pipe that is read and dropped.`,
    ],
    tables: [
      {
        name: 'index',
        title: '',
        markdown: table(
          ['', 'wall (s)', `beside ${gunzip}`, 'processor (s)', 'peak memory (MB)'],
          figures.map(({ name, wall, cpu, peak, ratio }) => [
            `\`${name}\``,
            digits(wall),
            times(ratio),
            digits(cpu),
            megabytes(peak),
          ]),
        ),
        plot: {
          title: `Seconds over one gzip layer of ${megabytes(layer.size)} MB: shorter is faster`,
          rows: [
            {
              label: 'wall (s)',
              bars: figures.map(({ name, wall, ratio }) => ({
                series: name,
                value: wall,
                text: `${digits(wall)} (${times(ratio)})`,
              })),
            },
          ],
        },
      },
    ],
    bars: [
      {
        what: `indexing with both digests beside \`${gunzip}\``,
        side: 'at most',
        limit: 0.5,
        got: medianRatio(seconds(peel), seconds(gunzip)),
        unit: 'x',
      },
      {
        what: `the same beside \`${untar}\``,
        side: 'at most',
        limit: 0.3,
        got: medianRatio(seconds(peel), seconds(untar)),
        unit: 'x',
      },
    ],
  };
}

function bytesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(path.join(entry.parentPath, entry.name)).blocks * 512, 0);
}
