// `npm run bench`: what peel costs beside the ways there are without it, on images built on this machine. One file a
// group below scripts/bench/groups; `npm run bench -- --help` has the flags. Needs root: caches are dropped, file
// systems mounted. Leaves nothing behind but the images below the user's cache folder, also on Ctrl-C.
import path from 'node:path';
import { parseArguments, USAGE } from './bench/arguments.mjs';
import { run } from './bench/command.mjs';
import { machineLine } from './bench/context.mjs';
import { measureBytes } from './bench/groups/bytes.mjs';
import { measureContainer } from './bench/groups/container.mjs';
import { measureData } from './bench/groups/data.mjs';
import { measureFirstLook } from './bench/groups/first-look.mjs';
import { measureIndex } from './bench/groups/index.mjs';
import { measureMemory } from './bench/groups/memory.mjs';
import { measureMetadata } from './bench/groups/metadata.mjs';
import { measureStart } from './bench/groups/start.mjs';
import { baseImage, manyEntriesImage } from './bench/images.mjs';
import { mountColumns } from './bench/peel.mjs';
import { Probe } from './bench/probe.mjs';
import { sectionText, writeReport } from './bench/report.mjs';
import { Scratch } from './bench/scratch.mjs';
import { absence, missingPrograms } from './bench/stargz.mjs';
import { build } from './build.mjs';

const root = path.resolve(import.meta.dirname, '..');

const MEASURE = {
  bytes: measureBytes,
  'first-look': measureFirstLook,
  metadata: measureMetadata,
  data: measureData,
  container: measureContainer,
  start: measureStart,
  index: measureIndex,
  memory: measureMemory,
};

const say = (text) => process.stderr.write(`bench: ${text}\n`);

async function measure(scratch, options) {
  const packages = path.join(root, 'scripts', 'system-packages.sh');
  await run(scratch, ['bash', packages, 'build', 'mount', 'image', 'demo', 'bench']);
  if (build() !== 0) throw new Error('the build failed');
  say('images (the first time takes minutes)');
  const probe = await Probe.compile(scratch);
  const base = await baseImage(scratch);
  const small = await manyEntriesImage(scratch, 200);
  const { columns, missing } = await mountColumns(scratch, small.reference, options.columns);
  say(`peel is mounted as: ${columns.map(({ name }) => name).join('; ')}`);
  const stargzMissing = missingPrograms();
  for (const line of absence(stargzMissing)) say(line);
  const context = { scratch, runs: options.runs, probe, base, columns, missing, stargzMissing };

  const results = new Map();
  for (const group of options.only) {
    say(group);
    const started = Date.now();
    const section = await MEASURE[group](context);
    const machine = machineLine(group, options.runs);
    results.set(group, { section, machine });
    process.stdout.write(`${sectionText(section, machine)}\n\n`);
    say(`${group}: ${Math.round((Date.now() - started) / 1000)} s`);
  }
  if (options.write) writeReport(path.join(root, 'docs'), results);
}

async function main() {
  let options;
  try {
    options = parseArguments(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${error.message}\n\n${USAGE}`);
    return 2;
  }
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (process.geteuid?.() !== 0) {
    say('needs root: it mounts file systems and drops the kernel caches');
    return 1;
  }
  const scratch = new Scratch(process.env.PEEL_BENCH_DIR ?? '/var/tmp');
  let interrupted = 0;
  const signals = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };
  for (const [signal, status] of Object.entries(signals)) {
    process.on(signal, () => {
      if (interrupted !== 0) return;
      interrupted = status;
      say(`${signal}: cleaning up`);
      void scratch.close().then(() => process.exit(status));
    });
  }
  let status = 0;
  try {
    await measure(scratch, options);
  } catch (error) {
    if (interrupted === 0) say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    status = 1;
  }
  const left = await scratch.close();
  if (interrupted === 0) for (const line of left) say(`left behind, and removed: ${line}`);
  return interrupted !== 0 ? interrupted : left.length > 0 ? 1 : status;
}

process.exitCode = await main();
