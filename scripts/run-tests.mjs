// What `npm test` and `npm run test:conformance` share: installs what the tests need, builds, and runs vitest. The run
// has a temporary folder of its own and marks its processes, so that a mount, process or file left behind fails it.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { build, run } from './build.mjs';

const root = path.resolve(import.meta.dirname, '..');

/** Ends the process where Node is too old or a step fails. */
export function prepareTests() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    process.stderr.write(`peel needs Node 20.19 or newer, this is ${process.versions.node}\n`);
    process.exit(1);
  }
  for (const step of [() => run('bash', ['scripts/system-packages.sh', 'build', 'mount', 'test']), build]) {
    const status = step();
    if (status !== 0) process.exit(status);
  }
}

/**
 * Runs vitest with `args` and ends with the line `N passed, N failed` from its own report.
 * @returns {{isGreen: boolean, report: object | undefined}} the report is that of vitest's json reporter.
 */
export function runTests(args) {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'peel-test-'));
  const file = path.join(scratch, 'report.json');
  const temporary = path.join(scratch, 'tmp');
  // Tests that drop root must be able to reach what is theirs.
  chmodSync(scratch, 0o755);
  spawnSync('mkdir', ['-m', '1777', temporary]);
  const { status } = spawnSync(
    path.join(root, 'node_modules', '.bin', 'vitest'),
    ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...args],
    {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, TMPDIR: temporary, PEEL_TEST_RUN: path.basename(scratch), NO_COLOR: '1' },
    },
  );
  const left = leftovers(scratch, temporary);
  for (const line of left) process.stdout.write(`left behind: ${line}\n`);
  let report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    process.stdout.write(`no report from the test runner: ${error.message}\n`);
  }
  if (left.length === 0) rmSync(scratch, { recursive: true, force: true });
  const { numPassedTests: passed = 0, numFailedTests = 0, numPendingTests: pending = 0 } = report ?? {};
  const failed = numFailedTests + (left.length > 0 ? 1 : 0);
  process.stdout.write(`${passed} passed, ${failed} failed${pending > 0 ? `, ${pending} skipped` : ''}\n`);
  return { isGreen: status === 0 && failed === 0 && passed > 0, report };
}

/** What the run left behind, as sentences. */
function leftovers(scratch, temporary) {
  const mark = `PEEL_TEST_RUN=${path.basename(scratch)}`;
  const found = [];
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    if (line.includes(scratch)) found.push(`mount: ${line.split(' ')[4]}`);
  }
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark)) continue;
      found.push(`process ${pid}: ${readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')}`);
    } catch {
      // ended meanwhile, or not ours to read
    }
  }
  for (const name of readdirSync(temporary)) found.push(`file: ${name}`);
  return found;
}
