/** Sizes as people write and read them. */
import { PeelError } from '../errors.ts';

const UNITS = ['', 'K', 'M', 'G', 'T', 'P', 'E'] as const;

/**
 * Bytes of `10737418240`, `10G`, `10GiB` (powers of 1024) or `10GB` (powers of 1000).
 * @throws PeelError ERR_USAGE naming `what`.
 */
export function parseSize(text: string, what: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGTPE]?)(i?B)?$/iu.exec(text.trim());
  const [, digits = '', unit = '', suffix = ''] = match ?? [];
  const power = UNITS.indexOf(unit.toUpperCase() as (typeof UNITS)[number]);
  const base = suffix.toUpperCase() === 'B' && unit !== '' ? 1000 : 1024;
  const bytes = Math.floor(Number(digits) * base ** power);
  if (match === null || !Number.isSafeInteger(bytes)) {
    throw new PeelError(
      'ERR_USAGE',
      `${what}: '${text}' is no size; write bytes, or a number with K, M, G, T`,
    );
  }
  return bytes;
}

/**
 * A share of a whole, 0 to 1, of `5%`, `5` or `0.5 %`.
 * @throws PeelError ERR_USAGE naming `what`.
 */
export function parsePercent(text: string, what: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*%?$/u.exec(text.trim());
  const percent = Number(match?.[1]);
  if (match === null || !(percent >= 0 && percent < 100)) {
    throw new PeelError('ERR_USAGE', `${what}: '${text}' is no percentage from 0 to 99`);
  }
  return percent / 100;
}

/** As GNU `-h` shows sizes: powers of 1024, rounded up, one decimal below 10: `0`, `1023`, `1.5K`, `12M`. */
export function humanSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  if (unit === 0) return String(value);
  const tenths = Math.ceil(value * 10) / 10;
  if (tenths < 10) return `${tenths.toFixed(1)}${UNITS[unit]}`;
  const whole = Math.ceil(value);
  // Rounding up may reach the next unit: 1023.9K is 1.0M.
  return whole >= 1024 && unit < UNITS.length - 1 ? `1.0${UNITS[unit + 1]}` : `${whole}${UNITS[unit]}`;
}

/** For progress and summaries: `12.3 MB` (powers of 1000, as registries and docker say). */
export function decimalSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.95 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  if (unit === 0) return `${value} B`;
  return `${value < 99.95 ? value.toFixed(1) : value.toFixed(0)} ${unit === 1 ? 'k' : UNITS[unit]}B`;
}
