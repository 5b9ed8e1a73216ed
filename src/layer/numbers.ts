/**
 * The ways in which tar writes a number: octal text with padding, base-256 (first byte has its top bit set),
 * and the decimal text of PAX records. The rules are those of Go's archive/tar, which every engine inherits.
 *
 * All return undefined for what is malformed or needs more than 64 bits signed. A result beyond 2^53 has lost
 * its low bits: callers check `Number.isSafeInteger` or clamp.
 */

const SPACE = 0x20;
const BASE_256_MARK = 0x80;
const BASE_256_SIGN = 0x40;
const INT64_LIMIT = 2n ** 63n;
/** Any decimal of so few digits is a safe integer. */
const SAFE_DIGITS = 15;

export function numericField(block: Uint8Array, start: number, length: number): number | undefined {
  return ((block[start] ?? 0) & BASE_256_MARK) === 0
    ? octalField(block, start, length)
    : base256Field(block, start, length);
}

/** Spaces and NULs around the digits do not count, nothing at all is 0, a NUL after digits ends them. */
function octalField(block: Uint8Array, start: number, length: number): number | undefined {
  let from = start;
  let to = start + length;
  while (from < to && isPadding(block[from])) from++;
  while (to > from && isPadding(block[to - 1])) to--;
  let value = 0;
  for (let at = from; at < to; at++) {
    const byte = block[at] ?? 0;
    if (byte === 0) break;
    if (byte < 0x30 || byte > 0x37) return undefined;
    value = value * 8 + (byte - 0x30);
  }
  return value;
}

function isPadding(byte: number | undefined): boolean {
  return byte === 0 || byte === SPACE;
}

/** Two's complement, big-endian; the top bit of the first byte is the mark, the next one the sign. */
function base256Field(block: Uint8Array, start: number, length: number): number | undefined {
  const first = block[start] ?? 0;
  const isNegative = (first & BASE_256_SIGN) !== 0;
  const inversion = isNegative ? 0xff : 0;
  let value = BigInt((first ^ inversion) & 0x7f);
  for (let at = start + 1; at < start + length; at++) {
    value = (value << 8n) | BigInt((block[at] ?? 0) ^ inversion);
  }
  if (value >= INT64_LIMIT) return undefined;
  return Number(isNegative ? ~value : value);
}

/** Digits with an optional minus; leading zeros are fine, a plus or blanks are not. */
export function decimalText(text: string): number | undefined {
  if (!/^-?\d+$/.test(text)) return undefined;
  if (text.length <= SAFE_DIGITS) return Number(text) || 0;
  const value = BigInt(text);
  if (value >= INT64_LIMIT || value < -INT64_LIMIT) return undefined;
  return Number(value);
}
