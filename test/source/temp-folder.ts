/** A folder of a test's own, removed when its file of tests ends. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll } from 'vitest';

/** Call at the top of a test file; each call of the result is a new name in the folder. */
export function useTempFolder(): () => string {
  const root = mkdtempSync(path.join(os.tmpdir(), 'peel-source-'));
  let count = 0;
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  return () => {
    count += 1;
    return path.join(root, `t${count}`);
  };
}
