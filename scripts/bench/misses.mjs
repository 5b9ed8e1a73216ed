// A hundred readers of what is not cached: every file of the image once, through a mount that has its index and none
// of its bytes. How long that takes, and how long the event loop of the server keeps others waiting meanwhile.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { run } from './command.mjs';
import { digits, table } from './format.mjs';
import { Peel } from './peel.mjs';
import { dropKernelCaches } from './probe.mjs';
import { registryWith } from './registry.mjs';
import { estargzImage, STARGZ, Stargz } from './stargz.mjs';
import { interleaved, median } from './statistics.mjs';

const READERS = 100;
const LOOP_DELAY = pathToFileURL(path.join(import.meta.dirname, 'loop-delay.mjs')).href;
const WAIT_MS = 10_000;
const LOOK_MS = 20;
/** Of the issue: 99.9 of 100 turns of the event loop come within this. */
const LIMIT_MS = 50;

const DELAYS = { p50: 'p50', p99: 'p99', p999: 'p99.9', max: 'longest' };

/**
 * @param {import('./context.mjs').Context} context
 * @returns {Promise<{table: import('./report.mjs').MeasuredTable, bars: import('./format.mjs').Bar[]}>}
 */
export async function measureMisses({ scratch, runs, probe, columns, base, stargzMissing }) {
  const converted = stargzMissing.length === 0 ? await estargzImage(scratch, base) : undefined;
  const registry = await registryWith(scratch, base, ...(converted === undefined ? [] : [converted]));
  const list = scratch.path('files');
  const prepare = async (folder) => {
    const names = await run(scratch, ['find', '.', '-type', 'f', '-size', '+0', '-print0'], { cwd: folder });
    writeFileSync(list, names);
    await dropKernelCaches(scratch);
  };
  const contestants = Object.fromEntries(
    columns.map(({ name, flags }, number) => [
      name,
      async (round) => {
        const cache = `misses-${number}-${round}`;
        const figures = scratch.path(`${cache}.json`);
        const env = { NODE_OPTIONS: `--import=${LOOP_DELAY}`, BENCH_LOOP_DELAY: figures };
        const peel = new Peel(scratch, cache, env);
        const image = `${registry.address}/${base.tag}`;
        await peel.run(['ls', image, '/'], { quiet: true });
        await peel.run(['cache', 'prune', '--content'], { quiet: true });
        const { folder, pid, unmount } = await peel.mount(image, cache, [...flags, '--no-profile']);
        await prepare(folder);
        process.kill(pid, 'SIGUSR2');
        const read = await probe.readers(folder, list, READERS);
        process.kill(pid, 'SIGUSR2');
        const delay = await whenWritten(figures);
        await unmount();
        rmSync(peel.cacheDir, { recursive: true, force: true });
        return { ...read, delay };
      },
    ]),
  );
  if (converted !== undefined) {
    contestants[STARGZ] = async () => {
      const stargz = await Stargz.start(scratch, 'misses');
      const { folder, unmount } = await stargz.mount(converted, registry.address, 'misses');
      await prepare(folder);
      const read = await probe.readers(folder, list, READERS);
      await unmount();
      await stargz.close();
      return read;
    };
  }
  const rounds = await interleaved(runs, contestants);
  await registry.close();
  return { table: tableOf(rounds), bars: [barOf(rounds, columns[0]?.name ?? '')] };
}

async function whenWritten(file) {
  for (let waited = 0; !existsSync(file); waited += LOOK_MS) {
    if (waited > WAIT_MS) throw new Error(`the server wrote no ${path.basename(file)}`);
    await sleep(LOOK_MS);
  }
  return JSON.parse(readFileSync(file, 'utf8'));
}

function tableOf(rounds) {
  const rows = Object.entries(rounds).map(([name, each]) => {
    const seconds = median(each.map((round) => round.seconds));
    const speed = median(each.map((round) => round.bytes / round.seconds / 1e6));
    const delay = (key) =>
      each[0]?.delay === undefined ? '' : digits(median(each.map((round) => round.delay[key])));
    return { name, seconds, cells: [digits(seconds), digits(speed), ...Object.keys(DELAYS).map(delay)] };
  });
  return {
    name: 'misses',
    title: `${READERS} readers of what is not cached`,
    markdown: table(
      ['', 'seconds', 'MB/s', ...Object.values(DELAYS).map((label) => `event loop, ${label} (ms)`)],
      rows.map(({ name, cells }) => [name, ...cells]),
    ),
    plot: {
      title: `Every file once, by ${READERS} readers, nothing cached: shorter is faster`,
      rows: [
        {
          label: 'seconds',
          bars: rows.map(({ name, seconds }) => ({ series: name, value: seconds, text: digits(seconds) })),
        },
      ],
    },
  };
}

function barOf(rounds, peel) {
  return {
    what: `delay of the event loop, 99.9 of 100, ${READERS} readers of what is not cached, ${peel}`,
    side: 'at most',
    limit: LIMIT_MS,
    got: median((rounds[peel] ?? []).map((round) => round.delay.p999)),
    unit: ' ms',
  };
}
