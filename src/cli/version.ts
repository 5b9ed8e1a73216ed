/** The version, from package.json beside the program. */
import { readFileSync } from 'node:fs';

// Two folders up from src/cli and from dist/cli alike.
const PACKAGE = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};

export const VERSION = PACKAGE.version;
