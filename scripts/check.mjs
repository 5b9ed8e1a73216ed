// `npm run check`: format, lint, types, imports, dead code, package, licences. Runs all, reports all.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { build } from './build.mjs';
import { findViolations } from './check-imports.mjs';
import { findLicenceProblems } from './check-licences.mjs';

const root = path.resolve(import.meta.dirname, '..');
const bin = (name) => path.join(root, 'node_modules', '.bin', name);

function tool(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  const output = error ? `${error.message}\n` : stdout + stderr;
  return { ok: status === 0, output };
}

function list(problems) {
  return { ok: problems.length === 0, output: problems.map((line) => `${line}\n`).join('') };
}

function clangFormat() {
  const sources = readdirSync(path.join(root, 'native'), { recursive: true })
    .filter((name) => /\.(cc|h)$/.test(name))
    .map((name) => path.join('native', name));
  const result = tool('clang-format', ['--dry-run', '--Werror', ...sources]);
  if (result.output.includes('ENOENT') && process.env.CI === undefined) {
    return { ok: true, output: 'clang-format is not installed: C++ format not checked\n' };
  }
  return result;
}

const steps = {
  format: () => tool(bin('biome'), ['check', '--linter-enabled=false', '.']),
  'format of C++': clangFormat,
  lint: () => tool(bin('oxlint'), ['--type-aware', '--deny-warnings', 'src', 'test', 'scripts']),
  types: () => tool(bin('tsc'), ['-p', 'tsconfig.json']),
  imports: () => list(findViolations(root).violations),
  'dead code': () => tool(bin('knip'), ['--no-progress']),
  package: () => {
    // It looks at what would be shipped, which a fresh clone does not have yet.
    if (!existsSync(path.join(root, 'dist', 'cli', 'main.js'))) build();
    return tool(bin('publint'), ['--strict', '--pack', 'npm']);
  },
  licences: () => list(findLicenceProblems(root)),
};

const only = process.argv.slice(2);
let failed = 0;
for (const [name, step] of Object.entries(steps)) {
  if (only.length > 0 && !only.includes(name)) continue;
  const { ok, output } = step();
  process.stdout.write(`${ok ? 'ok    ' : 'FAILED'} ${name}\n`);
  if (!ok || output.includes('not checked')) process.stdout.write(output);
  if (!ok) failed += 1;
}
process.exit(failed === 0 ? 0 : 1);
