/**
 * Indexes that an image brings for its own layers, or that somebody made for them with peel (`travelling-toc.ts`), in place of our pass over the layer. Whatever their format, they
 * become a TOC (`toc.ts`), so that nothing above this folder knows more than one kind.
 *
 * The blob itself is not proved then: what is, is the index, by the digest that names it, and each chunk, by the
 * digest that the index has of it (FAULTS classes B, C and D). A TOC made so must not be taken for the one of another
 * image that has the same blob and names no index, or another one: it is kept under a key of its own.
 */
import { createHash } from 'node:crypto';
import type { CompressedRange, Digest } from '../units.ts';
import type { TocIndex } from './toc.ts';

/** Stored as its place in this list, from 1 on. Append only. */
export const OWN_INDEX_FORMATS = ['estargz', 'zstd-chunked', 'soci', 'peel', 'headers'] as const;
export type OwnIndexFormat = (typeof OWN_INDEX_FORMATS)[number];

/** What a TOC that was made from such an index has besides. */
export interface OwnIndex {
  readonly format: OwnIndexFormat;
  /**
   * Of the index, as the manifest names it: all of the TOC follows from the bytes with this digest. Of `headers`, which
   * are no index: of the name of the image that they were read of.
   */
  readonly digest: Digest;
  /** Names the TOC and its spans in the caches. */
  readonly key: Digest;
  /**
   * Where spans are the chunks of files and not the tar, by span: bytes of decompressed output in front of it that
   * belong to no file (tar headers and padding), counted from the span before or, for the first span of a checkpoint,
   * from the checkpoint.
   */
  readonly gaps?: readonly number[];
  /** Where the index has digests of the spans as they are stored, and none of what they decompress to. */
  readonly stored?: StoredDigests;
}

/**
 * By span: sha256 of its bytes in the blob, from its checkpoint to `compressedEnd`. What they decompress to follows
 * from them and the window that the index has; its sum is learned when that was done first.
 */
export interface StoredDigests {
  readonly digests: readonly Buffer[];
}

/**
 * Whether nothing says what the spans decompress to before they were first read: a SOCI index has digests of them as
 * they are stored, the headers of a tar have none at all.
 */
export function learnsSums(own: Pick<OwnIndex, 'format'> | undefined): boolean {
  return own?.format === 'soci' || own?.format === 'headers';
}

/** Formats of which the spans are chunks. */
export function hasGaps(format: OwnIndexFormat): boolean {
  return format === 'estargz' || format === 'zstd-chunked';
}

/** The bytes of a range of the layer's blob, all of them, not verified. */
export type ReadRange = (range: CompressedRange) => Promise<Buffer>;

/** The key under which the TOC of `layer` made from the index `digest` is kept. */
export function ownIndexKey(format: OwnIndexFormat, layer: Digest, size: number, digest: Digest): Digest {
  const name = `own index\n${format}\n${layer}\n${size}\n${digest}`;
  return `sha256:${createHash('sha256').update(name).digest('hex')}` as Digest;
}

/** What a TOC and its spans are called in the caches: the layer's digest, where the pass proved it. */
export function cacheKeyOf(toc: Pick<TocIndex, 'digest' | 'own'>): Digest {
  return toc.own?.key ?? toc.digest;
}
