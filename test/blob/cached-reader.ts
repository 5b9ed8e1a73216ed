/** A reader of a plain made-up layer over a cache directory, as a process would open it. */
import { type CacheDir, type CacheLimits, openCacheDir } from '../../src/blob/cache-dir.ts';
import { LayerReader, type ReadLimits } from '../../src/blob/layer-reader.ts';
import { MemoryCache } from '../../src/blob/memory-cache.ts';
import type { SpanCache } from '../../src/blob/span-cache.ts';
import type { Toc } from '../../src/layer/toc.ts';
import { uncompressed } from '../../src/units.ts';
import { madeBytes, madeToc } from './made-toc.ts';
import { MemorySource } from './memory-source.ts';

export interface CachedReader {
  readonly bytes: Buffer;
  readonly toc: Toc;
  readonly source: MemorySource;
  readonly cache: SpanCache;
  readonly dir: CacheDir;
  readonly reader: LayerReader;
  /** Reads one whole span; true where it is right. */
  isRight(span: number): Promise<boolean>;
  /** Reads the whole layer; true where it is right. */
  isAllRight(): Promise<boolean>;
  /** As at the end of a process. */
  close(): Promise<void>;
}

export interface CachedReaderOptions {
  readonly size?: number;
  readonly spanSize?: number;
  readonly seed?: number;
  readonly cacheLimits?: CacheLimits;
  readonly limits?: ReadLimits;
  /** Default 0: everything comes from the disk or the source. */
  readonly memoryBytes?: number;
}

export async function openCachedReader(
  folder: string,
  options: CachedReaderOptions = {},
): Promise<CachedReader> {
  const bytes = madeBytes(options.size ?? 200_000, options.seed ?? 1);
  const toc = madeToc(bytes, { spanSize: options.spanSize ?? 10_000 });
  const source = new MemorySource(bytes);
  // The disk that the tests run on may be fuller than the default allows.
  const dir = await openCacheDir(folder, { minFreeShare: 0, ...options.cacheLimits });
  const cache = dir.openSpanCache(toc);
  const reader = new LayerReader({
    stored: { toc, readWindow: async () => await Promise.resolve(undefined) },
    source,
    cache,
    memory: new MemoryCache(options.memoryBytes ?? 0),
    limits: { maxReadaheadBytes: 0, ...options.limits },
  });
  return {
    bytes,
    toc,
    source,
    cache,
    dir,
    reader,
    async isRight(span) {
      const { start, end } = toc.spans[span] ?? { start: uncompressed(0), end: uncompressed(0) };
      return (await reader.read({ start, end })).equals(bytes.subarray(start, end));
    },
    async isAllRight() {
      const end = uncompressed(bytes.length);
      return (await reader.read({ start: uncompressed(0), end })).equals(bytes);
    },
    async close() {
      await reader.close();
      await cache.close();
      await dir.close();
    },
  };
}
