/**
 * An end for every request (P8): a reader in the kernel cannot be freed by anybody but us, so it waits for
 * bytes no longer than the deadline, whether or not the work listens to its signal.
 */
import { PeelError } from '../errors.ts';

/**
 * Runs `work`; rejects with ERR_DEADLINE after `timeoutMs` (0: never), or with the reason of `stop` when that
 * is aborted. The signal that `work` is given is aborted in both cases.
 */
export function withDeadline<Value>(
  work: (signal: AbortSignal) => Promise<Value>,
  timeoutMs: number,
  stop: AbortSignal,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    const controller = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const settle = (): void => {
      clearTimeout(timer);
      stop.removeEventListener('abort', onStop);
    };
    const giveUp = (reason: unknown): void => {
      settle();
      reject(reason);
      controller.abort(reason);
    };
    const onStop = (): void => giveUp(stop.reason);
    if (stop.aborted) {
      reject(stop.reason);
      return;
    }
    stop.addEventListener('abort', onStop);
    if (timeoutMs > 0) {
      timer = setTimeout(() => {
        giveUp(new PeelError('ERR_DEADLINE', `no bytes after ${timeoutMs / 1000} s`));
      }, timeoutMs);
    }
    work(controller.signal).then(
      (value) => {
        settle();
        resolve(value);
      },
      (error: unknown) => {
        settle();
        reject(error);
      },
    );
  });
}
