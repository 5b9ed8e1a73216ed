// Group `data`: file content that is in peel's cache, through the mount, with the kernel's page cache empty and full;
// and content that is in no cache.
import path from 'node:path';
import { checkSameTree, openBackings } from '../backings.mjs';
import { columnTable, ratioOf } from '../columns.mjs';
import { fill, isLazy } from '../fill.mjs';
import { largeFileImage } from '../images.mjs';
import { measureMisses } from '../misses.mjs';
import { PASSTHROUGH } from '../peel.mjs';
import { dropKernelCaches } from '../probe.mjs';
import { absence } from '../stargz.mjs';
import { interleaved } from '../statistics.mjs';

const RANDOM_READS = 20_000;
const RANDOM_PAGES = 20_000;

const SMALL_JOBS = [
  { key: 'tarCold', label: 'tar of all files, cold', unit: 's' },
  { key: 'tarWarm', label: 'tar of all files, warm', unit: 's' },
  { key: 'execCold', label: 'python3 -c, cold', unit: 'ms', shown: (seconds) => seconds * 1e3 },
  { key: 'execWarm', label: 'python3 -c, warm', unit: 'ms', shown: (seconds) => seconds * 1e3 },
];

const LARGE_JOBS = [
  { key: 'readCold', label: '1 GiB read, cold', unit: 'MB/s' },
  { key: 'readBacking', label: '1 GiB read, backing warm', unit: 'MB/s' },
  { key: 'readWarm', label: '1 GiB read, warm', unit: 'MB/s' },
  { key: 'random', label: '4 KiB random reads', unit: 'k/s' },
  { key: 'mmap', label: 'mmap, random pages', unit: 'k/s' },
];

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureData(asked) {
  const context = { ...asked, columns: [...asked.columns, PASSTHROUGH] };
  const { scratch, probe, base, stargzMissing } = context;
  const small = await measureImage(context, base, (backing) => smallFiles(scratch, probe, backing));
  const large = await measureImage(context, await largeFileImage(scratch), (backing) =>
    largeFile(scratch, probe, backing),
  );
  const misses = await measureMisses(context);
  const [ext4] = small.names;
  const peel = context.columns[0]?.name;
  return {
    title: 'Data: small files, one large file, misses',
    intro: [
      'In the first two tables everything is in the cache of peel and of the stargz snapshotter: one `tar` of the mount ran before. Cold: after `sync` and `drop_caches`, so the disk is read, cache files too. Backing warm: the pages of the mounted file are dropped and those of the cache file behind it are not; the two file systems of the kernel have one copy of a page and show what they do warm; random reads and pages are measured in this state. Warm: the same again at once. Passthrough: `peel mount --passthrough`, with backing files made of all files of 1 MiB and more. In brackets: beside the first column. In the third, the image is in a registry on loopback, its index at hand and none of its bytes; the delay of the event loop is what a timer of 1 ms came late in the server.',
    ],
    tables: [
      {
        name: 'small-files',
        title: `Small files, ${small.entries} entries`,
        ...plotted(small, SMALL_JOBS, 'Small files: shorter is faster'),
      },
      {
        name: 'large-file',
        title: 'One file of 1 GiB',
        ...plotted(large, LARGE_JOBS, 'One file of 1 GiB: longer is faster'),
      },
      misses.table,
    ],
    bars: [
      {
        what: `\`tar\` of all files, warm, ${peel} beside ${ext4}`,
        side: 'at most',
        limit: 1.2,
        got: ratioOf(small.rounds, peel, ext4, 'tarWarm'),
        unit: 'x',
      },
      ...[peel, ...large.names.filter((name) => name.includes('passthrough'))].map((name) => ({
        what: `sequential read of a cached 1 GiB file, ${name} beside ${ext4}`,
        side: 'at least',
        limit: name?.includes('passthrough') ? 0.9 : 0.3,
        got: ratioOf(large.rounds, name, ext4, 'readBacking'),
        unit: 'x',
      })),
      ...misses.bars,
    ],
    notes: absence(stargzMissing),
  };
}

function plotted({ rounds }, jobs, title) {
  const { markdown, rows } = columnTable(jobs, rounds);
  return { markdown, plot: { title, rows } };
}

async function measureImage({ scratch, runs, columns, stargzMissing }, image, measure) {
  const others = ['layers', ...(stargzMissing.length === 0 ? ['stargz'] : [])];
  const backings = await openBackings(scratch, image, columns, others);
  const entries = await checkSameTree(scratch, backings);
  const rounds = await interleaved(
    runs,
    Object.fromEntries(backings.map((backing) => [backing.name, () => measure(backing)])),
  );
  for (const backing of backings) await backing.close();
  return { entries, rounds, names: backings.map(({ name }) => name) };
}

async function smallFiles(scratch, probe, backing) {
  const { folder } = backing;
  const seconds = async (...words) => (await probe.run(words)).seconds;
  const tar = () => seconds('tar', 'cf', '-', '-C', folder, '.');
  const python = () => seconds('chroot', folder, '/usr/bin/python3', '-c', 'pass');
  await fill(backing, tar);
  await dropKernelCaches(scratch);
  const tarCold = await tar();
  const tarWarm = await tar();
  await dropKernelCaches(scratch);
  const execCold = await python();
  const execWarm = await python();
  return { tarCold, tarWarm, execCold, execWarm };
}

async function largeFile(scratch, probe, backing) {
  const file = path.join(backing.folder, 'large');
  const speed = async () => {
    const { seconds, bytes } = await probe.read(file);
    return bytes / seconds / 1e6;
  };
  const rate = ({ seconds, count }) => count / seconds / 1e3;
  const dropOwn = async () => {
    if (isLazy(backing)) await probe.drop(file);
  };
  await fill(backing, speed);
  await dropKernelCaches(scratch);
  const readCold = await speed();
  await dropOwn();
  const readBacking = await speed();
  const readWarm = await speed();
  await dropOwn();
  const random = rate(await probe.random(file, RANDOM_READS));
  await dropOwn();
  const mmap = rate(await probe.mmap(file, RANDOM_PAGES));
  return { readCold, readBacking, readWarm, random, mmap };
}
