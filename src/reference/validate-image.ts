/**
 * Whether a well-formed manifest is an image that can be mounted. Registries also store charts, signatures,
 * plugins and caches in manifests; those are refused by name (E160), as are encrypted layers (E161).
 */
import { PeelError } from '../errors.ts';
import { excerpt } from './digest.ts';
import type { ImageConfig, Manifest } from './documents.ts';
import {
  artifactNameOf,
  isEncryptedLayerType,
  isImageConfigType,
  isSchema1Type,
  isTarLayerType,
  OCI_EMPTY,
} from './media-types.ts';

/** @throws PeelError ERR_UNSUPPORTED saying what it is instead. */
export function validateImageManifest(manifest: Manifest): void {
  const { artifactType, config, layers } = manifest;
  const layerNames = layers.flatMap((layer) => artifactNameOf(layer.mediaType) ?? []);
  if (!isImageConfigType(config.mediaType)) {
    const named =
      artifactNameOf(config.mediaType) ??
      artifactNameOf(artifactType ?? '') ??
      layerNames[0] ??
      'an artifact';
    const type = config.mediaType === OCI_EMPTY ? (artifactType ?? config.mediaType) : config.mediaType;
    throw notAnImage(`${named} (${excerpt(type)})`);
  }
  layers.forEach((layer, at) => {
    if (isEncryptedLayerType(layer.mediaType)) {
      throw new PeelError(
        'ERR_UNSUPPORTED',
        `layer ${at} (${layer.digest}) is encrypted (${excerpt(layer.mediaType)}): encrypted images are not supported`,
        { facts: { layer: at, digest: layer.digest } },
      );
    }
    const named = artifactNameOf(layer.mediaType);
    if (named !== undefined)
      throw notAnImage(`${named} (layer ${at} has the type ${excerpt(layer.mediaType)})`);
    if (!isTarLayerType(layer.mediaType)) {
      throw new PeelError(
        'ERR_UNSUPPORTED',
        `layer ${at} (${layer.digest}) has the type ${excerpt(layer.mediaType)}: only tar layers can be read`,
        { facts: { layer: at, digest: layer.digest } },
      );
    }
  });
}

/**
 * That a config belongs to a manifest: as many diffIDs as layers (E146). Where the manifest is of schema 1, the
 * config was made up from it and has none.
 * @throws PeelError ERR_DOCUMENT_INVALID
 */
export function checkConfig(manifest: Manifest, config: ImageConfig): void {
  if (isSchema1Type(manifest.mediaType) || manifest.layers.length === config.diffIDs.length) return;
  throw new PeelError(
    'ERR_DOCUMENT_INVALID',
    `the manifest has ${manifest.layers.length} layers, its config (${manifest.config.digest}) has ${config.diffIDs.length} diff_ids`,
    { facts: { digest: manifest.config.digest } },
  );
}

function notAnImage(what: string): PeelError {
  return new PeelError(
    'ERR_UNSUPPORTED',
    `this is not a container image but ${what}: there is nothing to mount`,
  );
}
