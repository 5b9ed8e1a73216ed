/**
 * Shows stacks of layers through overlayfs: node overlay-process.js FOLDER, in a mount namespace of its own. FOLDER/STACK has
 * the layers as `0.tar`, `1.tar` and so on, lowest first, in the form that overlayfs wants on disk. GNU tar unpacks them.
 * A line of JSON for each stack: its name and its rows.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { rowsOnDisk, xattrsBelow } from '../support/umoci.ts';

const DEADLINE_MS = 20_000;
const UNPACK = [
  '--extract',
  '--same-permissions',
  '--same-owner',
  '--numeric-owner',
  '--delay-directory-restore',
  '--xattrs',
  '--xattrs-include=*',
  '--warning=no-timestamp',
];

function run(cwd: string, program: string, ...args: string[]): void {
  execFileSync(program, args, { cwd, timeout: DEADLINE_MS, stdio: ['ignore', 'ignore', 'inherit'] });
}

const [folder = ''] = process.argv.slice(2);
for (const name of readdirSync(folder)) {
  const stack = path.join(folder, name);
  const layers = readdirSync(stack).filter((file) => file.endsWith('.tar')).length;
  const shown = path.join(stack, 'shown');
  // Overlayfs wants two folders, and a stack may have one layer.
  mkdirSync(path.join(stack, 'empty'));
  mkdirSync(shown);
  const lower: string[] = [];
  for (let layer = 0; layer < layers; layer += 1) {
    const target = path.join(stack, String(layer));
    mkdirSync(target);
    run(target, 'tar', ...UNPACK, '--file', `../${layer}.tar`);
    lower.unshift(String(layer));
  }
  run(
    stack,
    'mount',
    '-t',
    'overlay',
    '-o',
    `ro,lowerdir=${[...lower, 'empty'].join(':')}`,
    'overlay',
    'shown',
  );
  try {
    process.stdout.write(`${JSON.stringify([name, rowsOnDisk(shown, xattrsBelow(shown))])}\n`);
  } finally {
    run(stack, 'umount', 'shown');
  }
  rmSync(stack, { recursive: true });
}
