/** The benchmark harness leaves nothing behind: no file, process or mount. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../../scripts/bench/command.mjs';
import { mountsBelow, Scratch } from '../../scripts/bench/scratch.mjs';

let parent = '';
let scratch: Scratch;
beforeEach(() => {
  parent = mkdtempSync(path.join(os.tmpdir(), 'peel-scratch-'));
  scratch = new Scratch(parent);
});
afterEach(async () => {
  await scratch.close();
  rmSync(parent, { recursive: true, force: true });
});

const isRunning = (pid: number): boolean => existsSync(`/proc/${pid}/stat`) && !isZombie(pid);
const isZombie = (pid: number): boolean => / Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));

test('what is registered is undone once, the last first', async () => {
  const order: string[] = [];
  scratch.onClose('a', () => order.push('a'));
  const undoB = scratch.onClose('b', () => order.push('b'));
  scratch.onClose('c', () => order.push('c'));
  await undoB();
  await undoB();
  expect(await scratch.close()).toEqual([]);
  await scratch.close();
  expect(order).toEqual(['b', 'c', 'a']);
});

test('one that fails is reported and does not keep the others', async () => {
  let undone = false;
  scratch.onClose('first', () => {
    undone = true;
  });
  scratch.onClose('second', () => {
    throw new Error('busy');
  });
  expect(await scratch.close()).toEqual(['second: busy']);
  expect(undone).toBe(true);
});

test('files are gone afterwards', async () => {
  mkdirSync(scratch.path('a'));
  writeFileSync(scratch.path('a', 'b'), 'x');
  await scratch.close();
  expect(existsSync(scratch.folder)).toBe(false);
});

test('a command that still runs is ended, and nothing new is started', async () => {
  const sleeping = run(scratch, ['sleep', '300']);
  const ended = expect(sleeping).rejects.toThrow('SIGKILL');
  await scratch.close();
  await ended;
  await expect(run(scratch, ['true'])).rejects.toThrow('the benchmark is ending');
});

test('a background process that nobody registered is found by its mark and ended', async () => {
  const child = spawn('sleep', ['300'], { env: scratch.env, detached: true, stdio: 'ignore' });
  const { pid = 0 } = child;
  expect(isRunning(pid)).toBe(true);
  expect(await scratch.close()).toEqual([`still running: process ${pid}`]);
  expect(isRunning(pid)).toBe(false);
});

const mayMount = spawnSync('unshare', ['-m', 'true']).status === 0 && process.geteuid?.() === 0;
test.skipIf(!mayMount)('a mount that nobody registered is found and removed', async () => {
  const folder = scratch.path('mnt');
  mkdirSync(folder);
  await run(scratch, ['mount', '-t', 'tmpfs', 'tmpfs', folder]);
  expect(mountsBelow(scratch.folder)).toEqual([folder]);
  expect(await scratch.close()).toEqual([`still mounted: ${folder}`]);
  expect(mountsBelow(scratch.folder)).toEqual([]);
  expect(existsSync(scratch.folder)).toBe(false);
});

test('a failing command says what it was, how it ended and what it wrote', async () => {
  await expect(run(scratch, ['sh', '-c', 'echo reason >&2; exit 3'])).rejects.toThrow(
    /^sh -c .*: exit 3\nreason$/,
  );
});
