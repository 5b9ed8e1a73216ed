// Group `metadata`: names and attributes, with the kernel's caches empty and full.
import { writeFileSync } from 'node:fs';
import { checkSameTree, openBackings } from '../backings.mjs';
import { columnTable, ratioOf } from '../columns.mjs';
import { run } from '../command.mjs';
import { dropKernelCaches } from '../probe.mjs';
import { absence } from '../stargz.mjs';
import { interleaved, median } from '../statistics.mjs';

const STAT_PASSES = 6;

const JOBS = [
  { key: 'findCold', label: 'find, cold', unit: 'ms', shown: (seconds) => seconds * 1e3 },
  { key: 'findWarm', label: 'find, warm', unit: 'ms', shown: (seconds) => seconds * 1e3 },
  { key: 'lsCold', label: 'ls -lR, cold', unit: 'ms', shown: (seconds) => seconds * 1e3 },
  { key: 'lsWarm', label: 'ls -lR, warm', unit: 'ms', shown: (seconds) => seconds * 1e3 },
  { key: 'statCold', label: 'lstat of all, cold', unit: 'µs each' },
  { key: 'statWarm', label: 'lstat of all, warm', unit: 'µs each' },
];

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureMetadata({ scratch, runs, probe, columns, missing, stargzMissing, base }) {
  const others = ['layers', 'split', ...(stargzMissing.length === 0 ? ['stargz'] : [])];
  const backings = await openBackings(scratch, base, columns, others);
  const entries = await checkSameTree(scratch, backings);
  const list = scratch.path('names');
  // Sorted: the order of no file system in particular.
  const names = await run(scratch, ['find', '.', '-mindepth', '1', '-print0'], {
    cwd: backings[0]?.folder,
  });
  writeFileSync(list, `${names.split('\0').filter(Boolean).sort().join('\0')}\0`);

  const rounds = await interleaved(
    runs,
    Object.fromEntries(
      backings.map(({ name, folder }) => [name, () => measureOnce(scratch, probe, folder, list)]),
    ),
  );
  for (const backing of backings) await backing.close();

  const { markdown, rows } = columnTable(JOBS, rounds);
  const ext4 = backings[0]?.name;
  const [layers, split] = backings.filter(({ kind }) => kind === 'overlay').map(({ name }) => name);
  const peel = backings.find(({ kind }) => kind === 'peel')?.name;
  const atMost = (what, limit, key, beside) => ({
    what,
    side: 'at most',
    limit,
    got: ratioOf(rounds, peel, beside, key),
    unit: 'x',
  });
  return {
    title: 'Metadata: `find`, `ls -lR`, `lstat`',
    intro: [
      `${entries} entries, the same tree in every column (names, types, modes, owners and link targets are compared first). In brackets: beside the first column. Cold: after \`sync\` and \`drop_caches\`, which takes the inodes, directory entries and pages of all of them, mounts' too; peel's server keeps running, and its tree is in its cache. Warm: the same again at once. Overlayfs stands once over the image's own layers, once over the same files dealt out so that every folder is merged of all lowers. The paths of the \`lstat\` storm are sorted by name.`,
    ],
    tables: [{ name: 'metadata', title: '', markdown, plot: { title: 'Metadata: shorter is faster', rows } }],
    bars: [
      ...['find', 'ls -lR'].flatMap((command) => {
        const key = command === 'find' ? 'findCold' : 'lsCold';
        return [
          [split, 0.6],
          [layers, 0.6],
          [ext4, 1],
        ].map(([beside, limit]) =>
          atMost(`cold \`${command}\`, ${peel} beside ${beside}`, limit, key, beside),
        );
      }),
      atMost(`warm stat, ${peel} beside ${ext4}`, 1.6, 'statWarm', ext4),
    ],
    notes: [
      ...(missing.length > 0 ? [`Not in this peel: ${missing.join(', ')}.`] : []),
      ...absence(stargzMissing),
    ],
  };
}

async function measureOnce(scratch, probe, folder, list) {
  const seconds = async (...words) => (await probe.run(words, { cwd: folder })).seconds;
  await dropKernelCaches(scratch);
  const findCold = await seconds('find', '.');
  const findWarm = await seconds('find', '.');
  await dropKernelCaches(scratch);
  const lsCold = await seconds('ls', '-lRn', '.');
  const lsWarm = await seconds('ls', '-lRn', '.');
  await dropKernelCaches(scratch);
  const { passes, count } = await probe.stat(folder, list, STAT_PASSES);
  const [first = 0, ...others] = passes.map((pass) => (pass / count) * 1e6);
  return { findCold, findWarm, lsCold, lsWarm, statCold: first, statWarm: median(others) };
}
