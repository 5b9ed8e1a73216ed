/**
 * The documents by which our indexes travel (docs/INDEX-ARTIFACT.md): for each layer an OCI manifest that refers to it
 * by `subject`, and for the image an OCI index that lists them. Whoever knows the digest of that list knows all of it.
 *
 *   list (subject: the image's manifest) ─► artifact (subject: the layer) ─► TOC, packed; windows
 *
 * The list has the artifacts' manifests inside (`data` of their descriptors), so that reading an image takes a request
 * for the list, and one for the TOC of each layer.
 */
import { isPeelError } from '../errors.ts';
import { TOC_VERSION } from '../layer/toc-format.ts';
import { UnusableIndex } from '../layer/unusable-index.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import { digestOf } from '../reference/digest.ts';
import { OCI_EMPTY, OCI_INDEX, OCI_MANIFEST } from '../reference/media-types.ts';
import { parseDocument } from '../reference/parse-document.ts';
import type { StoredDocument } from '../source/source.ts';
import type { Digest } from '../units.ts';

/** Of an artifact, and of the list. */
export const LAYER_INDEX_TYPE = 'application/vnd.peel.layer-index.v1';
export const IMAGE_INDEX_TYPE = 'application/vnd.peel.image-index.v1';
/** With the version of the TOC: another one cannot be read. */
const TOC_TYPE = `application/vnd.peel.toc.v${TOC_VERSION}+br`;
const WINDOWS_TYPE = `application/vnd.peel.windows.v${TOC_VERSION}+br`;

const EMPTY = Buffer.from('{}');

/** A document or blob with what names it. */
export interface Content {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

export interface LayerArtifact {
  /** Of the layer. */
  readonly subject: Descriptor;
  readonly manifest: Content;
  /** The empty config, the TOC, and the windows where there are any, both packed. */
  readonly blobs: readonly Content[];
}

/** By layer: where its packed TOC is. */
export type LayerIndexes = ReadonlyMap<Digest, Descriptor>;

export function layerArtifact(layer: Descriptor, toc: Buffer, windows: Buffer): LayerArtifact {
  const config = contentOf(OCI_EMPTY, EMPTY);
  const layers = [
    contentOf(TOC_TYPE, toc),
    ...(windows.length === 0 ? [] : [contentOf(WINDOWS_TYPE, windows)]),
  ];
  const subject = plain(layer);
  const manifest = contentOf(
    OCI_MANIFEST,
    json({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      artifactType: LAYER_INDEX_TYPE,
      config: config.descriptor,
      layers: layers.map(({ descriptor }) => descriptor),
      subject,
    }),
  );
  return { subject, manifest, blobs: [config, ...layers] };
}

/** `image`: of its manifest. */
export function imageList(image: Descriptor, artifacts: readonly Pick<LayerArtifact, 'manifest'>[]): Content {
  const manifests = artifacts.map(({ manifest: { descriptor, bytes } }) => ({
    ...descriptor,
    artifactType: LAYER_INDEX_TYPE,
    data: bytes.toString('base64'),
  }));
  const list = {
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    artifactType: IMAGE_INDEX_TYPE,
    manifests,
    subject: plain(image),
  };
  return contentOf(OCI_INDEX, json(list));
}

/** The subjects and TOCs of a list's artifacts. @throws UnusableIndex where it is no such list. */
export function readList(list: StoredDocument): ReadArtifact[] {
  const index = parse(list.bytes, list.mediaType);
  if (index.kind !== 'index') throw new UnusableIndex('it is no list of indexes');
  return index.manifests
    .filter(({ artifactType }) => artifactType === LAYER_INDEX_TYPE)
    .map(({ data, digest }) => {
      if (data === undefined) throw new UnusableIndex(`the list does not have the manifest ${digest} inside`);
      return readArtifact({ digest, bytes: data });
    });
}

/** What an artifact is of, and its blobs. */
interface ReadArtifact {
  readonly subject: Descriptor;
  readonly toc: Descriptor;
  readonly windows?: Descriptor;
}

function readArtifact({ digest, bytes }: Pick<StoredDocument, 'digest' | 'bytes'>): ReadArtifact {
  const artifact = parse(bytes, OCI_MANIFEST);
  if (artifact.kind !== 'manifest' || artifact.subject === undefined) {
    throw new UnusableIndex(`${digest} does not say which layer it is of`);
  }
  const toc = artifact.layers.find(({ mediaType }) => mediaType === TOC_TYPE);
  if (toc === undefined) {
    const found = artifact.layers.map(({ mediaType }) => mediaType).join(', ');
    throw new UnusableIndex(`${digest} has no ${TOC_TYPE}: it holds ${found}, of another version of peel`);
  }
  const windows = artifact.layers.find(({ mediaType }) => mediaType === WINDOWS_TYPE);
  return { subject: artifact.subject, toc, ...(windows === undefined ? {} : { windows }) };
}

/** Where the packed TOC of a layer is, by an artifact that refers to it. @throws UnusableIndex where it is none. */
export function tocOfArtifact(document: StoredDocument, layer: Digest): Descriptor {
  const { subject, toc } = readArtifact(document);
  if (subject.digest === layer) return toc;
  throw new UnusableIndex(`${document.digest} is of another layer, ${subject.digest}`);
}

/** The same by layer, the first one where there are several. */
export function layerIndexesOf(list: StoredDocument): LayerIndexes {
  return new Map(
    readList(list)
      .reverse()
      .map(({ subject, toc }) => [subject.digest, toc]),
  );
}

function parse(bytes: Buffer, mediaType: string | undefined): ReturnType<typeof parseDocument> {
  try {
    return parseDocument(bytes, mediaType);
  } catch (error) {
    if (!isPeelError(error)) throw error;
    throw new UnusableIndex(`it cannot be read (${error.message})`, { cause: error });
  }
}

function contentOf(mediaType: string, bytes: Buffer): Content {
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
}

function plain({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
