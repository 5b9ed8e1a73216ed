// `npm run test:conformance`: one row for each case E1 to E236 of how container images are formed, served and shown
// (test/conformance/cases.json). A case passes when every test whose name carries its number passes, and there is one.
// What cannot apply to a read-only view has its reason in the table of cases instead. Hostile input is counted by set, B1
// to B4, in the same way. The rows are printed and written to docs/CONFORMANCE.md; a case that fails or has no test, or a set
// that is smaller than it is to be, fails the run.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { prepareTests, runTests } from './run-tests.mjs';

const root = path.resolve(import.meta.dirname, '..');
const OUTPUT = path.join(root, 'docs', 'CONFORMANCE.md');
/** How many tests each set of hostile input is to have at least. */
const HOSTILE_SETS = [
  { id: 'B1', title: 'tars', least: 400 },
  { id: 'B2', title: 'compression', least: 150 },
  { id: 'B3', title: 'manifests, indexes, configs, manifest.json', least: 200 },
  { id: 'B4', title: 'indexes of layers, and stored trees', least: 150 },
];

/** @type {{id: string, title: string, notApplicable?: string}[]} */
const cases = JSON.parse(readFileSync(path.join(root, 'test', 'conformance', 'cases.json'), 'utf8'));

prepareTests();
const run = runTests(['-t', String.raw`\b(?:E\d+|B[1-4])\b`]);
const namedTests = testsByCase(run.report);
const results = cases.map((entry) => rowOf(entry, namedTests));
const hostile = HOSTILE_SETS.map((set) => setRowOf(set, namedTests));
writeFileSync(OUTPUT, document(results, hostile));
for (const { id, title, result } of results)
  process.stdout.write(`${id.padEnd(5)} ${result.padEnd(8)} ${title}\n`);
for (const { id, title, passed, least } of hostile)
  process.stdout.write(`${id.padEnd(5)} ${passed} tests pass, at least ${least} wanted: ${title}\n`);
const isSmall = hostile.some(({ passed, failed, least }) => passed < least || failed > 0);
const count = (result) => results.filter((row) => row.result === result).length;
process.stdout.write(
  `${count('pass')} cases pass, ${count('skipped')} skipped, ${count('FAILED')} failed, ${count('MISSING')} without a test\n`,
);
process.exit(run.isGreen && !isSmall && count('FAILED') + count('MISSING') === 0 ? 0 : 1);

/** Case, or set, to the tests that name it: `E13` in the test's own name or in that of a group it stands in. */
function testsByCase(report) {
  const tests = new Map();
  for (const { name: file, assertionResults } of report?.testResults ?? []) {
    for (const { fullName, title, status } of assertionResults) {
      for (const id of new Set(fullName.match(/\b(?:E\d+|B[1-4])\b/g) ?? [])) {
        if (!tests.has(id)) tests.set(id, []);
        tests.get(id).push({ file: path.relative(root, file), title, status });
      }
    }
  }
  return tests;
}

function rowOf({ id, title, notApplicable }, tests) {
  if (notApplicable !== undefined) return { id, title, result: 'skipped', by: notApplicable };
  const named = (tests.get(id) ?? []).filter(({ status }) => status === 'passed' || status === 'failed');
  if (named.length === 0) return { id, title, result: 'MISSING', by: 'no test ran' };
  const isPassed = named.every(({ status }) => status === 'passed');
  const files = [...new Set(named.map(({ file }) => file))].join(', ');
  const by = `${named.length} ${named.length === 1 ? 'test' : 'tests'}: ${files}`;
  return { id, title, result: isPassed ? 'pass' : 'FAILED', by };
}

function setRowOf({ id, title, least }, tests) {
  const named = tests.get(id) ?? [];
  const having = (wanted) => named.filter(({ status }) => status === wanted);
  const files = [...new Set(having('passed').map(({ file }) => file))].join(', ');
  return { id, title, least, passed: having('passed').length, failed: having('failed').length, files };
}

function document(rows, sets) {
  const cell = (text) => text.replaceAll('|', String.raw`\|`).replaceAll('<', '&lt;');
  return [
    '# Conformance',
    '',
    'One row for each case that is known to tell implementations apart: merging layers (E1 to E72), tar, gzip and zstd',
    'dialects (E73 to E116), indexes that images bring (E117 to E142), documents (E143 to E166), archives and layouts',
    '(E167 to E186), registries (E187 to E222), the mount (E223 to E236). Written by `npm run test:conformance`, which fails',
    'where a case has no test that passes. What the tests compare with: reference listings of real images, `umoci`, GNU tar,',
    "Go's `archive/tar`, kernel overlayfs, Debian's registry.",
    '',
    '| case | what | result | by |',
    '|---|---|---|---|',
    ...rows.map(({ id, title, result, by }) => `| ${id} | ${cell(title)} | ${result} | ${cell(by)} |`),
    '',
    '## Hostile input',
    '',
    'Each case ends in a right result or a documented error. Those of `test/hostile` run in a process that is watched: at',
    'most 1 s of the processor for a MiB of input and 300 MiB of memory, and no file left open. A test of mutated or flipped bytes counts once.',
    '',
    '| set | what | tests that pass | in |',
    '|---|---|---|---|',
    ...sets.map(({ id, title, passed, failed, files }) =>
      [`| ${id}`, title, failed === 0 ? passed : `${passed}, ${failed} FAILED`, `${files} |`].join(' | '),
    ),
    '',
  ].join('\n');
}
