/** Descriptors out of documents: image-spec descriptor.md. */
import type { Descriptor } from './descriptor.ts';
import { verifyBytes } from './digest.ts';
import { JsonFields } from './json-fields.ts';
import type { JsonValue } from './parse-json.ts';
import type { Platform } from './platform.ts';

const DESCRIPTOR_FIELDS = [
  'mediaType',
  'digest',
  'size',
  'data',
  'urls',
  'annotations',
  'platform',
  'artifactType',
] as const;
const PLATFORM_FIELDS = ['os', 'architecture', 'variant', 'os.version', 'os.features', 'features'] as const;

/**
 * @param where names the descriptor in messages: `manifest, layers[3]`.
 * @throws PeelError ERR_DOCUMENT_INVALID, ERR_UNSUPPORTED for a digest algorithm, ERR_DIGEST_MISMATCH when
 * the embedded `data` is not what digest and size say (E158).
 */
export function parseDescriptor(value: JsonValue | undefined, where: string): Descriptor {
  const fields = new JsonFields(value, where, DESCRIPTOR_FIELDS);
  const digest = fields.digest('digest');
  const size = fields.size('size');
  const data = parseData(fields);
  if (data !== undefined) verifyBytes(data, { digest, size }, `${where}: data`);
  const platform = parsePlatformObject(fields);
  const artifactType = fields.text('artifactType');
  return {
    mediaType: fields.text('mediaType') ?? '',
    digest,
    size,
    ...(data === undefined ? {} : { data }),
    ...(fields.has('urls') ? { urls: fields.texts('urls') } : {}),
    ...(fields.has('annotations') ? { annotations: fields.textMap('annotations') } : {}),
    ...(platform === undefined ? {} : { platform }),
    ...(artifactType === undefined || artifactType === '' ? {} : { artifactType }),
  };
}

/** The platform as written; undefined where it is absent or lacks a half, to be read from the config (E166). */
function parsePlatformObject(descriptor: JsonFields): Platform | undefined {
  if (!descriptor.has('platform')) return undefined;
  const fields = new JsonFields(
    descriptor.value('platform'),
    `${descriptor.where}, platform`,
    PLATFORM_FIELDS,
  );
  return platformOf(fields);
}

/** Shared with the config, whose platform stands in fields of the same names. */
export function platformOf(fields: JsonFields): Platform | undefined {
  const os = fields.text('os') ?? '';
  const architecture = fields.text('architecture') ?? '';
  const variant = fields.text('variant') ?? '';
  const osVersion = fields.text('os.version') ?? '';
  if (os === '' || architecture === '') return undefined;
  return {
    os,
    architecture,
    ...(variant === '' ? {} : { variant }),
    ...(osVersion === '' ? {} : { osVersion }),
  };
}

/** Base64 as RFC 4648 section 4 writes it, padded: what Buffer would silently skip is refused. */
function parseData(fields: JsonFields): Buffer | undefined {
  const text = fields.text('data');
  if (text === undefined) return undefined;
  const data = Buffer.from(text, 'base64');
  if (data.toString('base64') !== text) throw fields.invalid('data', 'is not base64');
  return data;
}
