/** What `peel layers` says about a layer: from manifest and configuration, and from its index where there is one. */
import type { OwnIndexClaim, VerificationClass } from '../image/own-index-claim.ts';
import type { Image } from '../image.ts';
import type { Toc } from '../layer/toc.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import { chainIDs } from '../reference/identity.ts';

export interface LayerSummary {
  /** 0 = lowest. */
  readonly layer: number;
  readonly digest: string;
  /** Where the image does not name it (Docker before 1.10): known once the layer is indexed. */
  readonly diffID?: string;
  /** Of the layers up to this one; known with the diffIDs of all of them. */
  readonly chainID?: string;
  readonly mediaType: string;
  /** Compressed bytes. */
  readonly size: number;
  /** Known once the layer is indexed. */
  readonly uncompressedSize?: number;
  readonly entries?: number;
  readonly spans?: number;
  readonly isIndexed: boolean;
  /** How a part of the layer is read without the rest: a word of LAZY_BY below. */
  readonly lazyBy: string;
  /**
   * `A`: digest of the whole layer, and diffID where there is one, are proved before a byte of it is served. `B`: the
   * manifest names the index that the layer brings, and that each chunk. `C`: the manifest names an index beside the
   * image, and that each span. `D`: nothing verifies the index.
   */
  readonly verificationClass: VerificationClass;
}

/** All layers, lowest first. Reads indexes from the cache where they are there; asks for a SOCI index at most. */
export async function describeLayers(image: Image): Promise<LayerSummary[]> {
  const tocs = await Promise.all(image.layers.map((_, layer) => image.storedLayerToc(layer)));
  const diffIDs = image.layers.map(({ diffID }, layer) => diffID ?? tocs[layer]?.diffID);
  const chains = chainIDs(diffIDs);
  const claims = await Promise.all(image.layers.map((_, layer) => image.ownIndexOf(layer)));
  return image.layers.map(({ descriptor }, layer) => ({
    ...summaryOf(descriptor, layer, tocs[layer], claims[layer]),
    ...(diffIDs[layer] === undefined ? {} : { diffID: diffIDs[layer] }),
    ...(chains[layer] === undefined ? {} : { chainID: chains[layer] }),
  }));
}

function summaryOf(
  descriptor: Descriptor,
  layer: number,
  toc: Toc | undefined,
  claim: OwnIndexClaim | undefined,
): LayerSummary {
  // Until the layer is indexed, what the manifest names counts.
  const own = (toc === undefined ? claim?.key : toc.own) === undefined ? undefined : claim;
  return {
    layer,
    digest: descriptor.digest,
    mediaType: descriptor.mediaType,
    size: descriptor.size,
    ...(toc === undefined
      ? {}
      : { uncompressedSize: toc.uncompressedSize, entries: toc.entries.length, spans: toc.spans.length }),
    isIndexed: toc !== undefined,
    lazyBy: LAZY_BY[own?.format ?? toc?.compression ?? compressionNamedBy(descriptor.mediaType)],
    verificationClass: own?.verificationClass ?? 'A',
  };
}

const LAZY_BY = {
  none: 'ranges',
  gzip: 'restart points',
  zstd: 'frames',
  xz: 'streams',
  bzip2: 'streams',
  estargz: 'chunks (eStargz)',
  'zstd-chunked': 'chunks (zstd:chunked)',
  soci: 'restart points (SOCI)',
  peel: 'restart points (index of peel)',
  headers: 'ranges (headers alone)',
} as const;

/** A guess until the layer is indexed: the first bytes decide, not the media type. */
function compressionNamedBy(mediaType: string): 'none' | 'gzip' | 'zstd' {
  if (mediaType.includes('zstd')) return 'zstd';
  return mediaType.includes('gzip') || mediaType.includes('tgz') ? 'gzip' : 'none';
}
