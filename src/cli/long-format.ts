/**
 * The lines of `ls -l`, as GNU ls writes them in the C locale: columns as wide as their widest value, numeric
 * owners (`ls -n`: the names would be the host's, not the image's), `major, minor` in place of a device's size.
 */
import type { Node } from '../tree/node.ts';
import type { ByteString } from '../units.ts';
import { quoteName } from './quote.ts';
import { humanSize } from './size.ts';

export interface LongRow {
  /** As it is shown, quoted already. */
  readonly shownName: string;
  readonly node: Node;
}

const TYPE_LETTER: Readonly<Record<Node['kind'], string>> = {
  file: '-',
  dir: 'd',
  symlink: 'l',
  char: 'c',
  block: 'b',
  fifo: 'p',
};

/** Seconds in half of a mean Gregorian year: what GNU ls calls recent. */
const HALF_YEAR_SEC = 31_556_952 / 2;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const POSIX_ACL = 'system.posix_acl_access' as ByteString;

/** The rows as lines without their line ends. `nowSec` decides which times are recent. */
export function formatLong(
  rows: readonly LongRow[],
  options: { human: boolean; nowSec: number; showLink?: (target: ByteString) => string },
): string[] {
  const showSize = options.human ? humanSize : String;
  const hasACL = rows.some((row) => hasAccessList(row.node));
  const width = { nlink: 0, uid: 0, gid: 0, size: 0, major: 0, minor: 0 };
  const widen = (column: keyof typeof width, text: string): void => {
    width[column] = Math.max(width[column], text.length);
  };
  for (const { node } of rows) {
    widen('nlink', String(node.nlink));
    widen('uid', String(node.uid));
    widen('gid', String(node.gid));
    if (node.rdev === undefined) {
      widen('size', showSize(node.size));
    } else {
      widen('major', String(node.rdev[0]));
      widen('minor', String(node.rdev[1]));
    }
  }
  if (width.major > 0) width.size = Math.max(width.size, width.major + 2 + width.minor);
  const showLink = options.showLink ?? quoteName;
  return rows.map(({ shownName, node }) => {
    const size =
      node.rdev === undefined
        ? showSize(node.size).padStart(width.size)
        : `${String(node.rdev[0]).padStart(width.size - width.minor - 2)}, ${String(node.rdev[1]).padStart(width.minor)}`;
    const access = hasACL ? (hasAccessList(node) ? '+' : ' ') : '';
    const link = node.target === undefined ? '' : ` -> ${showLink(node.target)}`;
    return [
      `${modeString(node)}${access}`,
      String(node.nlink).padStart(width.nlink),
      String(node.uid).padStart(width.uid),
      String(node.gid).padStart(width.gid),
      size,
      shortTime(node.mtimeSec, options.nowSec),
      `${shownName}${link}`,
    ].join(' ');
  });
}

/** `drwxr-xr-x`, with s, S, t and T for setuid, setgid and sticky. */
export function modeString(node: Pick<Node, 'kind' | 'mode'>): string {
  const { mode } = node;
  const triple = (shift: number, special: boolean, letter: string): string => {
    const bits = mode >> shift;
    const execute = (bits & 1) !== 0;
    const last = special ? (execute ? letter : letter.toUpperCase()) : execute ? 'x' : '-';
    return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${last}`;
  };
  return (
    TYPE_LETTER[node.kind] +
    triple(6, (mode & 0o4000) !== 0, 's') +
    triple(3, (mode & 0o2000) !== 0, 's') +
    triple(0, (mode & 0o1000) !== 0, 't')
  );
}

/** `Nov 21 00:16` for the last half year, else `Nov 21  2025`; in the local time zone. */
export function shortTime(sec: number, nowSec: number): string {
  const date = new Date(sec * 1000);
  // Beyond what a calendar can say, GNU ls prints the seconds.
  if (Number.isNaN(date.getTime())) return String(sec).padStart(12);
  const day = `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2)}`;
  const isRecent = sec > nowSec - HALF_YEAR_SEC && sec <= nowSec;
  const two = (value: number): string => String(value).padStart(2, '0');
  return isRecent
    ? `${day} ${two(date.getHours())}:${two(date.getMinutes())}`
    : `${day} ${String(date.getFullYear()).padStart(5)}`;
}

function hasAccessList(node: Node): boolean {
  return node.xattrs?.has(POSIX_ACL) ?? false;
}
