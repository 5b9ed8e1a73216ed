/**
 * Images in an archive of `docker save` 1.9 and older: moby image/spec v1.
 *
 *   repositories         {"busybox": {"latest": "<id>"}}; absent where an image was saved by its ID
 *   <id>/json            the image that a layer made: {"id", "parent", "created", "config", ...}
 *   <id>/layer.tar       the layer; usually a plain tar
 *   <id>/VERSION         always 1.0
 *
 * An image is a layer and its parents. Docker pushed such images as manifests of schema 1; the same manifest is made
 * up here, so that from then on there is one way. The archive has no digest at all: that of a layer is computed from
 * its bytes, each time the archive is opened, and tells only that they do not change afterwards.
 */
import { PeelError } from '../../errors.ts';
import { digestOf, excerpt, parseDigest } from '../../reference/digest.ts';
import { isJsonObject, JsonFields } from '../../reference/json-fields.ts';
import { SCHEMA1 } from '../../reference/media-types.ts';
import { MAX_DOCUMENT_SIZE, MAX_LAYERS } from '../../reference/parse-document.ts';
import { type JsonValue, parseJson } from '../../reference/parse-json.ts';
import type { Digest } from '../../units.ts';
import { readWhole } from '../file-blob.ts';
import type { StoredDocument } from '../source.ts';
import { chooseSaved } from './choose-saved.ts';
import { hashFile } from './member-digest.ts';
import type { Archive } from './open-archive.ts';
import { MAX_SAVE_MANIFEST_SIZE } from './parse-save-manifest.ts';
import { SavedSource } from './saved-source.ts';

export const REPOSITORIES_FILE = 'repositories';
const IMAGE_FILE = /^([0-9a-f]{64})\/json$/;
const ID = /^[0-9a-f]{64}$/;
/** Of one `json`: Docker's are a few KB. */
const MAX_IMAGE_SIZE = 1024 * 1024;

interface LegacyImage {
  readonly id: string;
  readonly repoTags: readonly string[];
}

interface Level {
  readonly id: string;
  readonly parent: string;
  /** Of its `json`, as stored. */
  readonly text: string;
}

/** Whether an archive without `manifest.json` is one of these. */
export function isLegacyArchive({ members }: Archive): boolean {
  return members.has(REPOSITORIES_FILE) || members.names().some((name) => IMAGE_FILE.test(name));
}

export class LegacyArchiveSource extends SavedSource {
  protected async makeManifest(signal: AbortSignal | undefined): Promise<StoredDocument> {
    const images = await this.#readImages();
    const idOf = async ({ id }: LegacyImage): Promise<Digest> => parseDigest(`sha256:${id}`);
    const { id } = await chooseSaved(images, this.selection, idOf, this.name);
    const chain = await this.#readChain(id);
    const fsLayers: { blobSum: Digest }[] = [];
    for (const level of chain) fsLayers.push({ blobSum: await this.#hashLayer(level.id, signal) });
    const history = chain.map(({ text }) => ({ v1Compatibility: text }));
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 1, fsLayers, history }));
    return { mediaType: SCHEMA1, digest: digestOf(bytes), bytes };
  }

  /** The images that have a name; where none has, those that are no other's parent. */
  async #readImages(): Promise<readonly LegacyImage[]> {
    const file = await this.archive.open(REPOSITORIES_FILE);
    if (file === undefined) return this.#findHeads();
    const what = `${this.name}: ${REPOSITORIES_FILE}`;
    const repositories = parseJson(await readWhole(file, MAX_SAVE_MANIFEST_SIZE, what), what);
    const names = new Map<string, string[]>();
    for (const [repository, tags] of entriesOf(repositories, what)) {
      for (const [tag, id] of entriesOf(tags, `${what}, ${excerpt(repository)}`)) {
        if (typeof id !== 'string') {
          throw new PeelError('ERR_DOCUMENT_INVALID', `${what}: ${excerpt(tag)} has no image ID`);
        }
        const known = names.get(id);
        if (known === undefined) names.set(id, [`${repository}:${tag}`]);
        else known.push(`${repository}:${tag}`);
      }
    }
    return [...names].map(([id, repoTags]) => ({ id, repoTags }));
  }

  async #findHeads(): Promise<readonly LegacyImage[]> {
    const ids = this.archive.members.names().flatMap((name) => IMAGE_FILE.exec(name)?.[1] ?? []);
    if (ids.length > MAX_LAYERS) {
      throw new PeelError(
        'ERR_LIMIT_EXCEEDED',
        `${this.name} has ${ids.length} layers and no ${REPOSITORIES_FILE}: at most ${MAX_LAYERS} are looked at`,
      );
    }
    const parents = new Set<string>();
    for (const id of ids) parents.add((await this.#readLevel(id)).parent);
    return ids.filter((id) => !parents.has(id)).map((id) => ({ id, repoTags: [] }));
  }

  /** Newest first. @throws PeelError ERR_DOCUMENT_INVALID for a chain that bites its tail (E168) */
  async #readChain(newest: string): Promise<Level[]> {
    const chain: Level[] = [];
    const seen = new Set<string>();
    let length = 0;
    for (let id = newest; id !== ''; ) {
      if (seen.has(id)) {
        throw new PeelError('ERR_DOCUMENT_INVALID', `${this.name}: layer ${id} is its own ancestor`);
      }
      if (chain.length === MAX_LAYERS) {
        throw new PeelError('ERR_LIMIT_EXCEEDED', `${this.name} has more than ${MAX_LAYERS} layers`);
      }
      seen.add(id);
      const level = await this.#readLevel(id);
      chain.push(level);
      length += level.text.length;
      if (length > MAX_DOCUMENT_SIZE) {
        throw new PeelError(
          'ERR_LIMIT_EXCEEDED',
          `${this.name} says more than ${MAX_DOCUMENT_SIZE} bytes about its layers`,
        );
      }
      id = level.parent;
    }
    return chain;
  }

  async #readLevel(id: string): Promise<Level> {
    if (!ID.test(id)) {
      throw new PeelError(
        'ERR_DOCUMENT_INVALID',
        `${this.name}: ${excerpt(id)} is no image ID: expected 64 hex digits`,
      );
    }
    const what = `${this.name}: ${id}/json`;
    const file = await this.archive.open(`${id}/json`);
    if (file === undefined) throw new PeelError('ERR_IMAGE_NOT_FOUND', `${what} is not in the archive`);
    const bytes = await readWhole(file, MAX_IMAGE_SIZE, what);
    const fields = new JsonFields(parseJson(bytes, what), what, ['id', 'parent']);
    const named = fields.requiredText('id');
    if (named !== id) throw fields.invalid('id', `is ${excerpt(named)}, expected that of its folder`);
    return { id, parent: fields.text('parent') ?? '', text: bytes.toString('utf8') };
  }

  async #hashLayer(id: string, signal: AbortSignal | undefined): Promise<Digest> {
    const member = this.archive.members.find(`${id}/layer.tar`);
    if (member === undefined) {
      throw new PeelError('ERR_IMAGE_NOT_FOUND', `${this.name}: ${id}/layer.tar is not in the archive`);
    }
    const digest = await hashFile(this.archive.openMember(member), signal);
    this.blobs.set(digest, member);
    return digest;
  }
}

function entriesOf(value: JsonValue, where: string): [string, JsonValue][] {
  if (isJsonObject(value)) return Object.entries(value);
  throw new PeelError('ERR_DOCUMENT_INVALID', `${where} is no object`);
}
