/** TOCs of plain layers made from their bytes alone, without the scanner: for tests of what lies above it. */
import { createHash } from 'node:crypto';
import type { Toc } from '../../src/layer/toc.ts';
import { compressed, uncompressed } from '../../src/units.ts';
import { sha256Digest } from '../support/digests.ts';

/** Bytes that do not repeat and depend on `seed` alone. */
export function madeBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let index = 0; index < length; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    bytes[index] = state & 0xff;
  }
  return bytes;
}

export interface MadeTocOptions {
  readonly spanSize?: number;
  /** One checkpoint for so many spans; default 1. */
  readonly spansPerCheckpoint?: number;
}

/** The TOC of an uncompressed blob; entries are left out, nothing here looks at them. */
export function madeToc(bytes: Buffer, options: MadeTocOptions = {}): Toc {
  const spanSize = options.spanSize ?? 1000;
  const perCheckpoint = options.spansPerCheckpoint ?? 1;
  const starts: number[] = [];
  for (let start = 0; start < bytes.length; start += spanSize) starts.push(start);
  return {
    digest: sha256Digest(bytes),
    diffID: sha256Digest(bytes),
    compression: 'none',
    compressedSize: bytes.length,
    uncompressedSize: bytes.length,
    entries: [],
    checkpoints: starts
      .filter((_, index) => index % perCheckpoint === 0)
      .map((start) => ({
        compressedOffset: compressed(start),
        uncompressedOffset: uncompressed(start),
        bits: 0,
        windowOffset: 0,
        windowLength: 0,
      })),
    spans: starts.map((start, index) => {
      const end = Math.min(start + spanSize, bytes.length);
      return {
        start: uncompressed(start),
        end: uncompressed(end),
        checkpoint: Math.floor(index / perCheckpoint),
        compressedEnd: compressed(end),
        sha256: createHash('sha256').update(bytes.subarray(start, end)).digest(),
      };
    }),
    warnings: [],
  };
}
