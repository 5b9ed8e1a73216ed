/**
 * Where the TOC of a layer comes from: the cache, the index that the image brings, or our own pass over the layer.
 *
 *   in the cache by the layer's digest (class A) ─► else in the cache by its own index ─► else that index,
 *   fetched and verified (B, D) ─► else, or where that cannot be used, the pass (A)
 *
 * Decided once for each layer: two TOCs of one layer count its bytes differently, so tree and readers must go by the
 * same one. What is decided is the key of the TOC (`cacheKeyOf`).
 */
import { setMaxListeners } from 'node:events';
import os from 'node:os';
import { Budget } from '../blob/budget.ts';
import { readWholeBlob } from '../blob/whole-blob.ts';
import { PeelError } from '../errors.ts';
import { buildToc } from '../layer/build-toc.ts';
import type { Onlooker } from '../layer/layer-input.ts';
import { cacheKeyOf, type OwnIndexFormat } from '../layer/own-index.ts';
import type { Toc, TocIndex } from '../layer/toc.ts';
import { type StoredToc, TocStore } from '../layer/toc-store.ts';
import { UnusableIndex } from '../layer/unusable-index.ts';
import { log } from '../log.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import type { BlobSource } from '../source/source.ts';
import { type CompressedRange, compressed, type Digest } from '../units.ts';
import type { Demand } from './demand.ts';
import { type FindIndexes, FoundIndexes, isOfIndex } from './found-indexes.ts';
import { type OwnIndexClaim, ownIndexClaimOf, type VerificationClass } from './own-index-claim.ts';
import { ShownEntries } from './shown-entries.ts';

/** Own indexes that are fetched at once: each is a request or two of some KiB. */
const INDEX_REQUESTS = 6;

export interface TocSourceParts extends FindIndexes {
  /** Where the image lies, said the same from anywhere; undefined where nothing names it for later. */
  readonly place: string | undefined;
  readonly openBlob: (descriptor: Descriptor) => BlobSource;
  readonly directoryOf: (key: Digest) => string;
  /** Ends what is under way. */
  readonly signal: AbortSignal;
  /** Whoever looks on while a layer is read as a whole. */
  readonly onlookerOf: (descriptor: Descriptor) => Onlooker;
  /** Bytes of the pass over a layer, as they come. */
  readonly onPass: (descriptor: Descriptor, bytes: number, isDone: boolean) => void;
}

interface LayerToIndex {
  readonly descriptor: Descriptor;
  readonly diffID: Digest | undefined;
}

/** An index that was there before the layer was read as a whole. */
export interface IndexAtHand {
  readonly verificationClass: VerificationClass;
  /** Or what is wrong with it. */
  readonly index: StoredToc | string;
}

/** `blob`: the layer. */
export type CompareIndexes = (
  atHand: readonly IndexAtHand[],
  proved: StoredToc,
  blob: BlobSource,
) => Promise<void>;

interface Choice {
  readonly key: Digest;
  /** What was made while choosing, until somebody takes it. */
  fresh?: StoredToc;
}

export class TocSource {
  readonly #parts: TocSourceParts;
  readonly #store: TocStore;
  /** Of layers that are indexed at once. */
  readonly #passes = new Budget(Math.min(os.availableParallelism(), 4));
  readonly #requests = new Budget(INDEX_REQUESTS);
  readonly #claims = new Map<Digest, Promise<OwnIndexClaim | undefined>>();
  readonly #shown = new ShownEntries();
  /** Layers of class D that were told of. */
  readonly #told = new Set<Digest>();
  readonly #beside: FoundIndexes;
  readonly #choices = new Map<Digest, Promise<Choice>>();

