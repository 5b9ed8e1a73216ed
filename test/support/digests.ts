/** Digests by Node's own hash: what ours are compared with. */
import { createHash } from 'node:crypto';
import type { Digest } from '../../src/units.ts';

export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function sha256Digest(bytes: Uint8Array | string): Digest {
  return `sha256:${sha256Hex(bytes)}` as Digest;
}
