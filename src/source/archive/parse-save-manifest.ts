/**
 * `manifest.json` of docker archives (Docker 1.10 and later): moby image/spec v1.2. Names are matched
 * without regard to case, as Docker does and jib relies on (E176); two that fold to one are refused.
 */
import { PeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { foldCase, isJsonObject, JsonFields } from '../../reference/json-fields.ts';
import { parseDescriptor } from '../../reference/parse-descriptor.ts';
import { MAX_LAYERS } from '../../reference/parse-document.ts';
import { type JsonValue, parseJson } from '../../reference/parse-json.ts';

/** FAULTS section 7. */
export const MAX_SAVE_MANIFEST_SIZE = 8 * 1024 * 1024;
const MAX_IMAGES = 10_000;

/** One image of a docker archive. */
export interface SavedImage {
  /** Member with the config. */
  readonly config: string;
  readonly repoTags: readonly string[];
  /** Members with the layers, lowest first. */
  readonly layers: readonly string[];
  /** By diffID: where a layer that the archive may lack came from. */
  readonly layerSources: ReadonlyMap<string, Descriptor>;
}

const FIELDS: ReadonlyMap<string, string> = new Map(
  ['config', 'repoTags', 'layers', 'layerSources', 'parent'].map((name) => [foldCase(name), name]),
);

/** @throws PeelError ERR_DOCUMENT_INVALID, also for `null` (E178), ERR_LIMIT_EXCEEDED. */
export function parseSaveManifest(bytes: Uint8Array, what: string): readonly SavedImage[] {
  const value = parseJson(bytes, what);
  if (!Array.isArray(value)) {
    throw new PeelError(
      'ERR_DOCUMENT_INVALID',
      `${what} is ${value === null ? 'null' : 'no array'}, expected an array of images`,
    );
  }
  if (value.length > MAX_IMAGES) {
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `${what} lists ${value.length} images: at most ${MAX_IMAGES} are read`,
    );
  }
  return value.map((item: JsonValue, at) => parseSavedImage(item, `${what}[${at}]`));
}

function parseSavedImage(value: JsonValue, where: string): SavedImage {
  const fields = new JsonFields(withFoldedNames(value, where), where, []);
  const layers = fields.texts('layers');
  if (layers.length > MAX_LAYERS) {
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `${where} has ${layers.length} layers: at most ${MAX_LAYERS} are read`,
    );
  }
  const sources = Object.entries(fields.object('layerSources'));
  return {
    config: fields.requiredText('config'),
    repoTags: fields.texts('repoTags'),
    layers,
    layerSources: new Map(
      sources.map(([diffID, source]) => [diffID, parseDescriptor(source, `${where}, LayerSources`)]),
    ),
  };
}

function withFoldedNames(value: JsonValue, where: string): JsonValue {
  if (!isJsonObject(value)) return value;
  const folded = Object.create(null) as Record<string, JsonValue>;
  for (const [written, field] of Object.entries(value)) {
    const name = FIELDS.get(foldCase(written));
    if (name === undefined) continue;
    if (name in folded) {
      throw new PeelError('ERR_DOCUMENT_INVALID', `${where} has the field ${name} twice, in different case`);
    }
    folded[name] = field;
  }
  return folded;
}
