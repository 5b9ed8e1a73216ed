/** The import rule of docs/ARCHITECTURE.md; the table is in scripts/check-imports.mjs. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { findViolations, violationsIn } from '../scripts/check-imports.mjs';

const root = path.resolve(import.meta.dirname, '..');

describe('the import rule', () => {
  test('holds for every file of src/', () => {
    const { files, violations } = findViolations(root);
    const onDisk = readdirSync(path.join(root, 'src'), { recursive: true }).filter((name) =>
      String(name).endsWith('.ts'),
    );
    expect(files.length).toBe(onDisk.length);
    expect(files.length).toBeGreaterThan(40);
    expect(violations).toEqual([]);
  });

  test.each([
    ['an upward import', 'tree/merge.ts', "import { x } from '../filesystem/filesystem.ts';"],
    ['an upward type import', 'layer/toc.ts', "import type { X } from '../tree/node.ts';"],
    ['a re-export', 'blob/a.ts', "export { x } from '../source/source.ts';"],
    ['an import over several lines', 'blob/a.ts', "import {\n  x,\n} from '../source/source.ts';"],
    ['a dynamic import', 'fuse/a.ts', "const x = await import('../image.ts');"],
    ['a package in the wrong folder', 'cli/a.ts', "import { request } from 'undici';"],
    ['a package nobody listed', 'cli/a.ts', "import x from 'left-pad';"],
    ['a folder nobody listed', 'utils/a.ts', ''],
  ])('catches %s', (_what, file, text) => {
    expect(violationsIn(file, text)).toHaveLength(1);
  });
});
