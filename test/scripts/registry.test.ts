/** scripts/registry.sh ends the registry that it started, and nobody else. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const SCRIPT = path.resolve(import.meta.dirname, '../../scripts/registry.sh');
const DEADLINE_MS = 20_000;

let folder = '';
beforeEach(() => {
  folder = path.join(mkdtempSync(path.join(os.tmpdir(), 'peel-registry-')), 'registry');
});
afterEach(() => {
  registry('stop');
  rmSync(path.dirname(folder), { recursive: true, force: true });
});

const registry = (action: 'start' | 'stop') =>
  spawnSync('bash', [SCRIPT, action, path.relative(process.cwd(), folder)], {
    encoding: 'utf8',
    timeout: DEADLINE_MS,
  });
const pidFile = (): string => path.join(folder, 'pid');

test('a registry that was started is ended, however its folder is spelled', () => {
  const started = registry('start');
  expect(started.stdout).toMatch(/^127\.0\.0\.1:\d+\n$/u);
  const pid = Number(readFileSync(pidFile(), 'utf8'));
  expect(existsSync(`/proc/${pid}`)).toBe(true);
  expect(spawnSync('bash', [SCRIPT, 'stop', folder], { timeout: DEADLINE_MS }).status).toBe(0);
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  expect(existsSync(pidFile())).toBe(false);
});

test('a process that got the number of a registry long gone is left alone', () => {
  const other = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    mkdirSync(folder);
    writeFileSync(pidFile(), `${other.pid}\n`);
    expect(registry('stop').status).toBe(0);
    expect(existsSync(pidFile())).toBe(false);
    // A process that was killed is a zombie until the event loop turns.
    expect(readFileSync(`/proc/${other.pid}/stat`, 'utf8')).toMatch(/ \(sleep\) [RS] /u);
  } finally {
    other.kill('SIGKILL');
  }
});
