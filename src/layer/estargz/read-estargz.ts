/**
 * The TOC of an eStargz layer: found by the footer at the end of the blob, verified, turned into ours. One request
 * where the guess of how long it is was long enough, else two; where the footer says that the TOC lies elsewhere, one
 * for that.
 */
import { createHash } from 'node:crypto';
import { type CompressedRange, compressed, type Digest } from '../../units.ts';
import { tocOfChunks } from '../chunks/chunk-toc.ts';
import { MAX_STORED_INDEX_BYTES, unpackIndex } from '../chunks/unpack-index.ts';
import type { ReadRange } from '../own-index.ts';
import type { Toc } from '../toc.ts';
import { UnusableIndex } from '../unusable-index.ts';
import { MAX_FOOTER_BYTES, parseEstargzFooter } from './footer.ts';

/** The one member of the tar that is the TOC. */
const TOC_NAME = 'stargz.index.json';
const BLOCK = 512;
const SIZE_FIELD = { start: 124, end: 136 } as const;

/** Real TOCs take up to a hundredth of their blob. */
const TAIL_SHARE = 1 / 100;
const MIN_TAIL_BYTES = 16 * 1024;
const MAX_TAIL_BYTES = 1024 * 1024;

export interface EstargzLayer {
  readonly digest: Digest;
  /** Of the blob. */
  readonly size: number;
  /** The annotation `containerd.io/snapshot/stargz/toc.digest`; undefined: whatever is there is believed. */
  readonly tocDigest: Digest | undefined;
}

/** The TOC as it is stored where the layer does not hold it; undefined where it is not to be had, which was said. */
export type ReadExternalToc = () => Promise<Buffer | undefined>;

/** undefined where the blob has no footer of eStargz. @throws UnusableIndex; errors of `read`, `readExternal` pass. */
export async function readEstargz(
  layer: EstargzLayer,
  read: ReadRange,
  readExternal: ReadExternalToc,
): Promise<Toc | undefined> {
  const guess = Math.min(Math.max(Math.ceil(layer.size * TAIL_SHARE), MIN_TAIL_BYTES), MAX_TAIL_BYTES);
  const tailStart = Math.max(0, layer.size - guess);
  if (layer.size < MAX_FOOTER_BYTES) return undefined;
  const tail = await read(rangeOf(tailStart, layer.size));
  const footer = parseEstargzFooter(tail);
  if (footer === undefined) return undefined;
  if (footer === 'external') {
    const stored = await readExternal();
    return stored === undefined ? undefined : tocOf(stored, layer);
  }
  const { tocOffset } = footer;
  const end = layer.size - footer.length;
  if (tocOffset >= end)
    throw new UnusableIndex(`its footer says that the TOC begins at ${tocOffset} of ${end} bytes`);
  if (end - tocOffset > MAX_STORED_INDEX_BYTES) {
    throw new UnusableIndex(`a TOC of ${end - tocOffset} bytes, at most ${MAX_STORED_INDEX_BYTES} are read`);
  }
  const inTail = tail.subarray(Math.max(0, tocOffset - tailStart), tail.length - footer.length);
  const stored =
    tocOffset >= tailStart ? inTail : Buffer.concat([await read(rangeOf(tocOffset, tailStart)), inTail]);
  return tocOf(stored, layer);
}

/** `stored`: a tar of one member, as one gzip member. */
async function tocOf(stored: Buffer, layer: EstargzLayer): Promise<Toc> {
  const json = tocOfTar(await unpackIndex(stored, 'gzip'));
  const found = `sha256:${createHash('sha256').update(json).digest('hex')}` as Digest;
  if (layer.tocDigest !== undefined && found !== layer.tocDigest) {
    throw new UnusableIndex(`its TOC has the digest ${found}, the manifest says ${layer.tocDigest}`);
  }
  return tocOfChunks(json, {
    digest: layer.digest,
    size: layer.size,
    format: 'estargz',
    compression: 'gzip',
    indexDigest: found,
  });
}

/** The content of the one member, whose header is as Go writes it for a short name: no extensions. */
function tocOfTar(tar: Buffer): Buffer {
  const name = tar.toString('latin1', 0, tar.subarray(0, 100).indexOf(0));
  if (name !== TOC_NAME) throw new UnusableIndex(`no ${TOC_NAME} where its footer says`);
  const digits = /^([0-7]{1,11})[ \0]/.exec(tar.toString('latin1', SIZE_FIELD.start, SIZE_FIELD.end))?.[1];
  const size = digits === undefined ? Number.NaN : Number.parseInt(digits, 8);
  if (!(size <= tar.length - BLOCK)) throw new UnusableIndex(`its ${TOC_NAME} is cut short`);
  return tar.subarray(BLOCK, BLOCK + size);
}

function rangeOf(start: number, end: number): CompressedRange {
  return { start: compressed(start), end: compressed(end) };
}