  constructor(parts: TocSourceParts) {
    this.#parts = parts;
    this.#beside = new FoundIndexes(parts);
    this.#store = new TocStore(parts.directoryOf, (digest, size) =>
      this.#whole({ mediaType: '', digest, size }),
    );
    // Every layer that waits for its turn listens.
    setMaxListeners(0, parts.signal);
  }

  /** From wherever it comes. The caller closes it. */
  async open(layer: LayerToIndex): Promise<StoredToc> {
    const choice = await this.#choose(layer);
    const { fresh } = choice;
    delete choice.fresh;
    const stored = fresh ?? (await this.#store.load(choice.key)) ?? (await this.#make(layer, choice.key));
    if (this.#shown.note(stored.toc)) return stored;
    await stored.close();
    throw changed(layer.descriptor.digest);
  }

  /**
   * What an index shows whose key does not say it: the headers of a tar are others when they come from somebody who
   * lies. Empty where the key says it all; undefined where it is not known without a request.
   */
  async shownBy(layer: LayerToIndex, key: Digest): Promise<Digest | '' | undefined> {
    if ((await this.claimOf(layer))?.format !== 'headers' || key === layer.descriptor.digest) return '';
    const known = this.#shown.of(layer.descriptor.digest);
    if (known !== undefined) return known;
    const stored = await this.#store.load(key);
    if (stored === undefined) return undefined;
    await stored.close();
    if (!this.#shown.note(stored.toc)) throw changed(layer.descriptor.digest);
    return this.#shown.of(layer.descriptor.digest);
  }

  /** Whether something else was shown of a layer than these entries; only of headers alone. */
  hasShownOther(toc: Toc): boolean {
    return this.#shown.isOther(toc);
  }

  /** The same without entries, where the cache has it; else undefined. The caller closes it. */
  async openIndex(layer: LayerToIndex): Promise<StoredToc<TocIndex> | undefined> {
    return this.#store.loadIndex((await this.#choose(layer)).key);
  }

  /**
   * Reads the layer as a whole, and keeps what that makes of it (class A). `compare` is given each index that was at
   * hand before, with its class, or why it cannot be used; all are closed after it. `demand`: it gives way to that, and
   * shows no progress.
   */
  async prove(layer: LayerToIndex, compare: CompareIndexes, demand?: Demand): Promise<void> {
    const atHand: IndexAtHand[] = [];
    const opened: StoredToc[] = [];
    try {
      const own = await this.#store.load(layer.descriptor.digest);
      if (own !== undefined) atHand.push({ verificationClass: 'A', index: own });
      const claim = await this.claimOf(layer);
      const claimed = claim === undefined ? undefined : await this.#claimed(layer, claim);
      if (claimed !== undefined) atHand.push(claimed);
      for (const { index } of atHand) if (typeof index === 'object') opened.push(index);
      const proved = await this.#pass(layer, demand);
      opened.push(proved);
      const blob = this.#parts.openBlob(layer.descriptor);
      await compare(atHand, proved, demand?.yielding(blob) ?? blob);
    } finally {
      for (const stored of opened) await stored.close();
    }
  }

  /** undefined where nothing names an index and there is none. */
  async #claimed(layer: LayerToIndex, claim: OwnIndexClaim): Promise<IndexAtHand | undefined> {
    const { verificationClass } = claim;
    const key = claim.key ?? (await this.unverifiedKey(layer));
    try {
      const known = key === undefined ? undefined : await this.#store.load(key);
      const stored = known ?? (await this.#readOwnIndex(layer));
      if (stored === undefined && key === undefined) return undefined;
      if (stored !== undefined && key !== undefined && cacheKeyOf(stored.toc) !== key) {
        await stored.close();
        return {
          verificationClass,
          index: 'it is gone from the cache, and the layer brings another one now',
        };
      }
      return { verificationClass, index: stored ?? 'it is not there' };
    } catch (error) {
      if (!isOfIndex(error)) throw error;
      return { verificationClass, index: (error as Error).message };
    }
  }

  /** Where the cache has it: never makes a request. */
  async stored(layer: LayerToIndex): Promise<Toc | undefined> {
    const key = await this.#storedKey(layer);
    const stored = key === undefined ? undefined : await this.#store.load(key);
    await stored?.close();
    return stored?.toc;
  }

  /** The key of the TOC, where that can be said without a request; else undefined. */
  async knownKey(layer: LayerToIndex): Promise<Digest | undefined> {
    const { digest } = layer.descriptor;
    const choice = await this.#choices.get(digest)?.catch(() => undefined);
    const key = choice?.key ?? (await this.#storedKey(layer));
    // Whoever is told goes by it: what another process stores meanwhile changes nothing here.
    if (key !== undefined && !this.#choices.has(digest)) this.#choices.set(digest, Promise.resolve({ key }));
    if (key !== undefined && key !== digest) await this.#tellOfClassD(layer);
    return key;
  }

  /** Whoever is shown such a layer is told so, once, from the cache, too. */
  async #tellOfClassD(layer: LayerToIndex): Promise<void> {
    const { digest } = layer.descriptor;
    const claim = await this.claimOf(layer);
    if (claim?.verificationClass !== 'D' || this.#told.has(digest)) return;
    this.#told.add(digest);
    const by = claim.format === 'headers' ? 'the headers of its tar alone, which' : 'an index that';
    const message = `layer ${digest}: read by ${by} nothing verifies, as --allow-unverified says`;
    log().warn({ image: this.#parts.name, layer: digest }, message);
  }

  /** The key of the index that the layer is read by, where nothing verifies it and it is known already. */
  async unverifiedKey(layer: LayerToIndex): Promise<Digest | undefined> {
    const claim = await this.claimOf(layer);
    if (claim?.verificationClass !== 'D') return undefined;
    const key = await this.knownKey(layer);
    return key === layer.descriptor.digest ? undefined : key;
  }

  /** What the manifest says about an index inside a layer. */
  claimOf(layer: LayerToIndex): Promise<OwnIndexClaim | undefined> {
    const { digest } = layer.descriptor;
    // Named twice in a manifest, with other annotations, it is still one layer: the first one counts.
    const known = this.#claims.get(digest);
    if (known !== undefined) return known;
    const claim = this.#readClaim(layer).catch((error: unknown) => {
      this.#claims.delete(digest);
      this.#beside.forget();
      throw error;
    });
    this.#claims.set(digest, claim);
    return claim;
  }

  /** Lets go of what nobody took. */
  async close(): Promise<void> {
    for (const choice of await Promise.allSettled(this.#choices.values())) {
      if (choice.status === 'fulfilled') await choice.value.fresh?.close();
    }
  }

  async #readClaim({ descriptor, diffID }: LayerToIndex): Promise<OwnIndexClaim | undefined> {
    try {
      return ownIndexClaimOf(descriptor, diffID, this.#parts.allowUnverified, {
        ...(await this.#beside.of(descriptor)),
        place: this.#parts.place,
      });
    } catch (error) {
      if (!isOfIndex(error)) throw error;
      this.#warn(descriptor, error);
      return undefined;
    }
  }

  async #storedKey(layer: LayerToIndex): Promise<Digest | undefined> {
    const { digest } = layer.descriptor;
    const claim = await this.claimOf(layer);
    if (claim === undefined || (await this.#store.has(digest))) return digest;
    return claim.key !== undefined && (await this.#store.has(claim.key)) ? claim.key : undefined;
  }

  #choose(layer: LayerToIndex): Promise<Choice> {
    const { digest } = layer.descriptor;
    let choice = this.#choices.get(digest);
    if (choice === undefined) {
      choice = this.#makeChoice(layer).catch((error: unknown) => {
        // Asked again, it is tried again: the registry may be back.
        this.#choices.delete(digest);
        throw error;
      });
      this.#choices.set(digest, choice);
    }
    return choice;
  }

  async #makeChoice(layer: LayerToIndex): Promise<Choice> {
    const { descriptor } = layer;
    const key = await this.#storedKey(layer);
    if (key !== undefined) return { key };
    try {
      const fresh = await this.#readOwnIndex(layer);
      if (fresh !== undefined) return { key: cacheKeyOf(fresh.toc), fresh };
    } catch (error) {
      if (!isOfIndex(error)) throw error;
      this.#warn(descriptor, error, (await this.claimOf(layer))?.format);
    }
    return { key: descriptor.digest };
  }

  #warn({ digest }: Descriptor, error: unknown, format?: OwnIndexFormat): void {
    const why = error instanceof Error ? error.message : String(error);
    const what =
      format === 'headers'
        ? 'it cannot be read by its headers alone'
        : 'the index that it brings cannot be used';
    log().warn(
      { image: this.#parts.name, layer: digest },
      `layer ${digest}: ${what}: ${why}; the layer is read as a whole instead, once`,
    );
  }

  /** The TOC that was decided for, which the cache has no more. */
  async #make(layer: LayerToIndex, key: Digest): Promise<StoredToc> {
    const { digest } = layer.descriptor;
    if (key === digest) return this.#pass(layer);
    const again = await this.#readOwnIndex(layer);
    if (again !== undefined && cacheKeyOf(again.toc) === key) return again;
    await again?.close();
    throw changed(digest);
  }

  async #readOwnIndex(layer: LayerToIndex): Promise<StoredToc | undefined> {
    const { descriptor } = layer;
    const claim = await this.claimOf(layer);
    const { signal, openBlob } = this.#parts;
    const release = await this.#requests.acquire(1, signal);
    try {
      const blob = openBlob(descriptor);
      const built = await claim?.read({
        layer: (range) => readRange(blob, range, signal),
        ignoresRanges: () => blob.ignoresRanges === true,
        whole: (other) => this.#whole(other),
        stargzToc: () => this.#beside.stargzToc(descriptor),
      });
      if (built === undefined) return undefined;
      await this.#tellOfClassD(layer);
      return 'windows' in built
        ? await this.#store.save(built.toc, built.windows)
        : await this.#store.saveWithoutWindows(built);
    } finally {
      release();
    }
  }

  /** All of a small blob of the repository, not verified. */
  #whole(blob: Descriptor): Promise<Buffer> {
    const { openBlob, signal } = this.#parts;
    return readRange(openBlob(blob), { start: compressed(0), end: compressed(blob.size) }, signal);
  }

  /** The one pass over a layer, a few layers at a time. */
  async #pass({ descriptor, diffID }: LayerToIndex, demand?: Demand): Promise<StoredToc> {
    const { name, openBlob, onlookerOf, signal } = this.#parts;
    const onPass = demand === undefined ? this.#parts.onPass : () => {};
    const { digest, size } = descriptor;
    const release = await this.#passes.acquire(1, signal);
    try {
      const started = performance.now();
      onPass(descriptor, 0, false);
      const options = {
        signal,
        onlooker: onlookerOf(descriptor),
        onProgress: (bytes: number) => onPass(descriptor, bytes, false),
      };
      const blob = openBlob(descriptor);
      const built = await buildToc(
        readWholeBlob(demand?.yielding(blob) ?? blob, signal),
        { digest, size, ...(diffID === undefined ? {} : { diffID }) },
        options,
      );
      for (const warning of built.toc.warnings) log().warn({ image: name, layer: digest }, warning);
      const stored = await this.#store.save(built.toc, built.windows);
      log().info({ layer: digest, ms: Math.round(performance.now() - started) }, 'layer indexed');
      onPass(descriptor, size, true);
      return stored;
    } finally {
      release();
    }
  }
}

function changed(layer: Digest): PeelError {
  const message = `layer ${layer}: its index was removed from the cache meanwhile and is not the same any more: open the image again`;
  return new PeelError('ERR_CACHE', message, { facts: { layer } });
}

async function readRange(blob: BlobSource, range: CompressedRange, signal: AbortSignal): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of blob.fetch(range, signal)) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const length = range.end - range.start;
  if (bytes.length === length) return bytes;
  throw new UnusableIndex(`got ${bytes.length} of the ${length} bytes at ${range.start} of the blob`);
}
