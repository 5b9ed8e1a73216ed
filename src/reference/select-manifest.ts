/**
 * Which manifest of an image index a platform gets: FORMATS 1.9. The first of the best matches wins.
 * Attestations, artifacts and unknown media types are kept in the index but never chosen (E156, E164).
 */
import { PeelError } from '../errors.ts';
import type { Descriptor } from './descriptor.ts';
import { isImageConfigType, isIndexType, isManifestType } from './media-types.ts';
import { formatPlatform, type Platform, platformRank } from './platform.ts';

export type ManifestSelection =
  | { readonly kind: 'selected'; readonly descriptor: Descriptor }
  /**
   * No entry with a platform matches, and these have none: nested indexes, and manifests whose platform
   * stands in their config. In the order of the index; never empty.
   */
  | { readonly kind: 'undecided'; readonly candidates: readonly Descriptor[] };

/**
 * @param wanted the platform asked for, or the host's.
 * @throws PeelError ERR_PLATFORM_NOT_FOUND listing the platforms there are.
 */
export function selectManifest(descriptors: readonly Descriptor[], wanted: Platform): ManifestSelection {
  const candidates = descriptors.filter(isImageCandidate);
  const best = selectByPlatform(candidates, (descriptor) => descriptor.platform, wanted);
  if (best !== undefined) return { kind: 'selected', descriptor: best };
  const open = candidates.filter((descriptor) => descriptor.platform === undefined);
  if (open.length > 0) return { kind: 'undecided', candidates: open };
  throw platformNotFound(
    wanted,
    candidates.flatMap((descriptor) => descriptor.platform ?? []),
  );
}

/** The first of the items that suit `wanted` best, or undefined; items without a platform never do. */
export function selectByPlatform<Item>(
  items: readonly Item[],
  platformOf: (item: Item) => Platform | undefined,
  wanted: Platform,
): Item | undefined {
  let best: { item: Item; rank: number } | undefined;
  for (const item of items) {
    const platform = platformOf(item);
    const rank = platform === undefined ? undefined : platformRank(platform, wanted);
    if (rank !== undefined && (best === undefined || rank < best.rank)) best = { item, rank };
  }
  return best?.item;
}

/** Whether an entry of an index can be an image, or an index of images. */
export function isImageCandidate(descriptor: Descriptor): boolean {
  const { artifactType, mediaType } = descriptor;
  if (isAttestation(descriptor)) return false;
  if (isIndexType(mediaType)) return true;
  return isManifestType(mediaType) && (artifactType === undefined || isImageConfigType(artifactType));
}

/** BuildKit's attestation manifests, with their annotation or with nothing but `unknown/unknown`. */
function isAttestation(descriptor: Descriptor): boolean {
  const { annotations, platform } = descriptor;
  return (
    annotations?.['vnd.docker.reference.type'] === 'attestation-manifest' ||
    (platform?.os === 'unknown' && platform.architecture === 'unknown')
  );
}

export function platformNotFound(wanted: Platform, offered: readonly Platform[]): PeelError {
  const names = [...new Set(offered.map(formatPlatform))];
  const shown = names.slice(0, 50).join(', ') + (names.length > 50 ? `, and ${names.length - 50} more` : '');
  return new PeelError(
    'ERR_PLATFORM_NOT_FOUND',
    `no manifest for ${formatPlatform(wanted)}: ${names.length === 0 ? 'the index lists no image' : `there are ${shown}`}`,
    { facts: { platform: formatPlatform(wanted) } },
  );
}
