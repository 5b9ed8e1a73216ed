// Group `container`: from `runc run` to the end of a short program, on a container's own file system: the kernel's
// overlayfs with a writable upper folder, over the image as a folder of the disk, as unpacked layers, and as a mount.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { checkSameTree, openBackings } from '../backings.mjs';
import { columnTable } from '../columns.mjs';
import { run } from '../command.mjs';
import { fill } from '../fill.mjs';
import { PASSTHROUGH } from '../peel.mjs';
import { dropKernelCaches } from '../probe.mjs';
import { absence } from '../stargz.mjs';
import { interleaved } from '../statistics.mjs';

const PROGRAMS = {
  python3: { command: ['/usr/bin/python3', '-c', 'print(1)'], words: "python3 -c 'print(1)'" },
  node: { command: ['/usr/bin/node', '-e', 'console.log(1)'], words: "node -e 'console.log(1)'" },
};

const milliseconds = (seconds) => seconds * 1e3;
const JOBS = Object.entries(PROGRAMS).flatMap(([program, { words }]) =>
  ['cold', 'warm'].map((when) => ({
    key: `${program} ${when}`,
    label: `${words}, ${when}`,
    unit: 'ms',
    shown: milliseconds,
  })),
);

/**
 * @param {import('../context.mjs').Context} context
 * @returns {Promise<import('../report.mjs').Section>}
 */
export async function measureContainer({ scratch, runs, probe, columns, base, stargzMissing }) {
  const others = ['layers', ...(stargzMissing.length === 0 ? ['stargz'] : [])];
  const backings = await openBackings(scratch, base, [...columns, PASSTHROUGH], others);
  await checkSameTree(scratch, backings);
  const containers = [];
  for (const [number, backing] of backings.entries())
    containers.push({ backing, ...(await openContainer(scratch, backing, number)) });
  const rounds = await interleaved(
    runs,
    Object.fromEntries(
      containers.map(({ backing, start }) => [
        backing.name,
        async () => {
          await fill(backing, () => probe.run(['tar', 'cf', '-', '-C', backing.folder, '.']));
          const figures = {};
          for (const program of Object.keys(PROGRAMS)) {
            await dropKernelCaches(scratch);
            // The timed program itself, whatever image it starts.
            await run(scratch, ['sh', '-c', 'cat "$(command -v runc)"'], { quiet: true });
            figures[`${program} cold`] = (await probe.run(start(program))).seconds;
            figures[`${program} warm`] = (await probe.run(start(program))).seconds;
          }
          return figures;
        },
      ]),
    ),
  );
  for (const { backing, close } of containers) {
    await close();
    await backing.close();
  }
  const { markdown, rows } = columnTable(JOBS, rounds);
  return {
    title: 'Start of a container',
    intro: [
      'From `runc run` to its end: namespaces, mounts, the program and its exit. The root of the container is overlayfs with an upper folder on the disk, over the file system that the column names; over the layers where it names layers. Everything is in the cache of peel and of the stargz snapshotter: one `tar` of the mount ran before. Cold: after `sync` and `drop_caches`, but for `runc` itself. Warm: the same again at once. Passthrough: `peel mount --passthrough`, with backing files made of all files of 1 MiB and more. No cgroup is mounted in the container. In brackets: beside the first column.',
    ],
    tables: [
      {
        name: 'container',
        title: '',
        markdown,
        plot: { title: 'Start of a container: shorter is faster', rows },
      },
    ],
    bars: [],
    notes: absence(stargzMissing),
  };
}

/**
 * A container's own file system over a backing, and a bundle of runc for each program.
 * @param {import('../scratch.mjs').Scratch} scratch
 * @param {import('../backings.mjs').Backing} backing
 * @param {number} number
 * @returns {Promise<{start: (program: string) => string[], close: () => Promise<void>}>} start: the words that run it
 */
async function openContainer(scratch, { folder, lowers = { base: '/', names: [folder] } }, number) {
  const place = scratch.path(`container-${number}`);
  const root = path.join(place, 'root');
  for (const name of ['root', 'upper', 'work', ...Object.keys(PROGRAMS)])
    mkdirSync(path.join(place, name), { recursive: true });
  const runc = ['--root', path.join(place, 'state')];
  const container = `${scratch.mark}-${number}`;
  const close = scratch.onClose(`unmounting ${root}`, () => {
    // There is one when a start was cut short.
    spawnSync('runc', [...runc, 'delete', '--force', container], { stdio: 'ignore' });
    spawnSync('umount', ['--lazy', root], { stdio: 'ignore' });
  });
  const options = `lowerdir=${lowers.names.join(':')},upperdir=${place}/upper,workdir=${place}/work`;
  // Relative names of the lower folders: the option string is limited to a page.
  await run(scratch, ['mount', '-t', 'overlay', 'overlay', '-o', options, root], { cwd: lowers.base });
  for (const [program, { command }] of Object.entries(PROGRAMS))
    await writeBundle(scratch, path.join(place, program), root, command);
  return {
    start: (program) => ['runc', ...runc, 'run', '--bundle', path.join(place, program), container],
    close,
  };
}

/** What `runc spec` says of a container, with this root and command. */
async function writeBundle(scratch, bundle, root, command) {
  await run(scratch, ['runc', 'spec', '--bundle', bundle]);
  const file = path.join(bundle, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8'));
  Object.assign(config.process, { terminal: false, args: command });
  config.root = { path: root, readonly: false };
  // A host may have none that runc can mount.
  config.mounts = config.mounts.filter(({ type }) => type !== 'cgroup');
  writeFileSync(file, JSON.stringify(config));
}
