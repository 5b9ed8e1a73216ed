/**
 * A path out of a layer, for a message: names are hostile bytes, and a message reaches terminals and logs.
 */
import type { ByteString } from '../units.ts';

/** More than this says nothing more to a reader. */
const MAX_SHOWN = 200;

/** In quotes, with `\xNN` for every byte that is no printable ASCII, the middle of long ones left out. */
export function shownPath(path: ByteString): string {
  const cut =
    path.length <= MAX_SHOWN
      ? path
      : `${path.slice(0, MAX_SHOWN / 2)}...${path.slice(path.length - MAX_SHOWN / 2)}`;
  const escaped = cut.replaceAll(
    /[^\x20-\x7e]|["\\]/g,
    (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  return `"${escaped}"`;
}
