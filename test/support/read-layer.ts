/** A layer blob through the real parts: scanner, header decoder, span reader. */
import { LayerReader } from '../../src/blob/layer-reader.ts';
import { MemoryCache } from '../../src/blob/memory-cache.ts';
import type { Entry } from '../../src/layer/toc.ts';
import { uncompressed } from '../../src/units.ts';
import { layerIndexOf, tocOfBlob } from './layer-toc.ts';

export interface ReadLayer {
  readonly entries: readonly Entry[];
  /** The uncompressed layer, read span by span from its restart points. */
  readonly tar: Buffer;
}

/** `blob` is plain, gzip or zstd. @throws PeelError where the reader refuses the layer. */
export async function readLayer(blob: Buffer): Promise<ReadLayer> {
  const stored = layerIndexOf(await tocOfBlob(blob));
  const { toc } = stored;
  if (toc.uncompressedSize === 0) {
    return { entries: toc.entries, tar: Buffer.alloc(0) };
  }
  const reader = new LayerReader({
    stored,
    source: {
      digest: toc.digest,
      size: blob.length,
      async *fetch({ start, end }) {
        yield blob.subarray(start, end);
      },
    },
    cache: undefined,
    memory: new MemoryCache(),
  });
  try {
    const range = { start: uncompressed(0), end: uncompressed(toc.uncompressedSize) };
    return { entries: toc.entries, tar: await reader.read(range) };
  } finally {
    await reader.close();
  }
}
