/**
 * The layers of an opened image: their TOCs, from the cache or by indexing, and the readers of their bytes, each made
 * on first use. A layer that stands twice in the manifest is one layer (E147): everything goes by digest.
 */
import type { BackingFiles } from '../blob/backing-files.ts';
import { Budget, MAX_INFLIGHT_BYTES } from '../blob/budget.ts';
import type { CacheDir } from '../blob/cache-dir.ts';
import { LayerReader } from '../blob/layer-reader.ts';
import { MemoryCache } from '../blob/memory-cache.ts';
import type { SpanCache } from '../blob/span-cache.ts';
import { PeelError } from '../errors.ts';
import type { Contents, SpanWatcher } from '../filesystem/contents.ts';
import type { Onlooker } from '../layer/layer-input.ts';
import { learnAll } from '../layer/learned-sums.ts';
import type { Entry, Toc, TocIndex } from '../layer/toc.ts';
import type { StoredToc } from '../layer/toc-store.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import type { BlobSource } from '../source/source.ts';
import type { Digest, UncompressedOffset, UncompressedRange } from '../units.ts';
import { Demand } from './demand.ts';
import type { LayerIndexes } from './index-artifact.ts';
import { Onlookers } from './onlookers.ts';
import { isMadeByStargz, type OwnIndexClaim, withoutStargzFiles } from './own-index-claim.ts';
import type { Ztocs } from './soci-index.ts';
import { type CompareIndexes, TocSource } from './toc-source.ts';

/** How far the indexing of one layer has come, or what must be read before there are layers. */
export interface IndexProgress {
  /** 0 = lowest; -1 before there are any. */
  readonly layer: number;
  readonly layerCount: number;
  /** What is done, where it is not the indexing of a layer. */
  readonly doing?: string;
  /** Compressed bytes read. */
  readonly bytes: number;
  /** 0 where it is not known. */
  readonly size: number;
  readonly isDone: boolean;
}

export interface ImageLayer {
  readonly descriptor: Descriptor;
  /** undefined where the image does not say it: Docker before 1.10 (schema 1, old archives). The digest then stands alone. */
  readonly diffID: Digest | undefined;
}

export interface OpenedLayersParts {
  /** Of the image, for messages. */
  readonly name: string;
  /** Where the image lies, said the same from anywhere; undefined where nothing names it for later. */
  readonly place: string | undefined;
  /** Lowest first. */
  readonly layers: readonly ImageLayer[];
  readonly openBlob: (descriptor: Descriptor) => BlobSource;
  readonly cache: CacheDir;
  /** Own indexes are used also where nothing verifies them. */
  readonly allowUnverified: boolean;
  /** The SOCI index of the image. */
  readonly findZtocs: (signal: AbortSignal) => Promise<Ztocs>;
  /** The index that the user named by digest. */
  readonly findPinned: (signal: AbortSignal) => Promise<LayerIndexes>;
  /** One that nothing names, for what has no ztoc. */
  readonly findReferring: (ztocs: Ztocs, signal: AbortSignal) => Promise<LayerIndexes>;
  /** The TOCs of eStargz layers that do not hold them. */
  readonly findStargzTocs: (signal: AbortSignal) => Promise<LayerIndexes>;
  /** For one read, ms; default 60 s, 0 = wait for ever. */
  readonly readDeadlineMs: number | undefined;
  readonly onProgress: ((progress: IndexProgress) => void) | undefined;
  /** Ends all indexing. */
  readonly signal: AbortSignal | undefined;
}

interface OpenLayer {
  readonly reader: LayerReader;
  readonly spans: SpanCache;
  readonly backingFiles: BackingFiles;
  readonly toc: TocIndex;
  /** Where it stands in the image: more than once where the manifest repeats it. */
  readonly indices: readonly number[];
}

export class OpenedLayers {
  /** Told of what is read of the layers, by whomever. */
  onTouch: ((toc: TocIndex, range: UncompressedRange) => void) | undefined;
  readonly #parts: OpenedLayersParts;
  readonly #source: TocSource;
  readonly #memory = new MemoryCache();
  readonly #inflight = new Budget(MAX_INFLIGHT_BYTES);
  readonly #closing = new AbortController();
  readonly #tocs = new Map<Digest, Promise<StoredToc>>();
  /** Layers whose TOC has been there, even if it was let go of since. */
  readonly #known = new Set<Digest>();
  /** What readers work with: without entries, where it comes from the disk. */
  readonly #indexes = new Map<Digest, Promise<StoredToc<TocIndex>>>();
  readonly #readers = new Map<Digest, Promise<OpenLayer>>();
  /** The readers that have come about. */
  readonly #opened: OpenLayer[] = [];
  readonly #watchers: SpanWatcher[] = [];
  readonly #demand = new Demand();
  /** Why nothing is given out any more. */
  #disproved: PeelError | undefined;
  /** Layers of which an index was found to be true that nothing verified. */
  readonly #proved = new Set<Digest>();
  readonly #onlookers = new Onlookers();

