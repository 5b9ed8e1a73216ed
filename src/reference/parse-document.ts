/**
 * Indexes and manifests out of bytes: image-spec image-index.md and manifest.md, distribution
 * manifest-v2-2.md and manifest-v2-1.md. The caller has checked digest and size (P1).
 *
 * A document that two readers could take for two things is refused (E155, CVE-2021-41190): it must not
 * have the fields of another kind, its `mediaType` must agree with the one it came under, and both with
 * what it holds.
 */
import { PeelError } from '../errors.ts';
import { excerpt } from './digest.ts';
import type { ImageIndex, Manifest } from './documents.ts';
import { JsonFields } from './json-fields.ts';
import {
  baseMediaType,
  DOCKER_CONFIG,
  DOCKER_MANIFEST,
  isIndexType,
  isManifestType,
  isSchema1Type,
  isUnspecificType,
  OCI_ARTIFACT_MANIFEST,
  OCI_INDEX,
  OCI_MANIFEST,
  SCHEMA1,
  SCHEMA1_SIGNED,
} from './media-types.ts';
import { parseDescriptor } from './parse-descriptor.ts';
import { type JsonValue, parseJson } from './parse-json.ts';
import { parseSchema1, type Schema1Manifest } from './parse-schema1.ts';
import { payloadOf } from './schema1-payload.ts';

/** FAULTS section 7; distribution-spec asks registries to take manifests of at least this size. */
export const MAX_DOCUMENT_SIZE = 4 * 1024 * 1024;
/** FAULTS section 7. Docker stops at 127 layers, overlayfs at about 500. */
export const MAX_LAYERS = 512;

const FIELDS = [
  'schemaVersion',
  'mediaType',
  'artifactType',
  'config',
  'layers',
  'blobs',
  'manifests',
  'subject',
  'annotations',
  'fsLayers',
  'history',
  'signatures',
] as const;

export type ParsedDocument = ImageIndex | Manifest | Schema1Manifest;

type Kind = 'index' | 'manifest' | 'schema1';

/** What each kind must not have, because it makes it another kind for another reader. */
const FOREIGN_FIELDS: Readonly<Record<Kind, readonly string[]>> = {
  index: ['config', 'layers', 'fsLayers', 'history', 'blobs', 'signatures'],
  manifest: ['manifests', 'fsLayers', 'history', 'blobs', 'signatures'],
  // Signatures stand outside of the payload, which alone is read.
  schema1: ['config', 'layers', 'manifests', 'blobs', 'signatures'],
};

/**
 * @param mediaType the one it came under: a Content-Type, or the descriptor's. Parameters are ignored, and
 * types that say nothing (`text/plain`) leave the decision to the content (E154).
 * @throws PeelError ERR_DOCUMENT_INVALID, ERR_LIMIT_EXCEEDED, ERR_UNSUPPORTED for artifact manifests,
 * ERR_DIGEST_MISMATCH for wrong embedded data.
 */
export function parseDocument(bytes: Uint8Array, mediaType?: string): ParsedDocument {
  if (bytes.length > MAX_DOCUMENT_SIZE) {
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `manifest of ${bytes.length} bytes: at most ${MAX_DOCUMENT_SIZE} are read`,
      { facts: { size: bytes.length } },
    );
  }
  const served = new JsonFields(parseJson(bytes, 'manifest'), 'manifest', FIELDS);
  const type = agreedType(served, mediaType);
  const kind = kindOf(served, type);
  const isSigned = kind === 'schema1' && served.has('signatures');
  const fields = isSigned
    ? new JsonFields(parseJson(payloadOf(bytes, served), 'manifest'), 'manifest', FIELDS)
    : served;
  for (const name of FOREIGN_FIELDS[kind]) {
    if (fields.has(name))
      throw fields.invalid(name, `makes the document ambiguous: it is read as ${NAME_OF[kind]}`);
  }
  validateSchemaVersion(fields, kind);
  if (kind === 'index') return parseIndex(fields, type ?? OCI_INDEX);
  if (kind === 'manifest') return parseManifest(fields, type);
  return parseSchema1(fields, isSigned ? SCHEMA1_SIGNED : SCHEMA1, MAX_LAYERS);
}

