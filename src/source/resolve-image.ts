/**
 * From what a name points to, down to the manifest of one platform and its config.
 *
 *   resolve() ─► image index ─► (nested index ─►) manifest ─► config
 */
import { isPeelError, PeelError } from '../errors.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import { digestOf } from '../reference/digest.ts';
import type { ImageConfig, ImageIndex, Manifest } from '../reference/documents.ts';
import { DOCKER_CONFIG, DOCKER_LAYER_GZIP } from '../reference/media-types.ts';
import { MAX_CONFIG_SIZE, parseConfig } from '../reference/parse-config.ts';
import { type ParsedDocument, parseDocument } from '../reference/parse-document.ts';
import type { Schema1Manifest } from '../reference/parse-schema1.ts';
import { hostPlatform, type Platform, platformRank } from '../reference/platform.ts';
import {
  isImageCandidate,
  platformNotFound,
  selectByPlatform,
  selectManifest,
} from '../reference/select-manifest.ts';
import { checkConfig, validateImageManifest } from '../reference/validate-image.ts';
import type { Digest } from '../units.ts';
import type { ImageSource, StoredDocument } from './source.ts';

/** Indexes inside indexes (E157). Two are seen in practice; a cycle cannot be built with digests. */
const MAX_INDEX_DEPTH = 4;
/** Documents opened for one image, also where the platform stands in the configs alone (E166) and indexes nest. */
const MAX_OPENED_DOCUMENTS = 64;

export interface ResolvedImage {
  readonly manifest: Manifest;
  readonly manifestDocument: StoredDocument;
  /** Of the outermost index, where there is one. */
  readonly indexDigest: Digest | undefined;
  /** That index. */
  readonly indexDocument?: StoredDocument;
  readonly config: ImageConfig;
  readonly configBytes: Buffer;
}

interface Found {
  readonly manifest: Manifest;
  readonly document: StoredDocument;
}

/**
 * @param wanted undefined for this host; then an image that exists for one other platform alone is taken as
 * it is, since looking into it needs no CPU (`docker run` warns there, too).
 * @throws PeelError ERR_PLATFORM_NOT_FOUND, or whatever is wrong with a document.
 */
export async function resolveImage(
  source: ImageSource,
  wanted: Platform | undefined,
  signal?: AbortSignal,
): Promise<ResolvedImage> {
  const top = await source.resolve(signal);
  const found = await new Resolution(source, wanted, signal).open(top, 0);
  validateImageManifest(found.manifest);
  const configBytes = await source.fetchBlob(found.manifest.config, MAX_CONFIG_SIZE, signal);
  const config = parseConfig(configBytes);
  checkConfig(found.manifest, config);
  if (wanted !== undefined && platformRank(config.platform, wanted) === undefined) {
    throw platformNotFound(wanted, [config.platform]);
  }
  return {
    manifest: found.manifest,
    manifestDocument: found.document,
    indexDigest: found.document.digest === top.digest ? undefined : top.digest,
    ...(found.document.digest === top.digest ? {} : { indexDocument: top }),
    config,
    configBytes,
  };
}

class Resolution {
  readonly #source: ImageSource;
  readonly #wanted: Platform;
  /** False where the user asked for a platform. */
  readonly #takesOther: boolean;
  readonly #signal: AbortSignal | undefined;
  #fetched = 0;

  constructor(source: ImageSource, wanted: Platform | undefined, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#wanted = wanted ?? hostPlatform();
    this.#takesOther = wanted === undefined;
    this.#signal = signal;
  }

  async open(document: StoredDocument, depth: number): Promise<Found> {
    const parsed = this.#parse(document);
    if (parsed.kind === 'manifest') return { manifest: parsed, document };
    if (parsed.kind === 'schema1') return { manifest: await this.#complete(parsed), document };
    if (depth === MAX_INDEX_DEPTH) {
      throw new PeelError(
        'ERR_LIMIT_EXCEEDED',
        `${this.#source.name}: image indexes are nested more than ${MAX_INDEX_DEPTH} deep`,
        { facts: { digest: document.digest } },
      );
    }
    return this.#choose(parsed, depth);
  }

  /** @throws PeelError of parseDocument, naming the image. */
  #parse(document: StoredDocument): ParsedDocument {
    try {
      return parseDocument(document.bytes, document.mediaType);
    } catch (error) {
      if (!isPeelError(error)) throw error;
      throw new PeelError(error.code, `${this.#source.name}: ${error.message}`, {
        facts: { digest: document.digest, ...error.facts },
        cause: error,
      });
    }
  }

