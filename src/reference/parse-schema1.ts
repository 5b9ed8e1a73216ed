/**
 * Docker's manifests of schema 1 (before 2016): distribution manifest-v2-1.md. They list layers newest first, each
 * with a piece of JSON for the image that the layer made, the newest of which is what a config is today.
 *
 *   fsLayers   [{blobSum}, ...]            history   [{v1Compatibility: "{id, parent, created, config, ...}"}, ...]
 *
 * Rules as Docker's own (`fixManifestLayers`): IDs are 64 hex digits, each layer's parent is the one below it, a
 * layer that repeats the ID of the one below is left out, and `throwaway` layers changed nothing.
 */
import { PeelError } from '../errors.ts';
import type { Digest } from '../units.ts';
import { excerpt } from './digest.ts';
import { isJsonObject, JsonFields } from './json-fields.ts';
import { type JsonObject, type JsonValue, parseJson } from './parse-json.ts';

/** A manifest that says neither how large its layers are nor what they unpack to. */
export interface Schema1Manifest {
  readonly kind: 'schema1';
  readonly mediaType: string;
  /** Lowest first, without the throwaway ones. */
  readonly layers: readonly Digest[];
  /** What Docker would make of the history: an image config, but for `rootfs`, which nobody knows yet. */
  readonly config: Buffer;
}

/** One element of fsLayers with its history. */
interface Level {
  readonly blob: Digest;
  readonly id: string;
  readonly parent: string;
  readonly isThrowaway: boolean;
  readonly image: JsonObject;
  readonly fields: JsonFields;
}

const ID = /^[0-9a-f]{64}$/;
const IMAGE_FIELDS = [
  'id',
  'parent',
  'throwaway',
  'created',
  'author',
  'comment',
  'container_config',
] as const;
/** Of the v1 image alone, not of a config; and what is computed here instead. */
const NOT_IN_CONFIG: ReadonlySet<string> = new Set([
  'id',
  'parent',
  'parent_id',
  'layer_id',
  'throwaway',
  'Size',
  'rootfs',
  'history',
]);

/** @throws PeelError ERR_DOCUMENT_INVALID, ERR_LIMIT_EXCEEDED for more than `maxLayers` (E152). */
export function parseSchema1(manifest: JsonFields, mediaType: string, maxLayers: number): Schema1Manifest {
  const blobs = manifest.array('fsLayers');
  const history = manifest.array('history');
  if (blobs.length !== history.length) {
    throw manifest.invalid('history', `has ${history.length} elements, fsLayers has ${blobs.length}`);
  }
  if (blobs.length > maxLayers) {
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `manifest with ${blobs.length} layers: at most ${maxLayers} are read`,
    );
  }
  const newestFirst = blobs.map((blob, at) => levelOf(blobOf(blob, at), imageOf(history[at], at), at));
  const levels = chainOf(newestFirst, manifest);
  const newest = levels.at(-1);
  if (newest === undefined) throw manifest.invalid('fsLayers', 'is empty');
  return {
    kind: 'schema1',
    mediaType,
    layers: levels.filter((level) => !level.isThrowaway).map((level) => level.blob),
    config: configOf(newest, levels, manifest.text('architecture')),
  };
}

function blobOf(value: JsonValue, at: number): Digest {
  return new JsonFields(value, `manifest, fsLayers[${at}]`, ['blobSum']).digest('blobSum');
}

function imageOf(value: JsonValue | undefined, at: number): JsonObject {
  const where = `manifest, history[${at}]`;
  const text = new JsonFields(value, where, ['v1Compatibility']).requiredText('v1Compatibility');
  const image = parseJson(Buffer.from(text), `${where}, v1Compatibility`);
  if (isJsonObject(image)) return image;
  throw new PeelError('ERR_DOCUMENT_INVALID', `${where}, v1Compatibility is no object`);
}

function levelOf(blob: Digest, image: JsonObject, at: number): Level {
  const fields = new JsonFields(image, `manifest, history[${at}], v1Compatibility`, IMAGE_FIELDS);
  const id = fields.requiredText('id');
  if (!ID.test(id)) throw fields.invalid('id', `is ${excerpt(id)}, expected 64 hex digits`);
  const parent = fields.text('parent') ?? '';
  return { blob, id, parent, isThrowaway: fields.boolean('throwaway'), image, fields };
}

/** Lowest first; `newestFirst` as the manifest has it. */
function chainOf(newestFirst: readonly Level[], manifest: JsonFields): Level[] {
  const chain: Level[] = [];
  const seen = new Set<string>();
  for (const level of newestFirst.toReversed()) {
    const below = chain.at(-1)?.id ?? '';
    if (level.id === below) continue;
    if (seen.has(level.id)) {
      throw manifest.invalid('history', `has the ID ${level.id} twice, with others between`);
    }
    if (level.parent !== below) {
      throw level.fields.invalid(
        'parent',
        `is ${excerpt(level.parent)}, but below ${level.id} lies ${excerpt(below)}`,
      );
    }
    seen.add(level.id);
    chain.push(level);
  }
  return chain;
}

function configOf(newest: Level, levels: readonly Level[], architecture: string | undefined): Buffer {
  const kept = Object.entries(newest.image).filter(([name]) => !NOT_IN_CONFIG.has(name));
  const config = {
    ...(architecture === undefined ? {} : { architecture }),
    ...Object.fromEntries(kept),
    history: levels.map(historyOf),
  };
  return Buffer.from(JSON.stringify(config));
}

function historyOf({ fields, isThrowaway }: Level): object {
  const run = new JsonFields(fields.object('container_config'), `${fields.where}, container_config`, ['Cmd']);
  const command = run.texts('Cmd').join(' ');
  return {
    created: fields.text('created'),
    author: fields.text('author'),
    ...(command === '' ? {} : { created_by: command }),
    comment: fields.text('comment'),
    ...(isThrowaway ? { empty_layer: true } : {}),
  };
}
