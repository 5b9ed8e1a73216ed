/**
 * What the snapshotter needs to know of an image before it promises a layer of it: names that cannot change their
 * meaning, and the chainIDs by which containerd knows stacks of layers.
 */
import type { Image } from '../../image.ts';
import { chainIDs } from '../../reference/identity.ts';
import { isEncryptedLayerType, isTarLayerType } from '../../reference/media-types.ts';
import { formatReference, parseRegistryReference } from '../../reference/registry-reference.ts';
import type { Digest } from '../../units.ts';

export interface ImageFacts {
  /** With the digest of the manifest. */
  readonly image: string;
  readonly layers: readonly {
    readonly digest: Digest;
    /** Of this layer and those below it; undefined where the image does not say what they unpack to. */
    readonly chainID: Digest | undefined;
    /** It may hold a tar that can be read. */
    readonly isReadable: boolean;
  }[];
}

/**
 * An image of a registry by the digest of its manifest.
 * @throws PeelError ERR_USAGE where `reference` is none of a registry: a path would be opened on this machine.
 */
export function pinnedName(reference: string, manifest: Digest): string {
  const { registry, repository } = parseRegistryReference(reference);
  return `docker://${formatReference({ registry, repository, digest: manifest })}`;
}

export function factsOf(image: Image, reference: string): ImageFacts {
  const chains = chainIDs(image.layers.map(({ diffID }) => diffID));
  return {
    image: pinnedName(reference, image.digest),
    layers: image.layers.map(({ descriptor: { digest, mediaType } }, index) => ({
      digest,
      chainID: chains[index],
      isReadable: !isEncryptedLayerType(mediaType) && isTarLayerType(mediaType),
    })),
  };
}
