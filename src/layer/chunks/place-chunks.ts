/**
 * Where the chunks of a layer lie in its blob and, laid end to end in that order, in the layer's uncompressed space:
 *
 *   blob           |member 0|--- member 1 ---|-- member 2 --|      gzip members or zstd frames
 *   decompressed      AAAA     ..BBBB..CCC      DDDDDD..           dots: headers and padding of the tar
 *   uncompressed   |AAAA|BBBB|CCC|DDDDDD|                          one span a chunk, one checkpoint a member
 *
 * The space is not the tar: the index does not say where a chunk lies in that.
 */
import { compressed, type Digest, uncompressed } from '../../units.ts';
import type { Checkpoint, Span } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';

/** A chunk of some file that has to be fetched. */
export interface StoredChunk {
  readonly offset: number;
  readonly innerOffset: number;
  /** Bytes, 1 to MAX_CHUNK_BYTES. */
  readonly length: number;
  readonly digest: Digest;
  /** Where its member ends at the latest, if the index says so. */
  readonly endOffset: number | undefined;
  /** Its place among all chunks, once they are placed. */
  span: number;
}

export interface PlacedChunks {
  readonly checkpoints: Checkpoint[];
  readonly spans: Span[];
  readonly gaps: number[];
  readonly uncompressedSize: number;
}

/** FAULTS section 7: span output. A chunk is verified before any of it is served, so it must fit in memory. */
export const MAX_CHUNK_BYTES = 8 * 1024 * 1024;
/** Half a million headers of the tar between two files; more would be a bomb. */
const MAX_GAP_BYTES = 256 * 1024 * 1024;

/**
 * Sorts `chunks` and gives each its `span`. `blobSize`: nothing lies beyond it, and the last member is taken to end
 * there: what else comes, the index says by itself or not at all.
 *
 * @throws UnusableIndex where chunks overlap or lie outside the blob.
 */
export function placeChunks(chunks: StoredChunk[], blobSize: number): PlacedChunks {
  chunks.sort((one, other) => one.offset - other.offset || one.innerOffset - other.innerOffset);
  const checkpoints: Checkpoint[] = [];
  const spans: Span[] = [];
  const gaps: number[] = [];
  let start = 0;
  for (let first = 0; first < chunks.length; ) {
    const member = memberAt(chunks, first);
    const offset = member[0]?.offset ?? 0;
    const next = chunks[first + member.length]?.offset ?? blobSize;
    const compressedEnd = compressed(memberEnd(member, offset, next, blobSize));
    checkpoints.push({
      compressedOffset: compressed(offset),
      uncompressedOffset: uncompressed(start),
      bits: 0,
      windowOffset: 0,
      windowLength: 0,
    });
    let inner = 0;
    for (const chunk of member) {
      const gap = chunk.innerOffset - inner;
      if (gap < 0) throw new UnusableIndex(`two chunks overlap in the member at offset ${offset}`);
      if (gap > MAX_GAP_BYTES) throw new UnusableIndex(`${gap} bytes before a chunk belong to no file`);
      const end = start + chunk.length;
      chunk.span = spans.length;
      spans.push({
        start: uncompressed(start),
        end: uncompressed(end),
        checkpoint: checkpoints.length - 1,
        compressedEnd,
        sha256: Buffer.from(chunk.digest.slice('sha256:'.length), 'hex'),
      });
      gaps.push(gap);
      inner = chunk.innerOffset + chunk.length;
      start = end;
    }
    first += member.length;
  }
  if (!Number.isSafeInteger(start)) throw new UnusableIndex('its chunks hold more than 2^53 bytes');
  return { checkpoints, spans, gaps, uncompressedSize: start };
}

/** The chunks that lie in the same member as the one at `first`. */
function memberAt(chunks: readonly StoredChunk[], first: number): StoredChunk[] {
  let end = first;
  while (end < chunks.length && chunks[end]?.offset === chunks[first]?.offset) end += 1;
  return chunks.slice(first, end);
}

function memberEnd(member: readonly StoredChunk[], offset: number, next: number, blobSize: number): number {
  if (offset >= blobSize) {
    throw new UnusableIndex(`a chunk at offset ${offset} of a blob of ${blobSize} bytes`);
  }
  for (const { endOffset } of member) {
    if (endOffset === undefined) continue;
    if (endOffset <= offset || endOffset > next) {
      throw new UnusableIndex(`a chunk from ${offset} to ${endOffset} overlaps another, or leaves the blob`);
    }
    return endOffset;
  }
  return next;
}
