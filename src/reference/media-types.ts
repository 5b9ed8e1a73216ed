/**
 * Media types of images, complete (image-spec media-types.md, distribution manifest-v2-1.md and -2.md), and what
 * each says. They are hints: layers are read by their first bytes, documents by their content; a media
 * type decides only where it names something that is not an image at all.
 */

export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
export const OCI_EMPTY = 'application/vnd.oci.empty.v1+json';
export const OCI_ARTIFACT_MANIFEST = 'application/vnd.oci.artifact.manifest.v1+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
export const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json';
export const DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar';
export const DOCKER_LAYER_GZIP = 'application/vnd.docker.image.rootfs.diff.tar.gzip';
export const DOCKER_LAYER_ZSTD = 'application/vnd.docker.image.rootfs.diff.tar.zstd';
export const SCHEMA1 = 'application/vnd.docker.distribution.manifest.v1+json';
export const SCHEMA1_SIGNED = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
/** What an image can begin with, and is asked for: distribution-spec "Pulling manifests". */
export const IMAGE_DOCUMENT_TYPES = [
  OCI_INDEX,
  OCI_MANIFEST,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  // Last: registries that can convert an image to schema 1 do so for clients that know nothing better.
  SCHEMA1_SIGNED,
  SCHEMA1,
] as const;

/** `type/subtype` of a Content-Type, without parameters, in lower case. */
export function baseMediaType(text: string): string {
  const semicolon = text.indexOf(';');
  return (semicolon < 0 ? text : text.slice(0, semicolon)).trim().toLowerCase();
}

export function isIndexType(mediaType: string): boolean {
  return mediaType === OCI_INDEX || mediaType === DOCKER_LIST;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST;
}

export function isSchema1Type(mediaType: string): boolean {
  return mediaType === SCHEMA1 || mediaType === SCHEMA1_SIGNED;
}

/** Types that servers send for any JSON: the content decides. */
export function isUnspecificType(mediaType: string): boolean {
  return UNSPECIFIC_TYPES.has(mediaType);
}

/** Docker before 1.10 pushed configs as octet streams; they are in registries to this day. */
export function isImageConfigType(mediaType: string): boolean {
  return mediaType === OCI_CONFIG || mediaType === DOCKER_CONFIG || mediaType === 'application/octet-stream';
}

export function isEncryptedLayerType(mediaType: string): boolean {
  return mediaType.endsWith('+encrypted');
}

/**
 * Whether a layer of this type may hold a tar: the known layer types, unspecific ones, and others whose name
 * ends in tar, gzip or zstd. False for signatures, attestations, charts' provenance and the like.
 */
export function isTarLayerType(mediaType: string): boolean {
  return mediaType === '' || LAYER_TYPE.test(mediaType) || UNSPECIFIC_LAYER_TYPES.has(mediaType);
}

/** Whether a layer of this type is a tar that is not compressed, as far as a type can say it. */
export function isPlainTarType(mediaType: string): boolean {
  return /(?:^|[./])tar$/.test(mediaType);
}

/** What an artifact's config or layer type says about it, for the refusal of an artifact by name. */
export function artifactNameOf(mediaType: string): string | undefined {
  return ARTIFACT_NAMES.find(([pattern]) => pattern.test(mediaType))?.[1];
}

const UNSPECIFIC_TYPES: ReadonlySet<string> = new Set([
  '',
  'application/json',
  'application/octet-stream',
  'text/plain',
  'text/json',
]);

const LAYER_TYPE = /(?:[./+-])(?:tar|gzip|gz|tgz|zstd)$/;
const UNSPECIFIC_LAYER_TYPES: ReadonlySet<string> = new Set([
  'application/octet-stream',
  'application/tar',
  'application/gzip',
  'application/zstd',
]);

const ARTIFACT_NAMES: readonly (readonly [RegExp, string])[] = [
  [/^application\/vnd\.cncf\.helm\./, 'a Helm chart'],
  [/^application\/vnd\.dev\.cosign\.simplesigning\./, 'a cosign signature'],
  [/^application\/vnd\.dsse\.envelope\./, 'a cosign attestation'],
  [/^application\/vnd\.dev\.(?:cosign|sigstore)\./, 'a cosign artifact'],
  [/^application\/vnd\.cncf\.notary\./, 'a Notary signature'],
  [/^application\/vnd\.in-toto\+/, 'an attestation'],
  [/^application\/vnd\.docker\.plugin\./, 'a Docker plugin'],
  [/^application\/vnd\.buildkit\.cacheconfig\./, 'a BuildKit cache'],
  [/^application\/vnd\.(?:cyclonedx|syft)|spdx/, 'a bill of materials'],
  [/^application\/vnd\.wasm\.|^application\/wasm$/, 'a WebAssembly module'],
  [/^application\/vnd\.erofs\./, 'an EROFS layer'],
];
