/**
 * From the entries of a TOC in JSON to ours (`toc.ts`). Files are what their chunks make them; runs of zeros become
 * holes. Anything that does not fit together makes the index unusable as a whole: a tree is right or there is none.
 */
import type { Compression } from '../../native.ts';
import { type Digest, uncompressed } from '../../units.ts';
import { MAX_INDEX_ENTRIES } from '../index-entry.ts';
import type { OwnIndexFormat } from '../own-index.ts';
import { ownIndexKey } from '../own-index.ts';
import type { Entry, Span, SparsePiece, Toc } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';
import { type Chunk, type ChunkEntry, parseChunkEntry } from './chunk-entry.ts';
import { jsonEntries, type OnField } from './json-entries.ts';
import { MAX_CHUNK_BYTES, placeChunks, type StoredChunk } from './place-chunks.ts';

/** FAULTS section 7. */
const MAX_REGIONS = 65_536;

export interface ChunkedLayer {
  readonly digest: Digest;
  /** Of the blob. */
  readonly size: number;
  readonly format: OwnIndexFormat;
  readonly compression: Compression;
  /** Of the index, as the manifest names it. */
  readonly indexDigest: Digest;
}

/** A file on its way: its entry, and what is stored of it. */
interface FileParts {
  readonly entry: ChunkEntry;
  readonly stored: StoredChunk[];
  /** Where the stored chunks lie in the file. */
  readonly pieces: SparsePiece[];
}

/** `json` is verified; `onField` is given what it has besides its entries. @throws UnusableIndex */
export function tocOfChunks(json: Buffer, layer: ChunkedLayer, onField?: OnField): Toc {
  const files: FileParts[] = [];
  const chunks: StoredChunk[] = [];
  for (const [entry, list] of entriesWithChunks(jsonEntries(json, onField))) {
    const file: FileParts = { entry, stored: [], pieces: [] };
    if (entry.type === 'file') storeChunks(file, list);
    // Not by spread: a file may have more chunks than a call takes arguments.
    for (const chunk of file.stored) chunks.push(chunk);
    files.push(file);
  }
  const { checkpoints, spans, gaps, uncompressedSize } = placeChunks(chunks, layer.size);
  const starts = startsOf(files, spans);
  return {
    digest: layer.digest,
    diffID: undefined,
    compression: layer.compression,
    compressedSize: layer.size,
    uncompressedSize,
    own: {
      format: layer.format,
      digest: layer.indexDigest,
      key: ownIndexKey(layer.format, layer.digest, layer.size, layer.indexDigest),
      gaps,
    },
    checkpoints,
    spans,
    entries: files.map((file, index) => entryOf(file, starts[index] ?? 0)),
    warnings: [],
  };
}

/** Each entry with the chunks that follow it, its own the first. */
function* entriesWithChunks(values: Iterable<unknown>): Generator<[ChunkEntry, Chunk[]]> {
  let count = 0;
  let current: [ChunkEntry, Chunk[]] | undefined;
  for (const value of values) {
    count += 1;
    if (count > MAX_INDEX_ENTRIES) throw new UnusableIndex(`more than ${MAX_INDEX_ENTRIES} entries`);
    const parsed = parseChunkEntry(value);
    if (parsed.type !== 'chunk') {
      if (current !== undefined) yield current;
      current = [parsed, [parsed.chunk]];
      continue;
    }
    const isOfCurrent = parsed.path === undefined || parsed.path === current?.[0].path;
    if (current?.[0].type !== 'file' || !isOfCurrent) {
      throw new UnusableIndex('a chunk that does not follow the file it belongs to');
    }
    current[1].push(parsed.chunk);
  }
  if (current !== undefined) yield current;
}

/** The chunks follow each other from the first byte of the file to its last (E127). */
function storeChunks({ entry, stored, pieces }: FileParts, chunks: readonly Chunk[]): void {
  let at = 0;
  for (const chunk of chunks) {
    if (entry.size === 0 && chunks.length === 1) return;
    const length = chunk.length === 0 ? entry.size - chunk.chunkOffset : chunk.length;
    if (chunk.chunkOffset !== at || length <= 0 || at + length > entry.size) {
      throw new UnusableIndex(
        `a chunk of ${length} bytes at ${chunk.chunkOffset} of a file of ${entry.size}, where the one before ends at ${at}`,
      );
    }
    if (!chunk.isZeros) {
      const digest = chunk.digest ?? (chunks.length === 1 ? entry.digest : undefined);
      if (digest === undefined) throw new UnusableIndex('a chunk without a digest cannot be verified');
      if (length > MAX_CHUNK_BYTES) {
        throw new UnusableIndex(
          `a chunk of ${length} bytes, at most ${MAX_CHUNK_BYTES} are verified at once`,
        );
      }
      // A file that begins where the blob does would have no header; one in its first member has that before it.
      if (chunk.offset === 0 && chunk.innerOffset === 0)
        throw new UnusableIndex('a chunk without a place in the blob');
      const isLast = at + length === entry.size;
      const endOffset = isLast ? (entry.chunk.endOffset ?? chunk.endOffset) : undefined;
      const { offset, innerOffset } = chunk;
      stored.push({ offset, innerOffset, length, digest, endOffset, span: -1 });
      addPiece(pieces, at, length);
    }
    at += length;
  }
  if (at !== entry.size) throw new UnusableIndex(`chunks of ${at} bytes for a file of ${entry.size}`);
}

function addPiece(pieces: SparsePiece[], offset: number, length: number): void {
  const before = pieces.at(-1);
  if (before !== undefined && before.offset + before.length === offset) {
    pieces[pieces.length - 1] = { offset: before.offset, length: before.length + length };
    return;
  }
  if (pieces.length === MAX_REGIONS) throw new UnusableIndex(`a file of more than ${MAX_REGIONS} pieces`);
  pieces.push({ offset, length });
}

/**
 * Where the content of each entry begins; of one without content, where the one before ends. They rise, as the stored
 * form wants them: entries stand in the order of the blob, as whoever writes one in a single go has them.
 */
function startsOf(files: readonly FileParts[], spans: readonly Span[]): number[] {
  let next = 0;
  return files.map(({ stored }) => {
    const [first] = stored;
    const start = spans[first?.span ?? next]?.start ?? spans.at(-1)?.end ?? 0;
    for (const { span } of stored) {
      if (span !== next)
        throw new UnusableIndex('files, or chunks of one, stand in another order than in the blob');
      next += 1;
    }
    return start;
  });
}

function entryOf({ entry, pieces }: FileParts, start: number): Entry {
  const [piece] = pieces;
  const isWhole = entry.size === 0 || (pieces.length === 1 && piece?.length === entry.size);
  return {
    path: entry.path,
    type: entry.type,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    size: entry.size,
    mtimeSec: entry.mtimeSec,
    mtimeNsec: entry.mtimeNsec,
    target: entry.target,
    rdev: entry.rdev,
    xattrs: entry.xattrs,
    dataOffset: uncompressed(entry.type === 'file' ? start : 0),
    sparse: entry.type !== 'file' || isWhole ? undefined : pieces,
  };
}
