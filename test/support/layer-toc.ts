/** Layers of tests through the real scanner. */
import type { LayerIndex } from '../../src/blob/decode-run.ts';
import { type BuiltToc, buildToc } from '../../src/layer/build-toc.ts';
import type { Entry, Toc } from '../../src/layer/toc.ts';
import { sha256Digest } from './digests.ts';

export async function* chunksOf(bytes: Uint8Array, size = 65_536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** The TOC of a blob whose digest is taken to be the right one. */
export function tocOfBlob(blob: Uint8Array, chunkSize?: number): Promise<BuiltToc> {
  return buildToc(chunksOf(blob, chunkSize), { digest: sha256Digest(blob), size: blob.length });
}

/** What readers of a layer's bytes want of its TOC. */
export function layerIndexOf({ toc, windows }: BuiltToc): LayerIndex & { readonly toc: Toc } {
  return {
    toc,
    readWindow: async (checkpoint) => {
      const { windowOffset = 0, windowLength = 0 } = toc.checkpoints[checkpoint] ?? {};
      return windowLength === 0 ? undefined : windows.subarray(windowOffset, windowOffset + windowLength);
    },
  };
}

/** The content of a file, holes included. */
export function contentOf(tar: Uint8Array, entry: Entry): Buffer {
  const pieces = entry.sparse ?? [{ offset: 0, length: entry.size }];
  const content = Buffer.alloc(entry.size);
  let at: number = entry.dataOffset;
  for (const { offset, length } of pieces) {
    content.set(tar.subarray(at, at + length), offset);
    at += length;
  }
  return content;
}
