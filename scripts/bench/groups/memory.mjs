// Group `memory`: what an idle mount holds, and how long a known image takes to be mounted again.
import { readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../command.mjs';
import { digits, megabytes, table } from '../format.mjs';
import { manyEntriesImage } from '../images.mjs';
import { Peel } from '../peel.mjs';
import { interleaved, median } from '../statistics.mjs';

const SIZES = [20_000, 200_000];
/** Until the server has done what it does after a mount. */
const SETTLE_MS = 2000;

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureMemory({ scratch, runs, columns }) {
  const contestants = {};
  for (const entries of SIZES) {
    const { reference } = await manyEntriesImage(scratch, entries);
    for (const [number, { name, flags }] of columns.entries()) {
      const label = `${name}, ${entries / 1000},000 entries`;
      contestants[label] = (round) =>
        measureOnce(scratch, reference, flags, `memory-${entries}-${number}-${round}`);
    }
  }
  const rounds = await interleaved(runs, contestants);
  const middle = (label, key) => median((rounds[label] ?? []).map((round) => round[key]));
  const labels = Object.keys(contestants);
  const [smallest = '', largest = ''] = [labels[0], labels[columns.length]];
  return {
    title: 'Memory of a mount',
    intro: [
      'The server of one mount, two seconds after it answered: PSS (pages shared with other processes count in parts) and RSS (they count whole), then PSS after a `find` of the mount. The image was mounted once before, so its index is in the cache; "mount again" is the time until `peel mount` has printed the mount point. Four generated layers, twenty entries a folder.',
    ],
    tables: [
      {
        name: 'memory',
        title: '',
        markdown: table(
          ['', 'PSS (MB)', 'RSS (MB)', 'PSS after `find` (MB)', 'first mount (s)', 'mount again (s)'],
          labels.map((label) => [
            label,
            ...['pss', 'rss', 'pssWalked'].map((key) => megabytes(middle(label, key))),
            ...['firstSeconds', 'againSeconds'].map((key) => digits(middle(label, key))),
          ]),
        ),
        plot: {
          title: 'Memory and time of a mount: shorter is better',
          rows: [
            ['PSS (MB)', 'pss', (value) => value / 1e6],
            ['mount again (s)', 'againSeconds', (value) => value],
          ].map(([label, key, shown]) => ({
            label,
            bars: labels.map((series) => {
              const value = shown(middle(series, key));
              return { series, value, text: digits(value) };
            }),
          })),
        },
      },
    ],
    bars: [
      {
        what: `idle memory, ${smallest}`,
        side: 'at most',
        limit: 90,
        got: middle(smallest, 'pss') / 1e6,
        unit: ' MB',
      },
      {
        what: `added by ten times the entries, ${largest}`,
        side: 'at most',
        limit: 100,
        got: (middle(largest, 'pss') - middle(smallest, 'pss')) / 1e6,
        unit: ' MB',
      },
      {
        what: `mounted again, ${largest}`,
        side: 'at most',
        limit: 1,
        got: middle(largest, 'againSeconds'),
        unit: ' s',
      },
    ],
  };
}

async function measureOnce(scratch, image, flags, name) {
  const peel = new Peel(scratch, name);
  const first = await peel.mount(image, name, flags);
  await first.unmount();
  const { pid, folder, unmount, seconds } = await peel.mount(image, name, flags);
  await sleep(SETTLE_MS);
  const { pss, rss } = memoryOf(pid);
  await run(scratch, ['find', '.'], { cwd: folder, quiet: true });
  const { pss: pssWalked } = memoryOf(pid);
  await unmount();
  rmSync(peel.cacheDir, { recursive: true, force: true });
  return { firstSeconds: first.seconds, againSeconds: seconds, pss, rss, pssWalked };
}

/** @param {number} pid @returns {{pss: number, rss: number}} bytes */
function memoryOf(pid) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const bytes = (name) => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text);
    if (found === null) throw new Error(`/proc/${pid}/smaps_rollup has no ${name}`);
    return Number(found[1]) * 1024;
  };
  return { pss: bytes('Pss'), rss: bytes('Rss') };
}
