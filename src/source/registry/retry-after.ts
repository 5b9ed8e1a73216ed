/** Which answers are worth another try, and when. */

export const RETRYABLE_STATUSES: readonly number[] = [408, 425, 429, 500, 502, 503, 504];

export function isRetryableStatus(status: number): boolean {
  return RETRYABLE_STATUSES.includes(status);
}

/**
 * Milliseconds that a Retry-After header (RFC 9110, 10.2.3) asks for, or undefined for none and for nonsense.
 * A date in the past is 0. `nowMs` is the wall clock: the date is a point of it.
 */
export function parseRetryAfter(header: string | undefined, nowMs: number): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d+$/.test(text)) {
    return Math.min(Number(text), Number.MAX_SAFE_INTEGER / 1000) * 1000;
  }
  // Date.parse takes much that is no HTTP date; all three forms of one begin with the day of the week.
  const date = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}
