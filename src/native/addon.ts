/**
 * The only file that loads the addon (native/), and what all of its typed faces need: checks of what goes in, and the
 * addon's statuses as PeelErrors.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { getSystemErrorMap } from 'node:util';
import { type ErrorCode, type ErrorFacts, PeelError } from '../errors.ts';

let loaded: unknown;

/**
 * What the addon exports, to be given types by who uses it. Loaded on first use, so that `--help` works without it. The
 * path is the same from `src/` and from `dist/`.
 * @throws PeelError ERR_NATIVE_MISSING.
 */
export function addonPart(): unknown {
  if (loaded === undefined) {
    const path = fileURLToPath(new URL('../../build/Release/peel.node', import.meta.url));
    try {
      loaded = createRequire(import.meta.url)(path) as unknown;
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
      throw new PeelError(
        'ERR_NATIVE_MISSING',
        `cannot load the native part: ${reason}; build it with: npm rebuild peel (in a checkout: npm run install)`,
        { facts: { path }, cause },
      );
    }
  }
  return loaded;
}

/** What the addon's errors carry. */
export interface NativeError extends Error {
  readonly code?: string;
  readonly offset?: number;
  readonly compressedOffset?: number;
}

const CODE_OF: Readonly<Record<string, ErrorCode>> = {
  invalid: 'ERR_LAYER_INVALID',
  limit: 'ERR_LIMIT_EXCEEDED',
  unsupported: 'ERR_UNSUPPORTED',
  window: 'ERR_CACHE',
  closed: 'ERR_INTERRUPTED',
  memory: 'ERR_IO',
};

/** Waits for native work; its failures become PeelErrors, misuse stays TypeError. */
export async function settled<Value>(subject: string, work: () => Promise<Value> | Value): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    const { code, message, offset, compressedOffset } = error as NativeError;
    const peelCode = code === undefined ? undefined : CODE_OF[code];
    if (peelCode === undefined) throw error;
    const facts: Record<string, number> = {};
    if (offset !== undefined) facts['offset'] = offset;
    if (compressedOffset !== undefined) facts['compressedOffset'] = compressedOffset;
    throw new PeelError(peelCode, `${subject}: ${message}${placeOf(facts)}`, { facts, cause: error });
  }
}

function placeOf(facts: ErrorFacts): string {
  const places: string[] = [];
  if (facts['offset'] !== undefined) places.push(`at byte ${facts['offset']} of the tar`);
  if (facts['compressedOffset'] !== undefined) places.push(`byte ${facts['compressedOffset']} of the blob`);
  return places.length === 0 ? '' : ` (${places.join(', ')})`;
}

export function errnoName(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[0] ?? `errno ${errno}`;
}

export function validateInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    throw new RangeError(`${name}: got ${String(value)}, want an integer from ${least} to ${most}`);
  }
}

export function validateBytes(name: string, value: unknown): asserts value is Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${name}: got ${typeof value}, want a Uint8Array`);
}
