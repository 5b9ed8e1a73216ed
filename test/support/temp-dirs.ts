/** Folders for tests. Below /tmp the way to them is safe for a cache: root's and sticky. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach } from 'vitest';

/** Call at the top of a file or `describe`. Each call of the result makes a folder, removed after the test. */
export function useTempDirs(): () => string {
  return dirsUntil(afterEach);
}

/** The same for folders that several tests share: they stay until the file or `describe` ends. */
export function useSharedTempDirs(): () => string {
  return dirsUntil(afterAll);
}

/** Each call of the result is a name that is free, in a folder of its own, removed after the test. */
export function useTempPaths(): () => string {
  const makeDir = useTempDirs();
  return () => path.join(makeDir(), 'x');
}

function dirsUntil(end: (remove: () => void) => void): () => string {
  const made: string[] = [];
  end(() => {
    for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
  });
  return () => {
    const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'peel-test-')));
    made.push(folder);
    return folder;
  };
}
