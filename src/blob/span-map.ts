/**
 * The file `spans.map`: which spans of a layer are in the cache, and when each was used last. It describes
 * itself, so that eviction needs no TOC.
 *
 *   0   magic "peelmap1"
 *   8   number of spans n                                u32
 *   12  crc32 of bytes 0 to 11 and the lengths           u32
 *   16  uncompressed length of each span                 n × u32
 *   ..  last use of each span, 0 = not in the cache      n × u32, seconds since 1970
 *
 * Little-endian. The first part is written once, in one rename; the last-use entries are written in place by
 * any process, without locks: an entry is a hint, the sha256 of the span decides.
 */
import { crc32 } from 'node:zlib';
import type { Span } from '../layer/toc.ts';

const MAGIC = Buffer.from('peelmap1', 'latin1');
export const HEADER_BYTES = 16;

export interface SpanMap {
  /** Uncompressed bytes of each span; they follow each other in `spans`. */
  readonly lengths: Uint32Array;
  /** Seconds since 1970; 0 where the span is not there. */
  readonly lastUse: Uint32Array;
}

/** Where the last-use entry of a span lies. */
export function entryPosition(spanCount: number, span: number): number {
  return HEADER_BYTES + 4 * (spanCount + span);
}

/** The fixed part for a layer with these spans. */
export function encodeMapHeader(spans: readonly Span[]): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + 4 * spans.length);
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(spans.length, 8);
  spans.forEach((span, index) => {
    bytes.writeUInt32LE(span.end - span.start, HEADER_BYTES + 4 * index);
  });
  bytes.writeUInt32LE(headerSum(bytes), 12);
  return bytes;
}

/** The whole file decoded, or undefined where it is damaged. Missing entries at the end count as 0. */
export function decodeMap(bytes: Buffer): SpanMap | undefined {
  if (bytes.length < HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) return undefined;
  const count = bytes.readUInt32LE(8);
  const fixed = HEADER_BYTES + 4 * count;
  if (fixed > bytes.length || bytes.readUInt32LE(12) !== headerSum(bytes.subarray(0, fixed)))
    return undefined;
  return {
    lengths: decodeNumbers(bytes.subarray(HEADER_BYTES, fixed), count),
    lastUse: decodeNumbers(bytes.subarray(fixed), count),
  };
}

/** `count` entries; those beyond the end of `bytes` are 0. */
export function decodeNumbers(bytes: Buffer, count: number): Uint32Array {
  const numbers = new Uint32Array(count);
  const there = Math.min(count, Math.floor(bytes.length / 4));
  for (let index = 0; index < there; index += 1) numbers[index] = bytes.readUInt32LE(4 * index);
  return numbers;
}

/** Now, as an entry. */
export function useNow(): number {
  return Math.max(1, Math.floor(Date.now() / 1000)) >>> 0;
}

function headerSum(fixed: Buffer): number {
  return crc32(Buffer.concat([fixed.subarray(0, 12), fixed.subarray(HEADER_BYTES)]));
}
