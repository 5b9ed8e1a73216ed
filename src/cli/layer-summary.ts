/** What `peel layers` says about a layer: from manifest and configuration, and from its index where there is one. */
import type { Image } from '../image.ts';

export interface LayerSummary {
  /** 0 = lowest. */
  readonly layer: number;
  readonly digest: string;
  readonly diffID: string;
  readonly mediaType: string;
  /** Compressed bytes. */
  readonly size: number;
  /** Known once the layer is indexed. */
  readonly uncompressedSize?: number;
  readonly entries?: number;
  readonly spans?: number;
  readonly isIndexed: boolean;
  /** How a part of the layer is read without the rest: `ranges`, `restart points`, `frames`. */
  readonly lazyBy: string;
  /** `A`: digest of the whole layer and diffID are proved before a byte of it is served. */
  readonly verificationClass: 'A';
}

/** Reads the index from the cache if it is there; makes no request. */
export async function describeLayer(image: Image, layer: number): Promise<LayerSummary> {
  const { descriptor, diffID } = image.layers[layer] ?? {};
  if (descriptor === undefined || diffID === undefined) throw new RangeError(`no layer ${layer}`);
  const toc = await image.storedLayerToc(layer);
  return {
    layer,
    digest: descriptor.digest,
    diffID,
    mediaType: descriptor.mediaType,
    size: descriptor.size,
    ...(toc === undefined
      ? {}
      : { uncompressedSize: toc.uncompressedSize, entries: toc.entries.length, spans: toc.spans.length }),
    isIndexed: toc !== undefined,
    lazyBy: LAZY_BY[toc?.compression ?? compressionNamedBy(descriptor.mediaType)],
    verificationClass: 'A',
  };
}

const LAZY_BY = {
  none: 'ranges',
  gzip: 'restart points',
  zstd: 'frames',
} as const;

/** A guess until the layer is indexed: the first bytes decide, not the media type. */
function compressionNamedBy(mediaType: string): keyof typeof LAZY_BY {
  if (mediaType.includes('zstd')) return 'zstd';
  return mediaType.includes('gzip') || mediaType.includes('tgz') ? 'gzip' : 'none';
}
