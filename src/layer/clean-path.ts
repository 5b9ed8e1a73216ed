/**
 * Names of members are cleaned by their text alone, as umoci's CleanPath does: `/a`, `./a`, `a/`, `b/../a`
 * and `../a` are all `a` (FORMATS E60 to E62). Symbolic links are no matter here: the tree follows them.
 */
import type { ByteString } from '../units.ts';

/** PATH_MAX less its NUL: the longest path that a system call takes. */
export const MAX_PATH = 4095;
/**
 * Of all paths and link targets of a layer: a hundred bytes each for five million entries. Both a tar under gzip and a
 * stored TOC say long names again and again in a few bytes, and each becomes a string of its own.
 */
export const MAX_NAME_BYTES = 512 * 1024 ** 2;
/** NAME_MAX: the longest name that the kernel's directory cache takes. */
const MAX_COMPONENT = 255;
/** image-spec layer.md "Whiteouts"; a whiteout may hide a name of 255 bytes, so it is longer itself. */
const WHITEOUT_PREFIX = '.wh.';

/** Components joined by `/`; the root is the empty string; `..` stops at the root. */
export function cleanPath(name: string): ByteString {
  const from = name.startsWith('./') ? 2 : name.startsWith('/') ? 1 : 0;
  const to = name.endsWith('/') ? Math.max(name.length - 1, from) : name.length;
  const inner = name.slice(from, to);
  if (!NEEDS_CLEANING.test(inner)) return inner as ByteString;
  const kept: string[] = [];
  for (const component of inner.split('/')) {
    if (component === '' || component === '.') continue;
    if (component === '..') kept.pop();
    else kept.push(component);
  }
  return kept.join('/') as ByteString;
}

/** An empty, `.` or `..` component anywhere. */
const NEEDS_CLEANING = /(?:^|\/)\.{0,2}(?:\/|$)/;

/** What is too long about a cleaned path, or undefined. */
export function lengthProblem(path: string): string | undefined {
  if (path.length > MAX_PATH) return `a path of ${path.length} bytes, at most ${MAX_PATH} can be shown`;
  if (path.length <= MAX_COMPONENT) return undefined;
  let start = 0;
  while (start <= path.length) {
    const slash = path.indexOf('/', start);
    const end = slash === -1 ? path.length : slash;
    const isWhiteout = slash === -1 && path.startsWith(WHITEOUT_PREFIX, start);
    const limit = MAX_COMPONENT + (isWhiteout ? WHITEOUT_PREFIX.length : 0);
    if (end - start > limit) return `a name of ${end - start} bytes, at most ${limit} can be shown`;
    start = end + 1;
  }
  return undefined;
}