  /** Schema 1 says which layers there are, not how large; its config is put into the descriptor. */
  async #complete({ mediaType, layers, config }: Schema1Manifest): Promise<Manifest> {
    const sizes = new Map<Digest, number>();
    await Promise.all(
      [...new Set(layers)].map(async (digest) => {
        sizes.set(digest, await this.#source.measureBlob(digest, this.#signal));
      }),
    );
    return {
      kind: 'manifest',
      mediaType,
      config: {
        mediaType: DOCKER_CONFIG,
        digest: digestOf(config),
        size: config.length,
        data: config,
      },
      layers: layers.map((digest) => ({
        mediaType: DOCKER_LAYER_GZIP,
        digest,
        size: sizes.get(digest) ?? 0,
      })),
      annotations: {},
    };
  }

  async #choose(index: ImageIndex, depth: number): Promise<Found> {
    const manifests = (await this.#present(index.manifests)).filter(isImageCandidate);
    const [single] = manifests;
    if (this.#takesOther && single !== undefined && manifests.length === 1) return this.#fetch(single, depth);
    const selection = selectManifest(manifests, this.#wanted);
    if (selection.kind === 'selected') return this.#fetch(selection.descriptor, depth);
    const [only, ...others] = selection.candidates;
    if (only !== undefined && others.length === 0) return this.#fetch(only, depth);
    return this.#chooseByConfig(selection.candidates, depth);
  }

  /**
   * The entries whose documents are at hand: archives list platforms that they do not hold (E171). Where none
   * is, all are returned, so that the error names the one that was wanted.
   */
  async #present(descriptors: readonly Descriptor[]): Promise<readonly Descriptor[]> {
    const source = this.#source;
    if (source.isPresent === undefined) return descriptors;
    const present: Descriptor[] = [];
    for (const descriptor of descriptors) if (await source.isPresent(descriptor)) present.push(descriptor);
    return present.length === 0 ? descriptors : present;
  }

  /**
   * The platform stands in the configs alone: they are looked at in the order of the index. Artifacts and
   * nested indexes without a suitable image are passed over.
   */
  async #chooseByConfig(candidates: readonly Descriptor[], depth: number): Promise<Found> {
    const opened: { readonly found: Found; readonly platform: Platform }[] = [];
    let firstError: unknown;
    for (const descriptor of candidates) {
      try {
        const found = await this.#fetch(descriptor, depth);
        validateImageManifest(found.manifest);
        const bytes = await this.#source.fetchBlob(found.manifest.config, MAX_CONFIG_SIZE, this.#signal);
        opened.push({ found, platform: parseConfig(bytes).platform });
      } catch (error) {
        if (!isPeelError(error, 'ERR_UNSUPPORTED') && !isPeelError(error, 'ERR_PLATFORM_NOT_FOUND'))
          throw error;
        firstError ??= error;
      }
    }
    const best = selectByPlatform(opened, (item) => item.platform, this.#wanted);
    if (best !== undefined) return best.found;
    if (opened.length === 0) throw firstError;
    throw platformNotFound(
      this.#wanted,
      opened.map((item) => item.platform),
    );
  }

  async #fetch(descriptor: Descriptor, depth: number): Promise<Found> {
    this.#fetched += 1;
    if (this.#fetched > MAX_OPENED_DOCUMENTS) {
      throw new PeelError(
        'ERR_LIMIT_EXCEEDED',
        `${this.#source.name}: more than ${MAX_OPENED_DOCUMENTS} documents had to be opened to find the platform; name a digest`,
      );
    }
    return this.open(await this.#source.fetchDocument(descriptor, this.#signal), depth + 1);
  }
}
