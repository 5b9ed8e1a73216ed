/**
 * Holds an index that an image brings (eStargz, zstd:chunked, SOCI) against the layer itself (E139). Its spans are not
 * those of our pass, so what is compared is what it says of the files, entry for entry, and every byte of them, read
 * both ways.
 */
import { LayerReader } from '../blob/layer-reader.ts';
import { MemoryCache } from '../blob/memory-cache.ts';
import { isPeelError } from '../errors.ts';
import { differentField } from '../layer/entry-difference.ts';
import type { Entry } from '../layer/toc.ts';
import type { StoredToc } from '../layer/toc-store.ts';
import type { BlobSource } from '../source/source.ts';
import { uncompressed } from '../units.ts';
import { withoutStargzFiles } from './own-index-claim.ts';

/** Compared at once. */
const PIECE_BYTES = 1024 * 1024;
/** Files are read in the order of the layer: what was read is not asked for again. */
const MEMORY_BYTES = 16 * 1024 * 1024;
const HALF_SECOND_NSEC = 500_000_000;

/** What the index says, and what the layer is; undefined where that is the same. `blob` is the layer's. */
export async function ownDifferenceOf(
  index: StoredToc,
  proved: StoredToc,
  blob: BlobSource,
): Promise<string | undefined> {
  // What the library of eStargz adds is in one of them, or in both.
  const claimed = withoutStargzFiles(index.toc.entries);
  const real = withoutStargzFiles(proved.toc.entries);
  // The library of eStargz rounds them, in zstd:chunked as well; any other index with chunks has them as they are.
  const isRounded = index.toc.own?.gaps !== undefined && claimed.every(({ mtimeNsec }) => mtimeNsec === 0);
  for (let at = 0; at < Math.max(claimed.length, real.length); at += 1) {
    const [one, other] = [claimed[at], real[at]];
    if (one?.path !== other?.path || one === undefined || other === undefined) {
      const shown = (entry: Entry | undefined): string => (entry === undefined ? 'none' : `/${entry.path}`);
      return `entry ${at} is ${shown(one)}, the layer has ${shown(other)}`;
    }
    const field = differentField(one, isRounded ? inWholeSeconds(other) : other);
    if (field !== undefined) return `/${other.path}: its ${field} is not what the layer says`;
  }
  return await firstDifferentContent({ index, claimed }, { index: proved, claimed: real }, blob);
}

/** To the nearest (E131). */
function inWholeSeconds(entry: Entry): Entry {
  const second = entry.mtimeSec + (entry.mtimeNsec >= HALF_SECOND_NSEC ? 1 : 0);
  return { ...entry, mtimeSec: second, mtimeNsec: 0 };
}

interface Side {
  readonly index: StoredToc;
  readonly claimed: readonly Entry[];
}

async function firstDifferentContent(one: Side, other: Side, blob: BlobSource): Promise<string | undefined> {
  const [read, readOther] = [one, other].map(({ index }) => readerOf(index, blob));
  if (read === undefined || readOther === undefined) throw new TypeError('two readers');
  try {
    for (const [at, entry] of one.claimed.entries()) {
      const real = other.claimed[at];
      if (entry.type !== 'file' || real === undefined) continue;
      for (let offset = 0; offset < entry.size; offset += PIECE_BYTES) {
        const length = Math.min(PIECE_BYTES, entry.size - offset);
        const same = (await read.bytes(entry, offset, length)).equals(
          await readOther.bytes(real, offset, length),
        );
        if (!same) return `/${entry.path}: its content is not the one of the layer`;
      }
    }
    return undefined;
  } catch (error) {
    // The index names a digest that its own chunk does not have.
    if (isPeelError(error, 'ERR_DIGEST_MISMATCH')) return error.message;
    throw error;
  } finally {
    await Promise.all([read.close(), readOther.close()]);
  }
}

interface EntryReader {
  bytes(entry: Entry, offset: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

function readerOf(stored: StoredToc, source: BlobSource): EntryReader {
  const reader = new LayerReader({ stored, source, cache: undefined, memory: new MemoryCache(MEMORY_BYTES) });
  return {
    bytes: async (entry, offset, length) => {
      const bytes = Buffer.alloc(length);
      let at: number = entry.dataOffset;
      for (const piece of entry.sparse ?? [{ offset: 0, length: entry.size }]) {
        const start = Math.max(piece.offset, offset);
        const end = Math.min(piece.offset + piece.length, offset + length);
        if (start < end) {
          const from = at + start - piece.offset;
          const range = { start: uncompressed(from), end: uncompressed(from + end - start) };
          bytes.set(await reader.read(range), start - offset);
        }
        at += piece.length;
      }
      return bytes;
    },
    close: () => reader.close(),
  };
}
