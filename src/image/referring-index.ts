/**
 * The indexes of peel that lie beside an image in its registry, found by what they refer to: lists by the manifest, and
 * artifacts by the layer, which may have come with another image that has it. Anybody who may write there can attach
 * one, so they are asked for where the user allows what nothing verifies (class D), and else told of at most.
 */
import { isPeelError, PeelError } from '../errors.ts';
import { UnusableIndex } from '../layer/unusable-index.ts';
import { log } from '../log.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import type { ImageSource } from '../source/source.ts';
import type { Digest } from '../units.ts';
import {
  IMAGE_INDEX_TYPE,
  LAYER_INDEX_TYPE,
  type LayerIndexes,
  layerIndexesOf,
  tocOfArtifact,
} from './index-artifact.ts';
import { ownIndexClaimOf } from './own-index-claim.ts';
import type { Ztocs } from './soci-index.ts';

/** Lists, or artifacts of one layer, that are looked into: others may be of another version, or broken. */
const MAX_TRIED = 4;
/** Layers that are asked about at once. */
const MAX_REQUESTS = 6;
/** Nobody waits for a word about an index that is not used. */
const NOTICE_MS = 5_000;

interface Layer {
  readonly descriptor: Descriptor;
  readonly diffID: Digest | undefined;
}

/**
 * By layers; those that have a ztoc need none. Empty where there is none.
 * @throws UnusableIndex where there are, and none can be used; errors of the source pass.
 */
export async function findReferring(
  image: { readonly digest: Digest; readonly layers: readonly Layer[] },
  ztocs: Ztocs,
  source: ImageSource,
  signal: AbortSignal,
): Promise<LayerIndexes> {
  const found = new Map(await firstUsable(source, image.digest, IMAGE_INDEX_TYPE, layerIndexesOf, signal));
  const missing = image.layers.filter(({ descriptor, diffID }) => {
    const { digest } = descriptor;
    return !found.has(digest) && !ztocs.has(digest) && !isNamed(descriptor, diffID);
  });
  const digests = [...new Set(missing.map(({ descriptor }) => descriptor.digest))];
  const next = digests.values();
  const work = async (): Promise<void> => {
    for (const layer of next) {
      const toc = await firstUsable(
        source,
        layer,
        LAYER_INDEX_TYPE,
        (it) => tocOfArtifact(it, layer),
        signal,
      );
      if (toc !== undefined) found.set(layer, toc);
    }
  };
  await Promise.all(Array.from({ length: MAX_REQUESTS }, work));
  return found;
}

/** The manifest names an index of the layer: none that nothing names is needed. */
function isNamed(layer: Descriptor, diffID: Digest | undefined): boolean {
  try {
    return ownIndexClaimOf(layer, diffID, false) !== undefined;
  } catch (error) {
    if (!(error instanceof UnusableIndex)) throw error;
    return false;
  }
}

/** What `read` makes of the first referrer that it can read. @throws its error where it can read none. */
async function firstUsable<Index>(
  source: ImageSource,
  subject: Digest,
  artifactType: string,
  read: (document: { bytes: Buffer; mediaType: string | undefined; digest: Digest }) => Index,
  signal: AbortSignal,
): Promise<Index | undefined> {
  let failure: unknown;
  for (const referrer of (await listReferrers(source, subject, artifactType, signal)).slice(0, MAX_TRIED)) {
    try {
      return read(await source.fetchDocument(referrer, signal));
    } catch (error) {
      if (!isOfReferrer(error)) throw error;
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
  return undefined;
}

/** An index beside an image, as it was found. */
export interface ReferringIndex {
  readonly referrer: Descriptor;
  /** The image's manifest, or a layer. */
  readonly subject: Digest;
  /** That it has a TOC for, also of other images. */
  readonly layers: readonly Digest[];
  /** Why it cannot be used; absent where it can. */
  readonly problem?: string;
}

/** All there are, lists first. undefined where the image is in no registry. @throws errors of the source. */
export async function referringIndexes(
  image: { readonly digest: Digest; readonly layers: readonly Layer[] },
  source: ImageSource,
  signal: AbortSignal,
): Promise<readonly ReferringIndex[] | undefined> {
  if (source.listReferrers === undefined) return undefined;
  const found: ReferringIndex[] = [];
  const digests = new Set(image.layers.map(({ descriptor }) => descriptor.digest));
  for (const subject of [image.digest, ...digests]) {
    const isImage = subject === image.digest;
    const type = isImage ? IMAGE_INDEX_TYPE : LAYER_INDEX_TYPE;
    for (const referrer of await listReferrers(source, subject, type, signal)) {
      try {
        const document = await source.fetchDocument(referrer, signal);
        if (!isImage) tocOfArtifact(document, subject);
        const layers = isImage ? [...layerIndexesOf(document).keys()] : [subject];
        found.push({ referrer, subject, layers });
      } catch (error) {
        if (!isOfReferrer(error)) throw error;
        found.push({ referrer, subject, layers: [], problem: error.message });
      }
    }
  }
  return found;
}

async function listReferrers(
  source: ImageSource,
  subject: Digest,
  artifactType: string,
  signal: AbortSignal,
): Promise<readonly Descriptor[]> {
  try {
    return (await source.listReferrers?.(subject, artifactType, signal)) ?? [];
  } catch (error) {
    if (isPeelError(error, 'ERR_IMAGE_NOT_FOUND')) return [];
    throw error;
  }
}

/** The next one may do. */
function isOfReferrer(error: unknown): error is Error {
  return (error instanceof UnusableIndex || isPeelError(error)) && !isPeelError(error, 'ERR_INTERRUPTED');
}

/** Looks once whether there is a list that refers to an image, beside whatever else is done with it. */
export class IndexNotice {
  readonly #closing = new AbortController();
  #asking: Promise<void> | undefined;

  /** `tell` is given its digest. Returns at once, never fails. */
  ask(image: Digest, source: ImageSource, tell: (list: Digest) => void): void {
    if (source.listReferrers === undefined) return;
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(NOTICE_MS)]);
    this.#asking ??= listReferrers(source, image, IMAGE_INDEX_TYPE, signal).then(
      ([first]) => {
        if (first !== undefined && !this.#closing.signal.aborted) tell(first.digest);
      },
      (error: unknown) => log().debug({ err: error }, 'whether an index lies beside the image is not known'),
    );
  }

  async close(): Promise<void> {
    this.#closing.abort(new PeelError('ERR_INTERRUPTED', 'the image was closed'));
    await this.#asking;
  }
}
