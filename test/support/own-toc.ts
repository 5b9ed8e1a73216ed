/** TOCs from the indexes that layers bring, and what is read by them: through the real reader, requests counted. */
import { LayerReader } from '../../src/blob/layer-reader.ts';
import { MemoryCache } from '../../src/blob/memory-cache.ts';
import { ownIndexClaimOf } from '../../src/image/own-index-claim.ts';
import type { Toc } from '../../src/layer/toc.ts';
import { parseDigest } from '../../src/reference/digest.ts';
import { type CompressedRange, uncompressed } from '../../src/units.ts';
import { sha256Digest } from './digests.ts';
import { layerIndexOf } from './layer-toc.ts';

export interface LayerWithIndex {
  readonly blob: Buffer;
  readonly mediaType: string;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface OwnToc {
  readonly toc: Toc | undefined;
  /** Ranges that were asked for to get it. */
  readonly requests: readonly CompressedRange[];
}

/** By the annotations; the blob is not looked at otherwise. @throws UnusableIndex */
export async function ownTocOf(
  layer: LayerWithIndex,
  allowUnverified = false,
  externalToc?: Buffer,
): Promise<OwnToc> {
  const { blob, mediaType, annotations } = layer;
  const digest = parseDigest(sha256Digest(blob));
  const requests: CompressedRange[] = [];
  const claim = ownIndexClaimOf(
    { mediaType, digest, size: blob.length, annotations },
    undefined,
    allowUnverified,
  );
  const built = await claim?.read({
    layer: (range) => {
      requests.push(range);
      return Promise.resolve(blob.subarray(range.start, range.end));
    },
    ignoresRanges: () => false,
    whole: () =>
      externalToc === undefined
        ? Promise.reject(new Error('no other blob is asked for'))
        : Promise.resolve(externalToc),
    stargzToc: () =>
      Promise.resolve(
        externalToc && {
          mediaType,
          digest: parseDigest(sha256Digest(externalToc)),
          size: externalToc.length,
        },
      ),
  });
  return { toc: built?.toc, requests };
}

export interface OwnReader {
  readonly reader: LayerReader;
  readonly requests: CompressedRange[];
}

/** Over the blob, nothing kept on disk. */
export function readerOf(
  toc: Toc,
  blob: Buffer,
  memoryBytes?: number,
  windows: Buffer = Buffer.alloc(0),
  pieceBytes = 10_000,
): OwnReader {
  const requests: CompressedRange[] = [];
  const reader = new LayerReader({
    stored: layerIndexOf({ toc, windows }),
    source: {
      digest: toc.digest,
      size: blob.length,
      async *fetch(range) {
        requests.push(range);
        for (let at = range.start as number; at < range.end; at += pieceBytes) {
          yield blob.subarray(at, Math.min(at + pieceBytes, range.end));
        }
      },
    },
    cache: undefined,
    memory: new MemoryCache(memoryBytes),
    limits: { maxReadaheadBytes: 0 },
  });
  return { reader, requests };
}

/** The whole uncompressed space of a TOC, all of it verified. */
export async function spaceOf(toc: Toc, blob: Buffer): Promise<Buffer> {
  if (toc.uncompressedSize === 0) return Buffer.alloc(0);
  const { reader } = readerOf(toc, blob);
  try {
    return await reader.read({ start: uncompressed(0), end: uncompressed(toc.uncompressedSize) });
  } finally {
    await reader.close();
  }
}
