// Small layers for the fuzzer to begin with: `node scripts/fuzz-layers.mjs FOLDER`. The form of an input is in
// native/fuzz/scanner_fuzz.cc. Needs GNU tar and the programs zstd, xz and bzip2.
import { spawnSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: fuzz-layers.mjs FOLDER');

const BLOB = 0;
const TAR_TO_REPEAT = 2;
const TAR_TO_COMPRESS = 3;

/** One input; `cuts` are lengths of writes. */
const input = (form, copies, cuts, bytes) =>
  Buffer.concat([
    Buffer.of(form, copies - 1, cuts.length - 1),
    Buffer.from(Uint16Array.from(cuts).buffer),
    bytes,
  ]);

function run(program, args, options) {
  const { status, stdout, stderr } = spawnSync(program, args, { timeout: 10_000, ...options });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const root = mkdtempSync(path.join(os.tmpdir(), 'peel-fuzz-'));
const tars = {};
try {
  const long = 'd/'.repeat(60);
  mkdirSync(path.join(root, long), { recursive: true });
  writeFileSync(path.join(root, 'file'), 'what a file has in it\n'.repeat(20));
  const name = long + 'n'.repeat(90);
  writeFileSync(path.join(root, name), 'x');
  linkSync(path.join(root, 'file'), path.join(root, 'hard'));
  symlinkSync('l'.repeat(120), path.join(root, 'soft'));
  const sparse = path.join(root, 'sparse');
  writeFileSync(sparse, 'begin');
  truncateSync(sparse, 1 << 20);
  writeFileSync(sparse, 'end', { flag: 'a' });
  const pack = (...options) => run('tar', ['-C', root, '-b', '1', '-c', ...options]);
  tars.plain = pack('--format=ustar', 'file', 'hard');
  tars.pax = pack('--format=pax', name, 'soft');
  tars.gnu = pack('--format=gnu', name, 'soft');
  for (const version of ['0.0', '0.1', '1.0']) {
    tars[`sparse-${version}`] = pack('--format=pax', '-S', `--sparse-version=${version}`, 'sparse');
  }
  tars['sparse-gnu'] = pack('--format=gnu', '-S', 'sparse', 'file');
  tars.global = pack('--format=pax', '--pax-option=globexthdr.name=g,comment=x', 'file');
} finally {
  rmSync(root, { recursive: true, force: true });
}

mkdirSync(folder, { recursive: true });
const save = (name, bytes) => writeFileSync(path.join(folder, name), bytes);
for (const [name, tar] of Object.entries(tars)) {
  save(name, input(BLOB, 1, [511, 1, 700], tar));
  save(`${name}-gz`, input(BLOB, 1, [1, 100], gzipSync(tar)));
  save(`${name}-zst`, input(BLOB, 1, [3, 90], run('zstd', ['-q', '-c', '--check'], { input: tar })));
  save(`${name}-xz`, input(BLOB, 1, [7, 90], run('xz', ['-c'], { input: tar })));
  save(`${name}-bz2`, input(BLOB, 1, [11, 90], run('bzip2', ['-c'], { input: tar })));
  save(`${name}-many`, input(TAR_TO_REPEAT, 200, [9999], tar));
  for (const level of [1, 6]) {
    save(`${name}-many-gz-${level}`, input(TAR_TO_COMPRESS + level - 1, 200, [300, 4000], tar));
  }
}
const half = tars.pax.length >> 1;
const pieces = [tars.pax.subarray(0, half), tars.pax.subarray(half)];
save('members', input(BLOB, 1, [40], Buffer.concat(pieces.map((piece) => gzipSync(piece)))));
save(
  'frames',
  input(BLOB, 1, [40], Buffer.concat(pieces.map((piece) => run('zstd', ['-q', '-c'], { input: piece })))),
);
for (const program of ['xz', 'bzip2']) {
  const streams = pieces.map((piece) => run(program, ['-c'], { input: piece }));
  save(`streams-${program}`, input(BLOB, 1, [40], Buffer.concat(streams)));
}
save('garbage', input(BLOB, 1, [60], Buffer.concat([gzipSync(tars.plain), Buffer.from('garbage')])));
