/** The stargz snapshotter in the benchmarks: there or said to be missing, and gone when it does not start. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { chainIDOf, imageOf } from '../../scripts/bench/images.mjs';
import { writeLayout } from '../../scripts/bench/layout.mjs';
import { Scratch } from '../../scripts/bench/scratch.mjs';
import { absence, missingPrograms, Stargz } from '../../scripts/bench/stargz.mjs';

const { PATH = '' } = process.env;
let parent = '';
beforeEach(() => {
  parent = mkdtempSync(path.join(os.tmpdir(), 'peel-stargz-'));
});
afterEach(() => {
  process.env['PATH'] = PATH;
  rmSync(parent, { recursive: true, force: true });
});

function program(name: string, script: string): void {
  const bin = path.join(parent, 'bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(path.join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(path.join(bin, name), 0o755);
}

test('a section says which programs were missing, and nothing where there are all', () => {
  for (const name of ['containerd', 'ctr', 'ctr-remote']) program(name, '');
  writeFileSync(path.join(parent, 'bin', 'containerd-stargz-grpc'), 'not executable');
  process.env['PATH'] = path.join(parent, 'bin');
  expect(absence(missingPrograms())).toEqual([
    'The stargz snapshotter is not beside: containerd-stargz-grpc was not on PATH.',
  ]);
  program('containerd-stargz-grpc', '');
  expect(absence(missingPrograms())).toEqual([]);
});

test('a daemon that ends at once is an error with what it said, and nothing stays behind', async () => {
  program('containerd-stargz-grpc', 'echo "flag provided but not defined" >&2; exit 1');
  process.env['PATH'] = `${path.join(parent, 'bin')}:${PATH}`;
  const scratch = new Scratch(parent);
  await expect(Stargz.start(scratch, 'x')).rejects.toThrow(/does not start: .*\n.*flag provided/s);
  expect(await scratch.close()).toEqual([]);
});

test('the stack of all layers has the name that image-spec gives it', async () => {
  const scratch = new Scratch(parent);
  const layout = path.join(parent, 'layout');
  const layers = [['a'], ['b'], ['c']].map((texts) => () => texts.map((text) => Buffer.from(text)));
  await writeLayout(scratch, layout, 'x', layers, 1);
  const sha256 = (text: string): string =>
    `sha256:${execFileSync('sha256sum', { input: text, encoding: 'utf8' }).slice(0, 64)}`;
  const [a, b, c] = ['a', 'b', 'c'].map(sha256);
  expect(chainIDOf(imageOf(layout, 'x'))).toBe(sha256(`${sha256(`${a} ${b}`)} ${c}`));
  expect(await scratch.close()).toEqual([]);
});
