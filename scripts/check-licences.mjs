// Every package that is installed with peel must carry a licence that Apache-2.0 software may depend on.
import { readFileSync } from 'node:fs';
import path from 'node:path';

const ALLOWED = new Set([
  'MIT',
  'ISC',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  '0BSD',
]);

/** Sentences about packages of the lockfile (development ones left out) whose licence is not allowed. */
export function findLicenceProblems(root) {
  const lock = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8'));
  const problems = [];
  let seen = 0;
  for (const [folder, entry] of Object.entries(lock.packages)) {
    if (folder === '' || entry.dev === true) continue;
    seen += 1;
    const licence =
      entry.license ?? JSON.parse(readFileSync(path.join(root, folder, 'package.json'), 'utf8')).license;
    if (!ALLOWED.has(licence)) problems.push(`${folder}: licence ${licence ?? 'unknown'} is not in the list`);
  }
  if (seen === 0) problems.push('no packages seen: the check itself is broken');
  return problems;
}
