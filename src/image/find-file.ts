/**
 * From a path to the file system that knows what is there, with as few layers read as it takes: from the top down,
 * until the upper layers say it by themselves.
 *
 *   strict:       layers that are read are proved before anything is said of them
 *   progressive:  a file is found, and read, while its layer passes; `proved` says in the end whether that was right
 */
import { isPeelError, PeelError } from '../errors.ts';
import type { Contents } from '../filesystem/contents.ts';
import { FileSystem } from '../filesystem/filesystem.ts';
import { shown } from '../filesystem/resolve.ts';
import type { Entry } from '../layer/toc.ts';
import type { Node } from '../tree/node.ts';
import { type ByteString, uncompressed } from '../units.ts';
import { Lookout, type Sighting } from './lookout.ts';
import type { OpenedLayers } from './opened-layers.ts';
import { upperTrees } from './upper-trees.ts';

/** Compressed bytes of layers that are read before it is known that they are needed. */
const MAX_SPECULATIVE_BYTES = 4 * 1024 * 1024;

/** FAULTS P2. */
export type Verify = 'strict' | 'progressive';

export interface Found {
  /** Has what the image has at the path, links followed; it may know of nothing else. */
  readonly files: FileSystem;
  /** False where its layer is still passing. */
  readonly isProved: boolean;
  /**
   * Nothing more is read of `files`. Resolves once what they said is proved. @throws PeelError where it was wrong, or
   * cannot be proved: ERR_DIGEST_MISMATCH, ERR_ENTRY_REPLACED, and whatever ends the indexing of a layer.
   */
  proved(): Promise<void>;
  /** In its place where nobody wants to know. */
  leave(): void;
}

export interface FindFileParts {
  /** Of the image, for messages. */
  readonly name: string;
  readonly layers: OpenedLayers;
  /** Compressed, lowest first. */
  readonly sizes: readonly number[];
  /** The tree where the cache has it. */
  readonly isIndexed: () => Promise<boolean>;
  /** Of the whole image, or of one layer alone. What it says is proved. */
  readonly filesystem: (layer?: number) => Promise<FileSystem>;
}

/** Where the upper layers do not say, the whole image does. */
export async function findInImage(parts: FindFileParts, path: ByteString, verify: Verify): Promise<Found> {
  const { layers, sizes } = parts;
  if (await parts.isIndexed()) return alreadyProved(await parts.filesystem());
  const find = async (isProgressive: boolean): Promise<Found> => {
    let early: Found | undefined;
    const known = upperTrees({
      count: sizes.length,
      entries: async (layer, upper) => {
        startIndexing(parts, layer);
        if (isProgressive) early = await findPassing(parts, path, layer, upper, () => find(false));
        return early === undefined ? (await layers.toc(layer)).entries : undefined;
      },
      isAtHand: (layer) => layers.isKnown(layer),
    });
    for await (const { tree } of known) {
      const files = new FileSystem(tree, layers.contents);
      if (nodeAt(files, path) !== undefined) return alreadyProved(files);
    }
    return early ?? alreadyProved(await parts.filesystem());
  };
  return find(verify === 'progressive');
}

/** One layer alone, as if the image had no other. */
export async function findInLayer(
  parts: FindFileParts,
  layer: number,
  path: ByteString,
  verify: Verify,
): Promise<Found> {
  const proved = async (): Promise<Found> => alreadyProved(await parts.filesystem(layer));
  if (verify === 'strict') return proved();
  parts.layers.startIndexing(layer);
  const alone = parts.sizes.map(() => []);
  return (await findPassing(parts, path, layer, alone, proved)) ?? proved();
}

/** Layer `highest` and, as long as that is little, those below: the answer may lie in the first. */
function startIndexing({ layers, sizes }: FindFileParts, highest: number): void {
  let bytes = 0;
  for (let layer = highest; layer >= 0; layer -= 1) {
    bytes += sizes[layer] ?? 0;
    if (layer < highest && bytes > MAX_SPECULATIVE_BYTES) return;
    layers.startIndexing(layer);
  }
}

function alreadyProved(files: FileSystem): Found {
  return { files, isProved: true, proved: () => Promise.resolve(), leave: () => {} };
}

/** undefined where the layer must be known to its end first. */
async function findPassing(
  parts: FindFileParts,
  path: ByteString,
  layer: number,
  upper: readonly (readonly Entry[])[],
  findProved: () => Promise<Found>,
): Promise<Found | undefined> {
  const { layers } = parts;
  const lookout = new Lookout(path, layer, upper, (entries) => layers.shownEntries(layer, entries));
  const stopLooking = layers.addOnlooker(layer, lookout);
  const end = layers.toc(layer);
  const sighting = await Promise.race([lookout.sighted, end.then(() => undefined)]).catch(
    (error: unknown) => {
      stopLooking();
      throw error;
    },
  );
  if (sighting === undefined) {
    stopLooking();
    return undefined;
  }
  const stopReading = (error?: unknown): void => sighting.bytes?.end(error);
  end.then(
    () => stopReading(),
    (error: unknown) => stopReading(distrusted(error, path)),
  );
  return {
    files: new FileSystem(sighting.tree, passingContents(layers.contents, layer, sighting)),
    isProved: false,
    proved: async () => {
      stopReading();
      const last = await end.then(findProved).catch((error: unknown) => {
        throw distrusted(error, path);
      });
      stopLooking();
      const passed = sighting.passed.take();
      if (passed !== undefined) await layers.keep(layer, uncompressed(passed.start), passed.bytes);
      if (isSameFile(sighting.node, nodeAt(last.files, path))) return;
      throw new PeelError(
        'ERR_ENTRY_REPLACED',
        `${shown(path)} of ${parts.name}: layer ${layer} replaces it by a later entry, what was printed is the first; run it again, the layer is known now`,
        { facts: { layer, path: shown(path) } },
      );
    },
    leave: () => {
      stopReading();
      stopLooking();
    },
  };
}

/** What passes by while it does, the layers that are proved for all else. */
function passingContents(contents: Contents, passingLayer: number, { bytes }: Sighting): Contents {
  return {
    read: async (layer, range, signal, willReadTo) =>
      (layer === passingLayer ? await bytes?.read(range, signal) : undefined) ??
      (await contents.read(layer, range, signal, willReadTo)),
  };
}

/** Where a path leads, if anywhere as far as these layers know. */
export function nodeAt(files: FileSystem, path: ByteString): Node | undefined {
  try {
    return files.resolve(path, { follow: true });
  } catch (error) {
    if (isPeelError(error)) return undefined;
    throw error;
  }
}

function isSameFile(first: Node, last: Node | undefined): boolean {
  return (
    last?.kind === first.kind &&
    last.size === first.size &&
    last.content?.layer === first.content?.layer &&
    last.content?.dataOffset === first.content?.dataOffset
  );
}

/** An error that came after bytes had been given out. */
function distrusted(error: unknown, path: ByteString): unknown {
  if (!isPeelError(error) || error.code === 'ERR_INTERRUPTED') return error;
  return new PeelError(
    error.code,
    `${error.message}; do not trust what was printed of ${shown(path)}, it was not verified yet`,
    { facts: error.facts, cause: error },
  );
}
