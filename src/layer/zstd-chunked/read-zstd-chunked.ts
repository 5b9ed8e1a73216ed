/** The TOC of a zstd:chunked layer: fetched from where the manifest says, verified, turned into ours. One request. */
import { createHash } from 'node:crypto';
import { compressed, type Digest } from '../../units.ts';
import { tocOfChunks } from '../chunks/chunk-toc.ts';
import { MAX_STORED_INDEX_BYTES, unpackIndex } from '../chunks/unpack-index.ts';
import type { ReadRange } from '../own-index.ts';
import type { Toc } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';
import { MAX_FRAMED_FOOTER_BYTES, positionInFooter, type ZstdChunkedClaim } from './position.ts';

export interface ZstdChunkedLayer extends ZstdChunkedClaim {
  readonly digest: Digest;
  /** Of the blob. */
  readonly size: number;
  /** The annotation of eStargz, which its library writes too: of the TOC as it is decompressed. */
  readonly tocDigest: Digest | undefined;
}

/** With neither checksum nor digest whatever is there is believed. @throws UnusableIndex; errors of `read` pass. */
export async function readZstdChunked(layer: ZstdChunkedLayer, read: ReadRange): Promise<Toc> {
  const { offset, storedLength, length } = layer.position;
  if (storedLength === 0 || offset + storedLength > layer.size) {
    throw new UnusableIndex(`a TOC of ${storedLength} bytes at ${offset} of a blob of ${layer.size}`);
  }
  if (storedLength > MAX_STORED_INDEX_BYTES) {
    throw new UnusableIndex(`a TOC of ${storedLength} bytes, at most ${MAX_STORED_INDEX_BYTES} are read`);
  }
  const stored = await read({ start: compressed(offset), end: compressed(offset + storedLength) });
  const checksum = sha256(stored);
  mustBe(checksum, layer.checksum, 'as stored');
  const json = await unpackIndex(stored, 'zstd');
  if (json.length !== length)
    throw new UnusableIndex(`a TOC of ${json.length} bytes, its position says ${length}`);
  mustBe(sha256(json), layer.tocDigest, 'decompressed');
  return tocOfChunks(json, {
    digest: layer.digest,
    size: layer.size,
    format: 'zstd-chunked',
    compression: 'zstd',
    indexDigest: layer.checksum ?? layer.tocDigest ?? checksum,
  });
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
    : readZstdChunked({ ...layer, position, checksum: undefined }, read);
}

function mustBe(found: Digest, named: Digest | undefined, how: string): void {
  if (named !== undefined && found !== named) {
    throw new UnusableIndex(`its TOC, ${how}, has the digest ${found}, the manifest says ${named}`);
  }
}

function sha256(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}
