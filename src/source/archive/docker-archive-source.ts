/**
 * Images in a docker archive (`docker save`, Docker 1.10 and later; kaniko, jib, bazel):
 *
 *   manifest.json              [{Config, RepoTags, Layers}]
 *   <config>, <layers>         members that it names; layers as tar, or compressed
 *
 * There is no manifest in the sense of the registry, so one is made up: config and layer descriptors in
 * Docker's form. Its bytes, and so the digest that the image is known by, depend on the content of the
 * image alone; they are not the digest that a registry has for it, which hashes compressed layers. Trust
 * comes from the config: its diffIDs are what layers must unpack to.
 */
import { PeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { digestOf, excerpt, verifyBytes } from '../../reference/digest.ts';
import { DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST } from '../../reference/media-types.ts';
import { MAX_CONFIG_SIZE, parseConfig } from '../../reference/parse-config.ts';
import type { Digest } from '../../units.ts';
import { readWhole } from '../file-blob.ts';
import type { StoredDocument } from '../source.ts';
import { chooseSaved } from './choose-saved.ts';
import { digestInName, identifyLayer } from './member-digest.ts';
import { MAX_SAVE_MANIFEST_SIZE, parseSaveManifest, type SavedImage } from './parse-save-manifest.ts';
import { SavedSource } from './saved-source.ts';

export const SAVE_MANIFEST_FILE = 'manifest.json';

export class DockerArchiveSource extends SavedSource {
  /** The images that manifest.json lists. */
  async readImages(): Promise<readonly SavedImage[]> {
    const what = `${this.name}: ${SAVE_MANIFEST_FILE}`;
    const file = await this.archive.open(SAVE_MANIFEST_FILE);
    if (file === undefined)
      throw new PeelError('ERR_IMAGE_NOT_FOUND', `${this.name} has no ${SAVE_MANIFEST_FILE}`);
    return parseSaveManifest(await readWhole(file, MAX_SAVE_MANIFEST_SIZE, what), what);
  }

  /** The config of an image; where its name is a digest, the bytes have it. */
  async readConfig(image: SavedImage): Promise<Buffer> {
    const what = `${this.name}: config ${excerpt(image.config)}`;
    const member = this.archive.members.find(image.config);
    if (member === undefined) throw new PeelError('ERR_IMAGE_NOT_FOUND', `${what} is not in the archive`);
    const bytes = await readWhole(this.archive.openMember(member), MAX_CONFIG_SIZE, what);
    const digest = digestInName(image.config);
    if (digest !== undefined) verifyBytes(bytes, { digest, size: bytes.length }, what);
    this.blobs.set(digest ?? digestOf(bytes), member);
    return bytes;
  }

  protected async makeManifest(signal: AbortSignal | undefined): Promise<StoredDocument> {
    const idOf = async (saved: SavedImage): Promise<Digest> => digestOf(await this.readConfig(saved));
    const image = await chooseSaved(await this.readImages(), this.selection, idOf, this.name);
    const configBytes = await this.readConfig(image);
    const { diffIDs } = parseConfig(configBytes);
    if (diffIDs.length !== image.layers.length) {
      throw new PeelError(
        'ERR_DOCUMENT_INVALID',
        `${this.name}: ${SAVE_MANIFEST_FILE} lists ${image.layers.length} layers, the config ${diffIDs.length} diff_ids`,
      );
    }
    const layers: Descriptor[] = [];
    for (const [at, diffID] of diffIDs.entries()) {
      layers.push(await this.#describeLayer(image, at, diffID, signal));
    }
    const manifest = {
      schemaVersion: 2,
      mediaType: DOCKER_MANIFEST,
      config: {
        mediaType: DOCKER_CONFIG,
        size: configBytes.length,
        digest: digestInName(image.config) ?? digestOf(configBytes),
      },
      layers: layers.map(({ mediaType, size, digest, urls }) => ({ mediaType, size, digest, urls })),
    };
    const bytes = Buffer.from(JSON.stringify(manifest));
    return { mediaType: DOCKER_MANIFEST, digest: digestOf(bytes), bytes };
  }

  async #describeLayer(
    image: SavedImage,
    at: number,
    diffID: Digest,
    signal: AbortSignal | undefined,
  ): Promise<Descriptor> {
    const name = image.layers[at] ?? '';
    const member = this.archive.members.find(name);
    // A layer that is left out (E182) is an error for whoever reads it, not for the image.
    if (member === undefined)
      return image.layerSources.get(diffID) ?? { mediaType: DOCKER_LAYER, digest: diffID, size: 0 };
    const identity = await identifyLayer(this.archive.openMember(member), name, diffID, signal);
    this.blobs.set(identity.digest, member);
    return { ...identity, size: member.size };
  }
}
