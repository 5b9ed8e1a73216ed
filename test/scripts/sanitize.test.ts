/** What `scripts/sanitize.sh --prove` plants its bugs in is still there: the proof itself takes minutes. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '..', '..');

test('every function that a bug is planted in begins with one line of its file', () => {
  const script = readFileSync(path.join(root, 'scripts', 'sanitize.sh'), 'utf8');
  const plants = [...script.matchAll(/^ *prove (\S+\.cc) '([^']+)' /gm)];
  expect(plants.length).toBeGreaterThan(1);
  for (const [, file = '', start = ''] of plants) {
    const lines = readFileSync(path.join(root, 'native', file), 'utf8').split('\n');
    const found = lines.filter((line) => line.startsWith(`${start}(`) && line.endsWith('{'));
    expect(found, `${file}: ${start}`).toHaveLength(1);
  }
});
