/** Images as OCI layouts on disk, made for a test: layers from tars, a configuration with anything in it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import type { ByteString } from '../../src/units.ts';
import { sha256Digest } from './digests.ts';
import { type Member, writeTar } from './tar-bytes.ts';

/** A layer as it is to lie in the layout. */
export interface PreparedLayer {
  readonly blob: Buffer;
  /** What the blob decompresses to. */
  readonly tar: Buffer;
  readonly mediaType: string;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface LayoutImage {
  /** Lowest first; members become a tar and gzip. */
  readonly layers: readonly (readonly Member[] | PreparedLayer)[];
  readonly architecture?: string;
  readonly config?: object;
  readonly history?: readonly object[];
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface WrittenImage {
  readonly manifest: StoredDescriptor;
  readonly layers: readonly StoredDescriptor[];
}

export interface StoredDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Writes a layout of one image; `folder` is made. */
export function writeLayout(folder: string, image: LayoutImage): WrittenImage {
  mkdirSync(path.join(folder, 'blobs', 'sha256'), { recursive: true });
  const store = (mediaType: string, bytes: Buffer): StoredDescriptor => {
    const digest = sha256Digest(bytes);
    writeFileSync(blobFile(folder, digest), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const prepared = image.layers.map((layer) => ('blob' in layer ? layer : gzipLayer(layer)));
  const tars = prepared.map(({ tar }) => tar);
  const layers = prepared.map(({ blob, mediaType, annotations }) => ({
    ...store(mediaType, blob),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  }));
  const config = store(
    'application/vnd.oci.image.config.v1+json',
    Buffer.from(
      JSON.stringify({
        architecture: image.architecture ?? 'amd64',
        os: 'linux',
        config: image.config ?? {},
        rootfs: { type: 'layers', diff_ids: tars.map((tar) => sha256Digest(tar)) },
        ...(image.history === undefined ? {} : { history: image.history }),
      }),
    ),
  );
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const { annotations } = image;
  const manifest = store(
    mediaType,
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers, annotations })),
  );
  const platform = { architecture: image.architecture ?? 'amd64', os: 'linux' };
  writeFileSync(path.join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(
    path.join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, platform }] }),
  );
  return { manifest, layers };
}

function gzipLayer(members: readonly Member[]): PreparedLayer {
  const tar = Buffer.from(writeTar(members).bytes);
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
  return { blob: gzipSync(tar), tar, mediaType, annotations: {} };
}

export function blobFile(folder: string, digest: string): string {
  return path.join(folder, 'blobs', ...digest.split(':'));
}

/** A member with defaults; `name` is text or bytes. */
export function member(name: string, fields: Partial<Member> = {}): Member {
  return {
    name: name as ByteString,
    type: 'file',
    mode: fields.type === 'dir' ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    mtimeSec: 1_700_000_000,
    mtimeNsec: 0,
    ...fields,
  };
}
