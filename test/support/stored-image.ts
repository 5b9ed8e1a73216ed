/**
 * The images of a layout folder or an OCI archive, read in the plainest way: for tests that must not depend on
 * `src/source/`. Every manifest with tar layers, indexes followed depth first, each digest once.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';

export interface StoredImage {
  /** Of the manifest. */
  readonly digest: string;
  /** Lowest first, as stored. */
  readonly layers: readonly Buffer[];
}

/** Gives the bytes of a file of the layout, or undefined. */
type Files = (name: string) => Buffer | undefined;

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly data?: string;
}

interface Document {
  readonly manifests?: readonly Descriptor[];
  readonly layers?: readonly Descriptor[];
}

export function imagesOfLayout(folder: string): StoredImage[] {
  return imagesOf((name) => {
    try {
      return readFileSync(path.join(folder, name));
    } catch {
      return undefined;
    }
  });
}

export async function imagesOfArchive(file: string): Promise<StoredImage[]> {
  const files = new Map<string, Buffer>();
  const stored = readFileSync(file);
  const unpacker = extract();
  unpacker.end(stored.readUInt16BE(0) === 0x1f8b ? gunzipSync(stored) : stored);
  for await (const member of unpacker) {
    const chunks: Buffer[] = [];
    for await (const chunk of member) {
      chunks.push(chunk as Buffer);
    }
    files.set(path.posix.normalize(member.header.name), Buffer.concat(chunks));
  }
  return imagesOf((name) => files.get(name));
}

function imagesOf(files: Files): StoredImage[] {
  const seen = new Set<string>();
  const images: StoredImage[] = [];
  const visit = (document: Document, digest: string): void => {
    for (const descriptor of document.manifests ?? []) {
      if (!seen.has(descriptor.digest)) {
        seen.add(descriptor.digest);
        const bytes = blobOf(files, descriptor);
        if (bytes !== undefined) {
          visit(JSON.parse(bytes.toString('utf8')) as Document, descriptor.digest);
        }
      }
    }
    const { layers } = document;
    if (layers !== undefined && layers.every(({ mediaType }) => /\btar\b|\.tar\./.test(mediaType))) {
      const blobs = layers.map((layer) => blobOf(files, layer));
      if (blobs.every((blob) => blob !== undefined)) {
        images.push({ digest, layers: blobs });
      }
    }
  };
  visit(JSON.parse(String(files('index.json'))) as Document, '');
  return images;
}

function blobOf(files: Files, { digest, data }: Descriptor): Buffer | undefined {
  return (
    files(`blobs/${digest.replace(':', '/')}`) ??
    (data === undefined ? undefined : Buffer.from(data, 'base64'))
  );
}
