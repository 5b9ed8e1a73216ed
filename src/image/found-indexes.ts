/**
 * The indexes that lie beside an image, for all of its layers: each kind is looked for once, when the first layer wants it.
 * One that cannot be used is told of once, and the layers go on without.
 */
import { type ErrorCode, isPeelError } from '../errors.ts';
import { UnusableIndex } from '../layer/unusable-index.ts';
import { log } from '../log.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import type { Digest } from '../units.ts';
import type { LayerIndexes } from './index-artifact.ts';
import type { IndexesBeside } from './own-index-claim.ts';
import type { Ztocs } from './soci-index.ts';

export interface FindIndexes {
  /** Of the image, for messages. */
  readonly name: string;
  /** Own indexes are used also where nothing verifies them. */
  readonly allowUnverified: boolean;
  /** The SOCI index of the image. */
  readonly findZtocs: () => Promise<Ztocs>;
  /** The index that the user named by digest. */
  readonly findPinned: () => Promise<LayerIndexes>;
  /** One that nothing names, for what has no ztoc: asked for where `allowUnverified`. */
  readonly findReferring: (ztocs: Ztocs) => Promise<LayerIndexes>;
  /** The TOCs of eStargz layers that do not hold them: asked for where there is such a layer. */
  readonly findStargzTocs: () => Promise<LayerIndexes>;
}

export class FoundIndexes {
  readonly #find: FindIndexes;
  #ztocs: Promise<Ztocs> | undefined;
  #pinned: Promise<LayerIndexes> | undefined;
  #referring: Promise<LayerIndexes> | undefined;
  #stargzTocs: Promise<LayerIndexes> | undefined;

  constructor(find: FindIndexes) {
    this.#find = find;
  }

  /** Those of one layer. Errors of the source pass; `forget` then. */
  async of({ digest }: Descriptor): Promise<IndexesBeside> {
    const { allowUnverified, findZtocs, findPinned, findReferring } = this.#find;
    this.#ztocs ??= this.#findOrWarn(findZtocs(), 'its SOCI index');
    const ztocs = await this.#ztocs;
    this.#pinned ??= this.#findOrWarn(findPinned(), 'the index of --index-digest');
    const packedToc = (await this.#pinned).get(digest);
    if (packedToc === undefined && allowUnverified)
      this.#referring ??= this.#findOrWarn(findReferring(ztocs), 'an index that refers to the image');
    const referringToc = (await this.#referring)?.get(digest);
    return { ztoc: ztocs.get(digest), packedToc, referringToc };
  }

  /** Asked again, it is looked for again: the registry may be back. */
  forget(): void {
    this.#ztocs = undefined;
    this.#pinned = undefined;
    this.#referring = undefined;
  }

  /** @throws UnusableIndex where the image of TOCs has none of this layer. */
  async stargzToc({ digest }: Descriptor): Promise<Descriptor | undefined> {
    this.#stargzTocs ??= this.#findOrWarn(
      this.#find.findStargzTocs(),
      'the image that has the TOCs of its layers',
    ).catch((error: unknown) => {
      this.#stargzTocs = undefined;
      throw error;
    });
    const tocs = await this.#stargzTocs;
    const toc = tocs.get(digest);
    if (toc !== undefined || tocs.size === 0) return toc;
    throw new UnusableIndex('its TOC lies in another image, which does not have it');
  }

  /** Said once for the image: each layer lacks it. */
  async #findOrWarn<Index>(
    finding: Promise<ReadonlyMap<Digest, Index>>,
    what: string,
  ): Promise<ReadonlyMap<Digest, Index>> {
    try {
      return await finding;
    } catch (error) {
      if (!isOfIndex(error)) throw error;
      const why = error instanceof Error ? error.message : String(error);
      const { name } = this.#find;
      const message = `${name}: ${what} cannot be used: ${why}; the image is read without`;
      log().warn({ image: name }, message);
      return new Map();
    }
  }
}

/** The index is at fault, or what a registry answered about it: the layer can be read without. */
export function isOfIndex(error: unknown): boolean {
  return error instanceof UnusableIndex || (isPeelError(error) && CODES_OF_INDEX.has(error.code));
}

const CODES_OF_INDEX: ReadonlySet<ErrorCode> = new Set([
  'ERR_REGISTRY_RESPONSE',
  'ERR_IMAGE_NOT_FOUND',
  'ERR_AUTH_REFUSED',
  'ERR_DIGEST_MISMATCH',
  'ERR_DOCUMENT_INVALID',
  'ERR_UNSUPPORTED',
  'ERR_LIMIT_EXCEEDED',
]);
