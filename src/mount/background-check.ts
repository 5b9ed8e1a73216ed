/**
 * A mount of class D is used at once, and what nothing vouched for is checked behind it. Found true, it is class A; found
 * false, the mount gives out nothing any more (the image sees to that), and the log says why, once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isPeelError, isVerdict } from '../errors.ts';
import { log } from '../log.ts';

/** A registry that was away is asked again after so long, then after twice that. */
const FIRST_PAUSE_MS = 30_000;
const LONGEST_PAUSE_MS = 10 * 60_000;

/** `prove` is tried until it says something, or `signal` ends it. Never rejects. */
export async function checkInBackground(
  mountPoint: string,
  prove: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  for (let pauseMs = FIRST_PAUSE_MS; !signal.aborted; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    try {
      await prove();
      return;
    } catch (error) {
      // Whoever is offline on purpose is told of the class already.
      if (signal.aborted || isPeelError(error, 'ERR_INTERRUPTED') || isPeelError(error, 'ERR_OFFLINE'))
        return;
      const facts = isPeelError(error) ? { code: error.code, ...error.facts } : { code: 'bug', err: error };
      const message = error instanceof Error ? error.message : String(error);
      if (isVerdict(error)) {
        log().error(facts, `all of ${mountPoint} ends with EIO from now on: ${message}`);
        return;
      }
      const seconds = pauseMs / 1000;
      log().warn(facts, `${mountPoint}: could not be checked, again in ${seconds} s: ${message}`);
      await sleep(pauseMs, undefined, { ref: false, signal }).catch(() => undefined);
    }
  }
}
