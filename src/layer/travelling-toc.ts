/**
 * A TOC of the pass as it travels to another machine (docs/INDEX-ARTIFACT.md): the `toc` file of docs/TOC-FORMAT.md
 * under brotli, with the windows apart (`packed-windows.ts`). Whoever receives it knows its digest and trusts nothing else: it
 * must be well-formed, of the very layer, and within the caps of FAULTS section 7.
 */
import { createHash } from 'node:crypto';
import type { ByteString, Digest } from '../units.ts';
import { packBrotli, unpackBrotli } from './brotli.ts';
import { StoredFormError } from './byte-reader.ts';
import { MAX_CHUNK_BYTES } from './chunks/place-chunks.ts';
import { MAX_INDEX_BYTES } from './chunks/unpack-index.ts';
import { cleanPath, lengthProblem } from './clean-path.ts';
import { decodeToc } from './decode-toc.ts';
import { encodeToc, sealToc } from './encode-toc.ts';
import { ownIndexKey } from './own-index.ts';
import { packWindows, windowsLength } from './packed-windows.ts';
import type { Entry, Toc } from './toc.ts';
import type { SealedToc } from './toc-format.ts';
import { UnusableIndex } from './unusable-index.ts';

export interface TravellingLayer {
  readonly digest: Digest;
  readonly size: number;
  /** undefined where the image does not name it. */
  readonly diffID: Digest | undefined;
  /** Of the packed bytes. */
  readonly packedDigest: Digest;
}

/** As they travel. */
export interface PackedToc {
  readonly toc: Buffer;
  /** Empty where there are none. */
  readonly windows: Buffer;
}

/**
 * The same bytes for the same layer, whoever packs them. `windows` as they lie in their file.
 * @throws RangeError for a TOC that the pass did not make.
 */
export async function packToc(toc: Toc, windows: Buffer): Promise<PackedToc> {
  if (toc.own !== undefined) throw new RangeError(`the TOC of ${toc.digest} was made from another index`);
  const packed = await packWindows(toc, windows);
  const named = packed.length === 0 ? undefined : { digest: digestOf(packed), size: packed.length };
  return { toc: await packBrotli(encodeToc(sealToc(toc, windows, named)), 11), windows: packed };
}

/** @throws UnusableIndex where `packed` is not what its digest names, or cannot be true of the layer. */
export async function unpackToc(packed: Buffer, layer: TravellingLayer): Promise<SealedToc> {
  const found = digestOf(packed);
  if (found !== layer.packedDigest) {
    throw new UnusableIndex(`it has the digest ${found}, want ${layer.packedDigest}`);
  }
  const sealed = decode(await unpackBrotli(packed, MAX_INDEX_BYTES));
  const { toc } = sealed;
  check(toc.own === undefined, 'it was made from another index');
  check(toc.digest === layer.digest, `it is of the layer ${toc.digest}`);
  check(
    toc.compressedSize === layer.size,
    `it is of a layer of ${toc.compressedSize} bytes, not of ${layer.size}`,
  );
  check(
    layer.diffID === undefined || toc.diffID === layer.diffID,
    `it is of a layer with the diffID ${toc.diffID}, not ${layer.diffID}`,
  );
  checkSizes(toc);
  for (const entry of toc.entries) checkNames(entry);
  const key = ownIndexKey('peel', layer.digest, layer.size, layer.packedDigest);
  // Whoever made it says so, and nobody here has computed it.
  const own = { format: 'peel', digest: layer.packedDigest, key } as const;
  return { ...sealed, toc: { ...toc, diffID: undefined, own } };
}

function digestOf(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}

function decode(bytes: Buffer): SealedToc {
  try {
    return decodeToc(bytes);
  } catch (error) {
    if (!(error instanceof StoredFormError)) throw error;
    throw new UnusableIndex(`it is no TOC of this version of peel (${error.message})`, { cause: error });
  }
}

function check(holds: boolean, problem: string): void {
  if (!holds) throw new UnusableIndex(problem);
}

function checkSizes(toc: Toc): void {
  const windows = windowsLength(toc);
  check(windows <= MAX_INDEX_BYTES, `windows of ${windows} bytes, at most ${MAX_INDEX_BYTES} are read`);
  for (const { start, end } of toc.spans) {
    check(
      end - start <= MAX_CHUNK_BYTES,
      `a span of ${end - start} bytes, at most ${MAX_CHUNK_BYTES} are read`,
    );
  }
}

/** What our own reader of tar headers sees to, and nobody did here. */
function checkNames({ path, target, xattrs }: Entry): void {
  const shown = JSON.stringify(path);
  check(cleanPath(path) === path && !path.includes('\0'), `the path ${shown} is not clean`);
  check(lengthProblem(path) === undefined, `the path ${shown} is too long`);
  check(target === undefined || !target.includes('\0'), `the link ${shown} has a NUL in its target`);
  for (const name of xattrs?.keys() ?? []) check(isName(name), `an attribute of ${shown} has no name`);
}

function isName(name: ByteString): boolean {
  return name !== '' && !name.includes('\0');
}
