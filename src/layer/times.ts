/**
 * Modification times: whole seconds of a header, or a decimal fraction of a PAX record.
 *
 * A time is kept as it stands, also before 1970 and beyond 2038, as long as its seconds are a safe integer:
 * the kernel's own field is 64 bits wide. What does not fit becomes 1970-01-01T00:00:00, which is what the
 * engines give for times that they cannot represent (containerd and moby: `boundTime`).
 */
import { decimalText } from './numbers.ts';

export interface Timestamp {
  /** Rounded down; may be negative. */
  readonly sec: number;
  /** 0 to 999 999 999. */
  readonly nsec: number;
}

const EPOCH: Timestamp = { sec: 0, nsec: 0 };
const NSEC_DIGITS = 9;
const NSEC_PER_SEC = 1_000_000_000;

export function timeOfSeconds(sec: number): Timestamp {
  return Number.isSafeInteger(sec) ? { sec, nsec: 0 } : EPOCH;
}

/**
 * `-1.5` is one and a half seconds before 1970; digits after the ninth are cut off.
 * undefined for what is no number.
 */
export function parsePaxTime(text: string): Timestamp | undefined {
  const match = /^(-?\d+)(?:\.(\d*))?$/.exec(text);
  if (match === null) return undefined;
  const whole = match[1] ?? '';
  const fraction = match[2] ?? '';
  const sec = decimalText(whole);
  if (sec === undefined) return undefined;
  const nsec = Number(fraction.slice(0, NSEC_DIGITS).padEnd(NSEC_DIGITS, '0'));
  if (nsec === 0 || !whole.startsWith('-')) return clamped(sec, nsec);
  return clamped(sec - 1, NSEC_PER_SEC - nsec);
}

function clamped(sec: number, nsec: number): Timestamp {
  return Number.isSafeInteger(sec) ? { sec, nsec } : EPOCH;
}
