/** Everything of an image in an archive, as the source gives it. */
import type { Manifest } from '../../src/reference/documents.ts';
import { parseDocument } from '../../src/reference/parse-document.ts';
import type { Selection } from '../../src/reference/transport.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { compressed } from '../../src/units.ts';
import { openTestArchive } from '../support/open-archive.ts';
import { collect } from './made-image.ts';

export interface Opened {
  readonly name: string;
  readonly manifest: Manifest;
  readonly manifestDigest: string;
  readonly config: Buffer;
  /** As stored. */
  readonly layers: readonly Buffer[];
}

export async function readManifest(source: ImageSource): Promise<Manifest> {
  const document = await source.resolve();
  const manifest = parseDocument(document.bytes, document.mediaType);
  if (manifest.kind !== 'manifest') throw new Error('expected a manifest');
  return manifest;
}

export async function readLayer(source: ImageSource, manifest: Manifest, at: number): Promise<Buffer> {
  const descriptor = manifest.layers[at];
  if (descriptor === undefined) throw new Error(`no layer ${at}`);
  const whole = { start: compressed(0), end: compressed(descriptor.size) };
  return collect(source.openBlob(descriptor).fetch(whole));
}

/** Everything of an image whose top document is a manifest. */
export async function readAll(
  file: string,
  selection?: Selection,
  transport?: 'docker-archive' | 'oci-archive',
): Promise<Opened> {
  const source = await openTestArchive(file, transport, selection);
  try {
    const manifest = await readManifest(source);
    const config = await source.fetchBlob(manifest.config, 1 << 20);
    const layers: Buffer[] = [];
    for (const at of manifest.layers.keys()) layers.push(await readLayer(source, manifest, at));
    return { name: source.name, manifest, manifestDigest: (await source.resolve()).digest, config, layers };
  } finally {
    await source.close();
  }
}
