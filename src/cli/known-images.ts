/** What `peel images` says: each image that the cache knows, its layers, and who else has them. */
import type { LayerUsage } from '../blob/cache-usage.ts';
import type { StoredImageRecord } from '../image/image-records.ts';

export interface KnownLayer {
  readonly digest: string;
  /** Compressed bytes. */
  readonly size: number;
  readonly isIndexed: boolean;
  /** On the disk: index and content. */
  readonly cachedBytes: number;
  /** Names of the other images that have it. */
  readonly sharedWith: readonly string[];
}

export interface KnownImage {
  readonly name: string;
  readonly digest: string;
  readonly platform: string;
  readonly lastUsed: Date;
  /** Compressed bytes; a layer that stands twice counts once, as it is fetched. */
  readonly size: number;
  /** On the disk; what is shared counts in each image. */
  readonly cachedBytes: number;
  /** Lowest first. */
  readonly layers: readonly KnownLayer[];
}

export function knownImages(
  records: readonly StoredImageRecord[],
  cached: readonly LayerUsage[],
): readonly KnownImage[] {
  const usageOf = new Map<string, LayerUsage>(cached.map((usage) => [usage.digest, usage]));
  const owners = new Map<string, Set<StoredImageRecord>>();
  for (const record of records) {
    for (const { digest } of record.layers) {
      owners.set(digest, (owners.get(digest) ?? new Set()).add(record));
    }
  }
  return records.map((record) => {
    const layers = record.layers.map(({ digest, size, ownKey }) => {
      const usages = [usageOf.get(digest), ownKey === undefined ? undefined : usageOf.get(ownKey)];
      const found = usages.filter((usage) => usage !== undefined);
      const others = [...(owners.get(digest) ?? [])].filter((owner) => owner !== record);
      return {
        digest,
        size,
        isIndexed: found.some(({ tocBytes }) => tocBytes > 0),
        cachedBytes: found.reduce(
          (sum, usage) => sum + usage.tocBytes + usage.windowBytes + usage.spanBytes + usage.backingBytes,
          0,
        ),
        sharedWith: others.map(({ name }) => name),
      };
    });
    const { name, digest, platform, lastUsed } = record;
    const once = [...new Map(layers.map((layer) => [layer.digest, layer])).values()];
    return {
      name,
      digest,
      platform,
      lastUsed,
      size: once.reduce((sum, layer) => sum + layer.size, 0),
      cachedBytes: once.reduce((sum, layer) => sum + layer.cachedBytes, 0),
      layers,
    };
  });
}