const NAME_OF: Readonly<Record<Kind, string>> = {
  index: 'an image index',
  manifest: 'an image manifest',
  schema1: 'a schema 1 manifest',
};

/** The media type that document and transport agree on; undefined where neither says anything. */
function agreedType(fields: JsonFields, came: string | undefined): string | undefined {
  const outside = came === undefined ? '' : baseMediaType(came);
  const inside = fields.text('mediaType') ?? '';
  if (isUnspecificType(outside)) return inside === '' ? undefined : inside;
  if (inside !== '' && inside !== outside && !(isSchema1Type(inside) && isSchema1Type(outside))) {
    throw fields.invalid('mediaType', `is ${excerpt(inside)}, but the document came as ${excerpt(outside)}`);
  }
  return outside;
}

function kindOf(fields: JsonFields, type: string | undefined): Kind {
  if (type === undefined) return guessKind(fields);
  if (isIndexType(type)) return 'index';
  if (isManifestType(type)) return 'manifest';
  if (isSchema1Type(type)) return 'schema1';
  const what = type === OCI_ARTIFACT_MANIFEST ? 'an artifact manifest' : `of type ${excerpt(type)}`;
  throw new PeelError('ERR_UNSUPPORTED', `the document is ${what}, not an image index or manifest`);
}

function guessKind(fields: JsonFields): Kind {
  if (fields.has('manifests')) return 'index';
  if (fields.has('config') || fields.has('layers')) return 'manifest';
  if (fields.has('fsLayers') || fields.value('schemaVersion') === 1) return 'schema1';
  validateSchemaVersion(fields, 'manifest');
  throw new PeelError(
    'ERR_DOCUMENT_INVALID',
    'the document is neither an image index nor a manifest: it has no manifests, config, layers or fsLayers',
  );
}

/** Absent is tolerated where a media type said what it is; some layouts leave it out of index.json. */
function validateSchemaVersion(fields: JsonFields, kind: Kind): void {
  const version = fields.value('schemaVersion');
  const expected = kind === 'schema1' ? 1 : 2;
  if (version === expected || (version === undefined && kind !== 'schema1')) return;
  const found = typeof version === 'number' ? String(version) : typeof version;
  throw fields.invalid('schemaVersion', `is ${found}, expected ${expected}`);
}

function parseIndex(fields: JsonFields, mediaType: string): ImageIndex {
  if (!fields.has('manifests') && fields.value('schemaVersion') === undefined) {
    throw fields.invalid('manifests', 'is missing');
  }
  return {
    kind: 'index',
    mediaType,
    manifests: fields
      .array('manifests')
      .map((value: JsonValue, at) => parseDescriptor(value, `index, manifests[${at}]`)),
    annotations: fields.textMap('annotations'),
  };
}

function parseManifest(fields: JsonFields, type: string | undefined): Manifest {
  const layers = fields.array('layers');
  if (layers.length > MAX_LAYERS) {
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `manifest with ${layers.length} layers: at most ${MAX_LAYERS} are read`,
      {
        facts: { layers: layers.length },
      },
    );
  }
  const config = parseDescriptor(fields.value('config'), 'manifest, config');
  const artifactType = fields.text('artifactType') ?? '';
  const subject = fields.value('subject');
  return {
    kind: 'manifest',
    mediaType: type ?? (config.mediaType === DOCKER_CONFIG ? DOCKER_MANIFEST : OCI_MANIFEST),
    config,
    layers: layers.map((value, at) => parseDescriptor(value, `manifest, layers[${at}]`)),
    annotations: fields.textMap('annotations'),
    ...(artifactType === '' ? {} : { artifactType }),
    ...(subject === undefined || subject === null
      ? {}
      : { subject: parseDescriptor(subject, 'manifest, subject') }),
  };
}
