/**
 * The TOC of a zstd:chunked layer: fetched from where the manifest says, verified, turned into ours, and held against
 * the headers of the tar where the layer has these as well. One request.
 */
import { createHash } from 'node:crypto';
import { type CompressedRange, compressed, type Digest, isDigest } from '../../units.ts';
import { tocOfChunks } from '../chunks/chunk-toc.ts';
import { MAX_STORED_INDEX_BYTES, unpackIndex } from '../chunks/unpack-index.ts';
import type { ReadRange } from '../own-index.ts';
import type { Toc } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';
import {
  MAX_FRAMED_FOOTER_BYTES,
  positionInFooter,
  type StoredPart,
  type ZstdChunkedClaim,
} from './position.ts';
import { checkTarSplit } from './tar-split.ts';

/** Between TOC and tar-split: the header of a skippable frame. */
const MAX_GAP_BYTES = 4096;

export interface ZstdChunkedLayer extends ZstdChunkedClaim {
  readonly digest: Digest;
  /** Of the blob. */
  readonly size: number;
  /** The annotation of eStargz, which its library writes too: of the TOC as it is decompressed. */
  readonly tocDigest: Digest | undefined;
}

/** With neither checksum nor digest whatever is there is believed. @throws UnusableIndex; errors of `read` pass. */
export async function readZstdChunked(layer: ZstdChunkedLayer, read: ReadRange): Promise<Toc> {
  const { position } = layer;
  const { stored, tarSplit } = await readParts(layer, read);
  const checksum = sha256(stored);
  mustBe(checksum, layer.checksum, 'TOC, as stored,');
  const json = await unpackIndex(stored, 'zstd');
  if (json.length !== position.length)
    throw new UnusableIndex(`a TOC of ${json.length} bytes, its position says ${position.length}`);
  mustBe(sha256(json), layer.tocDigest, 'TOC, decompressed,');
  let tarSplitDigest: unknown;
  const toc = tocOfChunks(
    json,
    {
      digest: layer.digest,
      size: layer.size,
      format: 'zstd-chunked',
      compression: 'zstd',
      indexDigest: layer.checksum ?? layer.tocDigest ?? checksum,
    },
    (key, value) => {
      if (key === 'tarSplitDigest') tarSplitDigest = value();
    },
  );
  const named = namedDigest(tarSplitDigest) ?? layer.tarSplitChecksum;
  // One that no digest is of says nothing.
  if (position.tarSplit === undefined || tarSplit === undefined || named === undefined) return toc;
  mustBe(sha256(tarSplit), named, 'tar-split', 'TOC');
  await checkTarSplit(tarSplit, position.tarSplit.length, toc.entries);
  return toc;
}

interface Parts {
  readonly stored: Buffer;
  readonly tarSplit: Buffer | undefined;
}

/** Writers put the tar-split behind the TOC: then it is one request. */
async function readParts({ position, size }: ZstdChunkedLayer, read: ReadRange): Promise<Parts> {
  const toc = rangeOf(position, 'a TOC', size);
  if (position.tarSplit === undefined) return { stored: await read(toc), tarSplit: undefined };
  const split = rangeOf(position.tarSplit, 'a tar-split', size);
  const gap = split.start - toc.end;
  if (gap < 0 || gap > MAX_GAP_BYTES) return { stored: await read(toc), tarSplit: await read(split) };
  const both = await read({ start: toc.start, end: split.end });
  return {
    stored: both.subarray(0, toc.end - toc.start),
    tarSplit: both.subarray(split.start - toc.start),
  };
}

function rangeOf({ offset, storedLength }: StoredPart, what: string, size: number): CompressedRange {
  if (storedLength === 0 || offset + storedLength > size) {
    throw new UnusableIndex(`${what} of ${storedLength} bytes at ${offset} of a blob of ${size}`);
  }
  if (storedLength > MAX_STORED_INDEX_BYTES) {
    throw new UnusableIndex(`${what} of ${storedLength} bytes, at most ${MAX_STORED_INDEX_BYTES} are read`);
  }
  return { start: compressed(offset), end: compressed(offset + storedLength) };
}

function namedDigest(value: unknown): Digest | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'string' && isDigest(value)) return value;
  throw new UnusableIndex('the digest that it has of its tar-split is none');
}

/** The same for a layer whose manifest does not say where the TOC lies: its footer does. undefined for none. */
export async function findZstdChunked(
  layer: Omit<ZstdChunkedLayer, keyof ZstdChunkedClaim>,
  read: ReadRange,
): Promise<Toc | undefined> {
  const start = Math.max(0, layer.size - MAX_FRAMED_FOOTER_BYTES);
  if (start === layer.size) return undefined;
  const position = positionInFooter(await read({ start: compressed(start), end: compressed(layer.size) }));
  return position === undefined
    ? undefined
    : readZstdChunked({ ...layer, position, checksum: undefined, tarSplitChecksum: undefined }, read);
}

function mustBe(found: Digest, named: Digest | undefined, what: string, by = 'manifest'): void {
  if (named !== undefined && found !== named) {
    throw new UnusableIndex(`its ${what} has the digest ${found}, the ${by} says ${named}`);
  }
}

function sha256(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}
