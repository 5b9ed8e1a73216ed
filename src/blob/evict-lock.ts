/**
 * One eviction at a time, over all processes: whoever creates the lock file evicts, others skip. Node has no
 * flock, so a lock counts as left behind when its process is gone or it is older than any eviction takes.
 * Two evictions at once, which a race over a dead lock can lead to, only free a little too much.
 */
import { open, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { systemCodeOf } from '../errors.ts';

const LOCK_FILE = 'evict.lock';
const MAX_AGE_MS = 120_000;

/** A function that releases the lock, or undefined where another process holds it. */
export async function tryEvictLock(versionDir: string): Promise<(() => Promise<void>) | undefined> {
  const file = path.join(versionDir, LOCK_FILE);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      // O_EXCL: never through a link, never an existing file.
      const handle = await open(file, 'wx', 0o600);
      try {
        await handle.write(String(process.pid));
      } finally {
        await handle.close();
      }
      return () => rm(file, { force: true });
    } catch (error) {
      if (systemCodeOf(error) !== 'EEXIST') throw error;
      if (!(await isLeftBehind(file))) return undefined;
      await rm(file, { recursive: true, force: true });
    }
  }
  return undefined;
}

async function isLeftBehind(file: string): Promise<boolean> {
  try {
    const found = await stat(file);
    if (!found.isFile()) return true;
    if (Math.abs(Date.now() - found.mtimeMs) > MAX_AGE_MS) return true;
    const pid = Number(await readFile(file, 'utf8'));
    // Empty: its owner is between creating and writing.
    return Number.isSafeInteger(pid) && pid > 0 && !isAlive(pid);
  } catch (error) {
    return systemCodeOf(error) === 'ENOENT';
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCodeOf(error) !== 'ESRCH';
  }
}
