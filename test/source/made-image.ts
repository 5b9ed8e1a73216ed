/** Images made in memory for these tests, and written as a folder or a tar. */
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Header, pack } from 'tar-stream';
import { sha256Digest } from '../support/digests.ts';

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
export const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar';
export const REF_NAME = 'org.opencontainers.image.ref.name';

export interface MadeDescriptor {
  mediaType: string;
  digest: string;
  size: number;
  platform?: object;
  annotations?: Record<string, string>;
  artifactType?: string;
}

export interface TarMember {
  readonly name: string;
  readonly body?: string | Buffer;
  readonly type?: Header['type'];
  readonly linkname?: string;
}

export async function tarOf(members: readonly TarMember[]): Promise<Buffer> {
  const stream = pack();
  for (const { name, body, type, linkname } of members) {
    stream.entry(
      { name, ...(type === undefined ? {} : { type }), ...(linkname === undefined ? {} : { linkname }) },
      Buffer.from(body ?? ''),
    );
  }
  stream.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function writeTarFile(file: string, members: readonly TarMember[]): Promise<void> {
  await pipeline([await tarOf(members)], createWriteStream(file));
}

/** The files of an OCI layout, by their path in it. */
export class MadeLayout {
  readonly files = new Map<string, Buffer>([['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')]]);

  addBlob(mediaType: string, content: Buffer | string | object): MadeDescriptor {
    const bytes =
      typeof content === 'string' || Buffer.isBuffer(content)
        ? Buffer.from(content)
        : Buffer.from(JSON.stringify(content));
    const digest = sha256Digest(bytes);
    this.files.set(MadeLayout.pathOf(digest), bytes);
    return { mediaType, digest, size: bytes.length };
  }

  /** A manifest with one layer of `text`, which is a tar as little as it needs to be here. */
  addImage(
    text: string,
    platform: { os?: string; architecture?: string; variant?: string } = {},
  ): MadeDescriptor {
    const layer = this.addBlob(OCI_LAYER, text);
    const config = this.addBlob(OCI_CONFIG, {
      ...platform,
      rootfs: { type: 'layers', diff_ids: [layer.digest] },
    });
    return this.addBlob(OCI_MANIFEST, { schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: [layer] });
  }

  addIndex(manifests: readonly object[]): MadeDescriptor {
    return this.addBlob(OCI_INDEX, { schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  }

  setIndex(manifests: readonly object[]): this {
    this.files.set(
      'index.json',
      Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests })),
    );
    return this;
  }

  write(directory: string): string {
    for (const [name, bytes] of this.files) {
      const file = path.join(directory, name);
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, bytes);
    }
    return directory;
  }

  members(): TarMember[] {
    return [...this.files].map(([name, body]) => ({ name, body }));
  }

  static pathOf(digest: string): string {
    return `blobs/${digest.replace(':', '/')}`;
  }
}

/** Reads a whole async iterable of bytes. */
export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
