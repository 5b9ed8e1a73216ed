/** Paths inside the image as users type and read them. */
import type { ByteString } from '../units.ts';
import { encodeArgument } from './raw-arguments.ts';

/** `.` and empty components, and the slash at the end, do not change where a name leads. */
const IDLE_COMPONENTS = new Set(['', '.']);

/**
 * The bytes of a path argument, absolute. A path without a slash in front counts from the root too: the
 * image has no working directory.
 */
export function imagePath(argument: string): ByteString {
  const bytes = encodeArgument(argument);
  return (bytes.startsWith('/') ? bytes : `/${bytes}`) as ByteString;
}

/** The path without idle components: `/usr//./lib/` is `/usr/lib`. `..` stays: what it leads to depends on links. */
export function tidyPath(path: ByteString): ByteString {
  const components = path.split('/').filter((component) => !IDLE_COMPONENTS.has(component));
  return `/${components.join('/')}` as ByteString;
}

export function joinPath(directory: ByteString, name: ByteString): ByteString {
  return (directory.endsWith('/') ? directory + name : `${directory}/${name}`) as ByteString;
}
