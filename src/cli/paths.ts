/** Commands that take several paths go on after one that fails, as cat(1), ls(1) and stat(1) do. */
import { isPeelError } from '../errors.ts';
import type { Context } from './command.ts';
import { describeError } from './error-report.ts';

/**
 * Runs `visit` for each path. Where one fails for a reason of its own, the error is printed and the next
 * path has its turn; what would fail the others too (an interrupt, the registry, a closed output) ends all.
 * Resolves with the exit status: that of the first failure, or 0.
 */
export async function forEachPath(
  context: Pick<Context, 'stderr' | 'stdout' | 'progress' | 'signal'>,
  paths: readonly string[],
  visit: (path: string) => Promise<void>,
): Promise<number> {
  let status = 0;
  for (const path of paths) {
    try {
      await visit(path);
    } catch (error) {
      if (context.signal.aborted || !isOfThePath(error)) throw error;
      context.progress.clear();
      // What came before it on standard output stands before it. A closed output ends all, and this is what to say.
      await context.stdout.flush().catch(() => {
        throw error;
      });
      const report = describeError(error);
      await context.stderr.write(`${report.line}\n`);
      status ||= report.status;
    }
  }
  return status;
}

const OF_THE_PATH = [
  'ERR_PATH_NOT_FOUND',
  'ERR_NOT_A_DIRECTORY',
  'ERR_IS_A_DIRECTORY',
  'ERR_NOT_A_REGULAR_FILE',
  'ERR_SYMLINK_LOOP',
  'ERR_NAME_TOO_LONG',
  'ERR_DIGEST_MISMATCH',
  'ERR_LAYER_INVALID',
  'ERR_ENTRY_REPLACED',
] as const;

function isOfThePath(error: unknown): boolean {
  return OF_THE_PATH.some((code) => isPeelError(error, code));
}
