/** An image on a scripted server: layers as they are given, whatever is in them. */
import { gunzipSync } from 'node:zlib';
import { sha256Digest } from './digests.ts';
import type { ScriptedServer, ServedDescriptor } from './scripted-server.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar';

/** Layers gzip or plain, lowest first; `diffIDs` of what cannot be unpacked. Resolves with their descriptors. */
export function serveImage(
  server: ScriptedServer,
  repository: string,
  layers: readonly Buffer[],
  diffIDs: readonly string[] = layers.map((blob) => sha256Digest(tarOf(blob))),
): readonly ServedDescriptor[] {
  const descriptors = layers.map((blob) => ({
    ...server.addBlob(repository, blob),
    mediaType: isGzip(blob) ? `${LAYER}+gzip` : LAYER,
  }));
  const config = {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: diffIDs },
  };
  const configDescriptor = server.addBlob(repository, Buffer.from(JSON.stringify(config)));
  const manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { ...configDescriptor, mediaType: CONFIG },
    layers: descriptors,
  };
  server.addManifest(repository, 'latest', Buffer.from(JSON.stringify(manifest)), MANIFEST);
  return descriptors;
}

function tarOf(blob: Buffer): Buffer {
  return isGzip(blob) ? gunzipSync(blob) : blob;
}

function isGzip(blob: Buffer): boolean {
  return blob[0] === 0x1f && blob[1] === 0x8b;
}