  constructor(parts: OpenedLayersParts) {
    this.#parts = parts;
    const signal = anySignal(this.#closing.signal, parts.signal);
    this.#source = new TocSource({
      name: parts.name,
      place: parts.place,
      openBlob: parts.openBlob,
      directoryOf: (key) => parts.cache.layerDir(key),
      allowUnverified: parts.allowUnverified,
      findZtocs: () => parts.findZtocs(this.#closing.signal),
      findPinned: () => parts.findPinned(this.#closing.signal),
      findReferring: (ztocs) => parts.findReferring(ztocs, this.#closing.signal),
      findStargzTocs: () => parts.findStargzTocs(this.#closing.signal),
      signal,
      onlookerOf: ({ digest }) => this.#onlookers.jointly(digest, signal),
      onPass: ({ digest, size }, bytes, isDone) => {
        const layer = this.#indicesOf(digest)[0] ?? 0;
        parts.onProgress?.({ layer, layerCount: parts.layers.length, bytes, size, isDone });
      },
    });
  }

  /** What a file system reads through. */
  get contents(): Contents {
    return {
      read: (layer, range, signal, willReadTo) =>
        this.#demand.during(async () => {
          const { reader, toc } = await this.#openReader(layer);
          this.onTouch?.(toc, range);
          return reader.read(range, signal, willReadTo);
        }),
      watch: (watcher) => {
        this.#watchers.push(watcher);
        if (this.#disproved !== undefined) watcher.disproved?.();
        for (const opened of this.#opened) tell(watcher, opened);
      },
      backingFile: async (layer, range, signal) =>
        (await this.#openReader(layer)).backingFiles.open(range, signal),
      noteUse: (layer, span) => {
        const opened = this.#opened.find(({ indices }) => indices.includes(layer));
        const range = opened?.toc.spans[span];
        if (opened === undefined || range === undefined) return;
        this.onTouch?.(opened.toc, range);
        void opened.reader.noteUse(span);
      },
    };
  }

  /** From the cache, from the image or by indexing. @throws PeelError ERR_USAGE where there is no such layer. */
  async toc(layer: number): Promise<Toc> {
    return this.#shown(layer, (await this.#openToc(layer)).toc);
  }

  /** As it is stored: with what is not shown of it, and with its windows. It is closed with this. */
  storedLayer(layer: number): Promise<StoredToc> {
    return this.#openToc(layer);
  }

  /** Reads a layer as a whole and keeps its TOC (class A). `compare` is given what was at hand before. */
  prove(layer: number, compare: CompareIndexes): Promise<void> {
    return this.#source.prove(this.#at(layer), compare);
  }

  /** Layers that are read by an index which nothing verifies and nobody has checked, each by its lowest place. */
  async unverified(): Promise<readonly number[]> {
    const found: number[] = [];
    for (const [layer, each] of this.#parts.layers.entries()) {
      const { digest } = each.descriptor;
      if (this.#indicesOf(digest)[0] !== layer || this.#proved.has(digest)) continue;
      if ((await this.#source.unverifiedKey(each)) !== undefined) found.push(layer);
    }
    return found;
  }

  /**
   * Reads such a layer as a whole and holds its index against it; then it is as good as one of class A.
   * @throws PeelError ERR_DIGEST_MISMATCH where the layer is another one, or says something else.
   */
  async proveUnverified(layer: number, isInBackground: boolean): Promise<void> {
    const { digest } = this.#at(layer).descriptor;
    const { differenceOf } = await import('./travel.ts');
    const compare: CompareIndexes = async (atHand, proved, blob) => {
      const shown = atHand.find(({ verificationClass }) => verificationClass === 'D')?.index;
      const difference =
        typeof shown === 'object' ? await differenceOf(shown, proved, blob) : (shown ?? 'it is gone');
      const running = await Promise.all([this.#tocs.get(digest), this.#indexes.get(digest)]);
      const span = running.map((each) => each && learnAll(each.toc, proved.toc)).find((each) => each);
      const other = this.#source.hasShownOther(proved.toc) ? 'other entries were shown' : undefined;
      const what = other ?? difference ?? span;
      if (what === undefined) return;
      throw new PeelError('ERR_DIGEST_MISMATCH', `layer ${digest}: its index is false: ${what}`, {
        facts: { layer, digest },
      });
    };
    await this.#source.prove(this.#at(layer), compare, isInBackground ? this.#demand : undefined);
    this.#proved.add(digest);
  }

  /** Something that was shown is false: nothing is given out any more, and what nobody proved leaves the cache. */
  async disprove(why: PeelError): Promise<void> {
    this.#disproved = why;
    for (const watcher of this.#watchers) watcher.disproved?.();
    for (const layer of await this.unverified()) {
      const each = this.#at(layer);
      const opened = await this.#readers.get(each.descriptor.digest)?.catch(() => undefined);
      await opened?.reader.close();
      await opened?.spans.close();
      const key = await this.#source.unverifiedKey(each);
      if (key !== undefined) await this.#parts.cache.removeLayer(key);
    }
  }

  /** The TOC where the cache has it: never indexes. */
  async storedToc(layer: number): Promise<Toc | undefined> {
    const at = this.#at(layer);
    const pending = this.#tocs.get(at.descriptor.digest);
    const toc = pending === undefined ? await this.#source.stored(at) : (await pending).toc;
    return toc === undefined ? undefined : this.#shown(layer, toc);
  }

  /** Of layers. */
  get count(): number {
    return this.#parts.layers.length;
  }

  /**
   * What the merged view of the layers follows from, a text for each; undefined where that is known only once some
   * layer is indexed.
   */
  async identities(): Promise<readonly string[] | undefined> {
    const identities: string[] = [];
    for (const layer of this.#parts.layers) {
      const { digest, size } = layer.descriptor;
      const key = await this.#source.knownKey(layer);
      if (key === undefined) return undefined;
      const entries = await this.#source.shownBy(layer, key);
      if (entries === undefined) return undefined;
      const own = key === digest ? '' : ` ${key}${entries === '' ? '' : ` ${entries}`}`;
      const shown = isMadeByStargz(layer.descriptor) ? ' stargz' : '';
      identities.push(`${digest} ${layer.diffID ?? '-'} ${size}${own}${shown}`);
    }
    return identities;
  }

  /** The lowest layer that is the same as this one. */
  lowestOf(layer: number): number {
    return this.#indicesOf(this.#at(layer).descriptor.digest)[0] ?? layer;
  }

  /** A layer's index, and what reads it. */
  open(layer: number): Promise<Pick<OpenLayer, 'toc' | 'reader'>> {
    return this.#openReader(layer);
  }

  /** What the manifest says about an index inside a layer. */
  ownIndexOf(layer: number): Promise<OwnIndexClaim | undefined> {
    return this.#source.claimOf(this.#at(layer));
  }

  /** Begins to index a layer, for whoever asks for it later, who is also told of a failure. */
  startIndexing(layer: number): void {
    this.#openToc(layer).catch(() => {});
  }

  /** Looks on while a layer is indexed, should it be. Returns what ends that. */
  addOnlooker(layer: number, onlooker: Onlooker): () => void {
    return this.#onlookers.add(this.#at(layer).descriptor.digest, onlooker);
  }

  /** Of entries that pass while a layer is indexed, those that are part of the image. */
  shownEntries(layer: number, entries: readonly Entry[]): readonly Entry[] {
    return isMadeByStargz(this.#at(layer).descriptor) ? withoutStargzFiles(entries) : entries;
  }

  /** True once the TOC of a layer is there. */
  isKnown(layer: number): boolean {
    return this.#known.has(this.#at(layer).descriptor.digest);
  }

  /** Bytes of a layer's tar that came by while it was indexed, for the cache. */
  async keep(layer: number, start: UncompressedOffset, bytes: Buffer): Promise<void> {
    await (await this.#openReader(layer)).reader.keep(start, bytes);
  }

  /** Bytes of a range of a layer's tar that are in the cache. */
  async cachedBytes(layer: number, range: UncompressedRange): Promise<number> {
    return (await this.#openReader(layer)).spans.cachedBytes(range);
  }

  /**
   * For an image that stays open: sees to it that every layer can be read (its TOC may have been evicted while the
   * tree was kept), and lets go of what only the merge needed. Where tree and TOCs are in the cache, the heap then
   * does not grow with the entries of the image.
   */
  async prepareReads(): Promise<void> {
    await Promise.all(this.#parts.layers.map((_, layer) => this.#openIndex(layer)));
    for (const [digest, pending] of this.#tocs) {
      const toc = await pending;
      if ((await this.#indexes.get(digest)) === toc) continue;
      this.#tocs.delete(digest);
      await toc.close();
    }
  }

  /** Ends what is under way and closes files. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new PeelError('ERR_INTERRUPTED', `${this.#parts.name} was closed`));
    for (const opened of await Promise.allSettled(this.#readers.values())) {
      if (opened.status === 'rejected') continue;
      await opened.value.reader.close();
      await opened.value.spans.close();
    }
    const tocs = await Promise.allSettled([...this.#tocs.values(), ...this.#indexes.values()]);
    for (const toc of tocs) if (toc.status === 'fulfilled') await toc.value.close();
    await this.#source.close();
    this.#readers.clear();
    this.#tocs.clear();
    this.#indexes.clear();
  }

  async #openReader(layer: number): Promise<OpenLayer> {
    this.#closing.signal.throwIfAborted();
    if (this.#disproved !== undefined) throw this.#disproved;
    return once(this.#readers, this.#at(layer).descriptor.digest, async () => {
      const stored = await this.#openIndex(layer);
      const { cache, openBlob, readDeadlineMs } = this.#parts;
      const spans = cache.openSpanCache(stored.toc);
      const reader = new LayerReader({
        stored,
        source: openBlob(this.#at(layer).descriptor),
        cache: spans,
        memory: this.#memory,
        limits: {
          inflight: this.#inflight,
          ...(readDeadlineMs === undefined ? {} : { deadlineMs: readDeadlineMs }),
        },
      });
      const opened = {
        reader,
        spans,
        backingFiles: cache.openBackingFiles(stored.toc, reader),
        indices: this.#indicesOf(stored.toc.digest),
        toc: stored.toc,
      };
      this.#opened.push(opened);
      for (const watcher of this.#watchers) tell(watcher, opened);
      return opened;
    });
  }

  #openToc(layer: number): Promise<StoredToc> {
    return this.#openOf(this.#tocs, layer, () => this.#source.open(this.#at(layer)));
  }

  /** The same without entries where the cache has it. */
  #openIndex(layer: number): Promise<StoredToc<TocIndex>> {
    return this.#openOf(
      this.#indexes,
      layer,
      async () => (await this.#source.openIndex(this.#at(layer))) ?? this.#openToc(layer),
    );
  }

  /** What eStargz adds to a layer is no part of the image, however the layer is read. */
  #shown(layer: number, toc: Toc): Toc {
    const isStargz = isMadeByStargz(this.#at(layer).descriptor) || toc.own?.format === 'estargz';
    return isStargz ? { ...toc, entries: withoutStargzFiles(toc.entries) } : toc;
  }

  /** Opened once. It must be of this very image: same size, same diffID where it was computed (E144, E145). */
  async #openOf<Part extends TocIndex>(
    opened: Map<Digest, Promise<StoredToc<Part>>>,
    layer: number,
    open: () => Promise<StoredToc<Part>>,
  ): Promise<StoredToc<Part>> {
    this.#closing.signal.throwIfAborted();
    const { descriptor, diffID } = this.#at(layer);
    const stored = await once(opened, descriptor.digest, open);
    const { toc } = stored;
    this.#known.add(descriptor.digest);
    const isRight = diffID === undefined || toc.own !== undefined || toc.diffID === diffID;
    if (isRight && toc.compressedSize === descriptor.size) return stored;
    throw new PeelError(
      'ERR_DIGEST_MISMATCH',
      `layer ${layer} (${descriptor.digest}) of ${this.#parts.name}: has diffID ${toc.diffID} and ${toc.compressedSize} bytes, the image says ${diffID ?? 'no diffID'} and ${descriptor.size} bytes`,
      { facts: { layer, digest: descriptor.digest } },
    );
  }

  #indicesOf(digest: Digest): number[] {
    return this.#parts.layers.flatMap(({ descriptor }, index) =>
      descriptor.digest === digest ? [index] : [],
    );
  }

  #at(layer: number): ImageLayer {
    const { name, layers } = this.#parts;
    const found = layers[layer];
    if (found === undefined) {
      throw new PeelError(
        'ERR_USAGE',
        `${name} has ${layers.length} layers, 0 the lowest: there is no layer ${layer}`,
      );
    }
    return found;
  }
}

/** Tells a watcher where the spans of an opened layer lie, and of each that is verified. */
function tell(watcher: SpanWatcher, { indices, spans, toc }: OpenLayer): void {
  const ends = Float64Array.from(toc.spans, ({ end }) => end);
  for (const index of indices) {
    watcher.layerOpened(index, { spansPath: spans.paths.spans, mapPath: spans.paths.map, ends });
    spans.watch((span) => watcher.spanStored(index, span));
  }
}

/** The value under `key`, made on first use; a failure is forgotten, so that the next use tries again. */
function once<Value>(
  made: Map<Digest, Promise<Value>>,
  key: Digest,
  make: () => Promise<Value>,
): Promise<Value> {
  let value = made.get(key);
  if (value === undefined) {
    value = make().catch((error: unknown) => {
      made.delete(key);
      throw error;
    });
    made.set(key, value);
  }
  return value;
}

function anySignal(first: AbortSignal, second: AbortSignal | undefined): AbortSignal {
  return second === undefined ? first : AbortSignal.any([first, second]);
}
