/** Times as Go writes them in JSON: RFC 3339 with a zone, fractions of any length. */
import type { Timestamp } from '../times.ts';

const FORM = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))$/;
const NSEC_DIGITS = 9;
/** Go's zero Time: what stands there was not set. */
const UNSET = '0001-01-01T00:00:00Z';
const EPOCH: Timestamp = { sec: 0, nsec: 0 };

/** undefined for what is no time. Unset is 1970, as in the tar that it stands for. */
export function parseGoTime(text: string): Timestamp | undefined {
  if (text === UNSET || text === '') return EPOCH;
  const match = FORM.exec(text);
  if (match === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  // 31 February becomes 2 or 3 March: not what is written.
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day || date.getUTCMinutes() !== minute) {
    return undefined;
  }
  const zoneMinutes = Number(match[9] ?? 0) * 60 + Number(match[10] ?? 0);
  const zoneSec = (match[8] === '-' ? -60 : 60) * zoneMinutes;
  const nsec = Number((match[7] ?? '').slice(0, NSEC_DIGITS).padEnd(NSEC_DIGITS, '0'));
  return { sec: date.getTime() / 1000 - zoneSec, nsec };
}
