/** Signals as images name them: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`. */
import os from 'node:os';

/** glibc's; the two below are its own. */
const RTMIN = 34;
const RTMAX = 64;

/** The number, or undefined for what is no signal. */
export function signalNumberOf(text: string): number | undefined {
  const name = text.toUpperCase().replace(/^SIG/, '');
  if (/^\d{1,2}$/.test(name)) {
    const number = Number(name);
    return number >= 1 && number <= RTMAX ? number : undefined;
  }
  const [, end, sign, steps] = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name) ?? [];
  if (end !== undefined) {
    const number = (end === 'MIN' ? RTMIN : RTMAX) + Number(`${sign ?? '+'}${steps ?? 0}`);
    return number >= RTMIN && number <= RTMAX ? number : undefined;
  }
  const signals: Readonly<Record<string, number>> = os.constants.signals;
  return Object.hasOwn(signals, `SIG${name}`) ? signals[`SIG${name}`] : undefined;
}
