// Numbers, tables and bars of the issue as text.

/** @param {number} bytes */
export const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 1);

/** @param {number} part @param {number} whole */
export const percent = (part, whole) => `${((100 * part) / whole).toFixed(2)} %`;

/**
 * Three digits that mean something, never in exponents: 0.0123, 1.23, 12.3, 1234.
 * @param {number} value
 */
export function digits(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)));
  return value.toFixed(Math.min(6, Math.max(0, 2 - size)));
}

/** @param {number} value */
export function times(value) {
  if (value < 0.1) return `${digits(value)}x`;
  return `${value < 10 ? value.toFixed(2) : value.toFixed(1)}x`;
}

/**
 * @param {readonly string[]} head
 * @param {readonly (readonly (string | number)[])[]} rows
 */
export function table(head, rows) {
  for (const row of rows) {
    if (row.length !== head.length)
      throw new RangeError(`a row of ${row.length} cells below ${head.length} columns`);
  }
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/**
 * @typedef {object} Bar
 * @property {string} what
 * @property {'at most' | 'at least'} side
 * @property {number} limit
 * @property {number | undefined} got undefined: not measured
 * @property {string} unit written after both numbers: `x`, ` MB`, ` s`
 */

/**
 * A limit of the issue beside what was measured.
 * @param {Bar} bar
 */
export function barLine({ what, side, limit, got, unit }) {
  if (got === undefined) return `- ${what}: bar ${side} ${limit}${unit}, not measured`;
  const met = side === 'at most' ? got <= limit : got >= limit;
  return `- ${what}: bar ${side} ${limit}${unit}, got ${digits(got)}${unit}: **${met ? 'met' : 'missed'}**`;
}
