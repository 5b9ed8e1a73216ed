/**
 * What `peel index` does with the indexes of an image: packs them for another machine, takes in what was packed, and
 * holds an index against the layer itself.
 */
import { isDeepStrictEqual } from 'node:util';
import type { CacheDir } from '../blob/cache-dir.ts';
import { PeelError } from '../errors.ts';
import { MAX_STORED_INDEX_BYTES } from '../layer/chunks/unpack-index.ts';
import { learnAll } from '../layer/learned-sums.ts';
import { windowsLength } from '../layer/packed-windows.ts';
import type { Entry, Toc } from '../layer/toc.ts';
import { type StoredToc, TocStore } from '../layer/toc-store.ts';
import { packToc, unpackToc } from '../layer/travelling-toc.ts';
import { UnusableIndex } from '../layer/unusable-index.ts';
import { verifiedWindows } from '../layer/windows-file.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import { DocumentStore } from '../source/document-store.ts';
import type { BlobSource, ImageSource } from '../source/source.ts';
import type { Digest } from '../units.ts';
import { type LayerArtifact, layerArtifact, readList } from './index-artifact.ts';
import { ownDifferenceOf } from './own-difference.ts';

/** The artifact of a layer that the pass indexed; undefined for one that is read by another index. */
export async function packLayer(layer: Descriptor, stored: StoredToc): Promise<LayerArtifact | undefined> {
  if (stored.toc.own !== undefined) return undefined;
  const { toc, windows } = await packToc(stored.toc, await allWindows(stored));
  return layerArtifact(layer, toc, windows);
}

export interface Imported {
  /** Of the list: what `--index-digest` is given. */
  readonly digest: Digest;
  /** Layers of which the index was taken in. */
  readonly layers: readonly Digest[];
}

/** Takes the list that `source` leads to into the cache, and all that it lists. */
export async function importIndexes(
  source: ImageSource,
  cache: CacheDir,
  signal: AbortSignal,
): Promise<Imported> {
  try {
    const list = await source.resolve(signal);
    const store = new TocStore((key) => cache.layerDir(key));
    const layers: Digest[] = [];
    for (const { subject, toc, windows } of readList(list)) {
      const packed = await source.fetchBlob(toc, MAX_STORED_INDEX_BYTES, signal);
      const { digest, size } = subject;
      const sealed = await unpackToc(packed, { digest, size, diffID: undefined, packedDigest: toc.digest });
      const blob =
        windows === undefined
          ? Buffer.alloc(0)
          : await source.fetchBlob(windows, MAX_STORED_INDEX_BYTES, signal);
      await (await store.save(sealed.toc, await verifiedWindows(sealed, blob))).close();
      layers.push(digest);
    }
    if (layers.length === 0) throw new UnusableIndex('it lists no index of a layer');
    // Last: what can be named is whole.
    await new DocumentStore(cache.versionDir).writeDocument(list.digest, list.bytes);
    return { digest: list.digest, layers };
  } catch (error) {
    if (!(error instanceof UnusableIndex)) throw error;
    throw new PeelError('ERR_DOCUMENT_INVALID', `${source.name}: as a list of indexes: ${error.message}`, {
      cause: error,
    });
  }
}

/** What is wrong about an index, given what the pass over the layer (`blob`) found; undefined where it is the same. */
export async function differenceOf(
  index: StoredToc,
  proved: StoredToc,
  blob: BlobSource,
): Promise<string | undefined> {
  const { own } = index.toc;
  const isOfTar = own === undefined || own.format === 'peel' || own.format === 'headers';
  if (!isOfTar) return await ownDifferenceOf(index, proved, blob);
  const claimed = index.toc;
  const real = proved.toc;
  // What was never read has nothing to be compared by.
  const wrong = learnAll(claimed, real);
  if (wrong !== undefined) return wrong;
  if (claimed.uncompressedSize !== real.uncompressedSize) {
    return `it is of ${claimed.uncompressedSize} uncompressed bytes, the layer has ${real.uncompressedSize}`;
  }
  if (claimed.compression !== real.compression)
    return `it says ${claimed.compression}, not ${real.compression}`;
  const entry = firstDifference(claimed.entries, real.entries);
  if (entry !== undefined) return entryDifference(entry, claimed.entries[entry], real.entries[entry]);
  const span = firstDifference(claimed.spans, real.spans);
  if (span !== undefined) return `span ${span} is not the one of the layer`;
  const checkpoint = firstDifference(claimed.checkpoints, real.checkpoints);
  if (checkpoint !== undefined) return `checkpoint ${checkpoint} is not the one of the layer`;
  const same = (await allWindows(index)).equals(await allWindows(proved));
  return same ? undefined : 'its windows are not the ones of the layer';
}

function firstDifference(some: readonly object[], others: readonly object[]): number | undefined {
  for (let at = 0; at < Math.max(some.length, others.length); at += 1) {
    if (!isDeepStrictEqual(some[at], others[at])) return at;
  }
  return undefined;
}

function entryDifference(at: number, claimed: Entry | undefined, real: Entry | undefined): string {
  if (claimed === undefined || real === undefined || claimed.path !== real.path) {
    const shown = (entry: Entry | undefined): string => (entry === undefined ? 'none' : `/${entry.path}`);
    return `entry ${at} is ${shown(claimed)}, the layer has ${shown(real)}`;
  }
  const fields = (Object.keys(real) as (keyof Entry)[]).filter(
    (field) => !isDeepStrictEqual(claimed[field], real[field]),
  );
  return `entry ${at}, /${real.path}: its ${fields.join(', ')} is not what the layer says`;
}

/** All packed windows as they lie in their file, each verified. */
async function allWindows(stored: StoredToc): Promise<Buffer> {
  const { toc }: { toc: Toc } = stored;
  const windows = Buffer.alloc(windowsLength(toc));
  for (const [index, { windowOffset }] of toc.checkpoints.entries()) {
    windows.set((await stored.readWindow(index)) ?? [], windowOffset);
  }
  return windows;
}
