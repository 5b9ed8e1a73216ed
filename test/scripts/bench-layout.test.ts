/** The images that the benchmarks generate are real ones: other tools read them. */
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { layersOf } from '../../scripts/bench/images.mjs';
import { tarOf, ustarHeader, writeLayout } from '../../scripts/bench/layout.mjs';
import { Scratch } from '../../scripts/bench/scratch.mjs';

let scratch: Scratch;
let parent = '';
beforeEach(() => {
  parent = mkdtempSync(path.join(os.tmpdir(), 'peel-layout-'));
  scratch = new Scratch(parent);
});
afterEach(async () => {
  await scratch.close();
  rmSync(parent, { recursive: true, force: true });
});

const members = [
  { path: 'srv/', type: 'dir' as const },
  { path: 'srv/odd', type: 'file' as const, size: 5, content: () => [Buffer.from('he'), Buffer.from('llo')] },
  { path: 'srv/block', type: 'file' as const, size: 512, content: () => [Buffer.alloc(512, 'x')] },
  { path: 'srv/link', type: 'symlink' as const, target: 'odd' },
];

function umoci(...args: string[]): void {
  const { status, stderr } = spawnSync('umoci', args, { encoding: 'utf8', timeout: 30_000 });
  expect(`${status} ${stderr}`).toMatch(/^0 /);
}

test('umoci unpacks what is generated', async () => {
  const layout = path.join(parent, 'image');
  const upper = [{ path: 'srv/odd', type: 'file' as const, size: 2, content: () => [Buffer.from('hi')] }];
  await writeLayout(scratch, layout, 'x', [() => tarOf(members), () => tarOf(upper)], 1);
  expect(layersOf({ layout, tag: 'x', reference: '' })).toHaveLength(2);
  const bundle = path.join(parent, 'bundle');
  const rootless = process.geteuid?.() === 0 ? [] : ['--rootless'];
  umoci('unpack', ...rootless, '--image', `${layout}:x`, bundle);
  const file = (name: string): string => path.join(bundle, 'rootfs', 'srv', name);
  expect(readFileSync(file('odd'), 'utf8')).toBe('hi');
  expect(readFileSync(file('block'), 'utf8')).toBe('x'.repeat(512));
  expect(readlinkSync(file('link'))).toBe('odd');
  expect(lstatSync(file('block')).mode & 0o7777).toBe(0o644);
  expect(lstatSync(file('block')).mtimeMs).toBe(Date.UTC(2024, 0, 1));
});

test('an image that cannot be finished is not there', async () => {
  const layout = path.join(parent, 'image');
  const short = [{ path: 'short', type: 'file' as const, size: 3, content: () => [Buffer.from('a')] }];
  await expect(writeLayout(scratch, layout, 'x', [() => tarOf(short)], 1)).rejects.toThrow('short: 1 bytes');
  expect(existsSync(layout)).toBe(false);
  await scratch.close();
  expect(existsSync(`${layout}.part`)).toBe(false);
});

test('a name that ustar cannot hold is refused', () => {
  expect(() => ustarHeader({ path: 'x'.repeat(100), type: 'file' })).toThrow('too long');
});
