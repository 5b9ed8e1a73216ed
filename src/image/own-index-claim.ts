/**
 * What a manifest says about an index inside a layer, and how to come by it. The annotations of a manifest that was
 * verified name the index by digest (class B); an index that nothing names is only looked for where the user allowed
 * it (class D).
 */
import type { BuiltToc } from '../layer/build-toc.ts';
import { MAX_STORED_INDEX_BYTES } from '../layer/chunks/unpack-index.ts';
import { readEstargz } from '../layer/estargz/read-estargz.ts';
import { HEADER_PASS_FROM_BYTES, readHeaders } from '../layer/header-pass.ts';
import { type OwnIndexFormat, ownIndexKey, type ReadRange } from '../layer/own-index.ts';
import { readZtoc } from '../layer/soci/read-ztoc.ts';
import type { Entry, Toc } from '../layer/toc.ts';
import type { SealedToc } from '../layer/toc-format.ts';
import { unpackToc } from '../layer/travelling-toc.ts';
import { UnusableIndex } from '../layer/unusable-index.ts';
import { claimOfAnnotations, type ZstdChunkedClaim } from '../layer/zstd-chunked/position.ts';
import { findZstdChunked, readZstdChunked } from '../layer/zstd-chunked/read-zstd-chunked.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import { digestOf } from '../reference/digest.ts';
import { isPlainTarType } from '../reference/media-types.ts';
import { type Digest, isDigest } from '../units.ts';
import type { Ztoc } from './soci-index.ts';

/**
 * FAULTS section 3: `A` pass over the whole layer, `B` index in the layer, named by the manifest, `C` index beside the
 * image, named by the manifest or by the user, `D` index that nothing names.
 */
export type VerificationClass = 'A' | 'B' | 'C' | 'D';

export interface OwnIndexClaim {
  readonly verificationClass: Exclude<VerificationClass, 'A'>;
  readonly format: OwnIndexFormat;
  /** Under which its TOC is kept; undefined where that is known only once it was read. */
  readonly key: Digest | undefined;
  /** undefined where there is none after all. @throws UnusableIndex; errors of `read` pass. */
  readonly read: (blobs: ReadableBlobs) => Promise<BuiltToc | SealedToc | undefined>;
}

/** Indexes that lie beside the image, for one of its layers. */
export interface IndexesBeside {
  /** Of SOCI. */
  readonly ztoc?: Ztoc | undefined;
  /** Made by peel: a packed TOC. */
  readonly packedToc?: Descriptor | undefined;
  /** The same, which nothing names. */
  readonly referringToc?: Descriptor | undefined;
  /** Where the image lies, where the headers of a plain tar are as good as an index. */
  readonly place?: string | undefined;
}

/** Bytes that are not verified. */
export interface ReadableBlobs {
  /** Of the layer. */
  readonly layer: ReadRange;
  /** Whether parts of the layer were found to cost as much as the whole. */
  readonly ignoresRanges: () => boolean;
  /** All of another blob of the repository. */
  readonly whole: (blob: Descriptor) => Promise<Buffer>;
  /** Where the TOC of an eStargz layer is, if not in the layer; undefined where that cannot be said, and it was said why. */
  readonly stargzToc: () => Promise<Descriptor | undefined>;
}

const NO_WINDOWS = Buffer.alloc(0);

/** stargz-snapshotter docs/estargz.md: sha256 of the TOC, decompressed. */
const STARGZ_TOC_DIGEST = 'containerd.io/snapshot/stargz/toc.digest';

/** @throws UnusableIndex where the annotations are malformed. */
export function ownIndexClaimOf(
  layer: Descriptor,
  diffID: Digest | undefined,
  allowUnverified: boolean,
  { ztoc, packedToc, referringToc, place }: IndexesBeside = {},
): OwnIndexClaim | undefined {
  // The user named it.
  if (packedToc !== undefined) return peelClaim(layer, diffID, packedToc, 'C');
  const annotations = layer.annotations ?? {};
  const tocDigest = annotations[STARGZ_TOC_DIGEST];
  if (tocDigest !== undefined && !isDigest(tocDigest)) {
    throw new UnusableIndex(`the annotation ${STARGZ_TOC_DIGEST} is no digest`);
  }
  const zstd = claimOfAnnotations(annotations);
  if (zstd !== undefined) return zstdChunkedClaim(layer, zstd, tocDigest, allowUnverified);
  if (tocDigest === undefined && ztoc?.verificationClass === 'C') return sociClaim(layer, ztoc);
  if (tocDigest === undefined && !allowUnverified) return undefined;
  if (tocDigest === undefined && referringToc !== undefined)
    return peelClaim(layer, diffID, referringToc, 'D');
  if (tocDigest === undefined && ztoc !== undefined) return sociClaim(layer, ztoc);
  if (tocDigest === undefined && place !== undefined && isPlainTarType(layer.mediaType)) {
    return headersClaim(layer, place);
  }
  const { digest, size } = layer;
  const verificationClass = tocDigest === undefined ? 'D' : 'B';
  const format = layer.mediaType.includes('zstd') ? 'zstd-chunked' : 'estargz';
  const key = tocDigest === undefined ? undefined : ownIndexKey(format, digest, size, tocDigest);
  return {
    verificationClass,
    format,
    key,
    read: async (blobs) => {
      const named = { digest, size, tocDigest };
      if (format === 'zstd-chunked') return withoutWindows(await findZstdChunked(named, blobs.layer));
      return withoutWindows(await readEstargz(named, blobs.layer, () => externalToc(blobs)));
    },
  };
}

function headersClaim({ digest, size }: Descriptor, name: string): OwnIndexClaim | undefined {
  if (size < HEADER_PASS_FROM_BYTES) return undefined;
  const place = digestOf(Buffer.from(name));
  return {
    verificationClass: 'D',
    format: 'headers',
    key: ownIndexKey('headers', digest, size, place),
    read: ({ layer, ignoresRanges }) => readHeaders({ digest, size, place, read: layer, ignoresRanges }),
  };
}

function sociClaim({ digest, size }: Descriptor, { blob, verificationClass }: Ztoc): OwnIndexClaim {
  return {
    verificationClass,
    format: 'soci',
    key: ownIndexKey('soci', digest, size, blob.digest),
    read: async (blobs) => {
      refuseLarger(blob);
      return readZtoc(await blobs.whole(blob), { digest, size, ztocDigest: blob.digest });
    },
  };
}

function peelClaim(
  { digest, size }: Descriptor,
  diffID: Digest | undefined,
  packedToc: Descriptor,
  verificationClass: 'C' | 'D',
): OwnIndexClaim {
  return {
    verificationClass,
    format: 'peel',
    key: ownIndexKey('peel', digest, size, packedToc.digest),
    read: async (blobs) => {
      refuseLarger(packedToc);
      return unpackToc(await blobs.whole(packedToc), {
        digest,
        size,
        diffID,
        packedDigest: packedToc.digest,
      });
    },
  };
}

async function externalToc(blobs: ReadableBlobs): Promise<Buffer | undefined> {
  const blob = await blobs.stargzToc();
  if (blob === undefined) return undefined;
  refuseLarger(blob);
  return blobs.whole(blob);
}

function refuseLarger({ size }: Descriptor): void {
  if (size <= MAX_STORED_INDEX_BYTES) return;
  throw new UnusableIndex(`an index of ${size} bytes, at most ${MAX_STORED_INDEX_BYTES} are read`);
}

function withoutWindows(toc: Toc | undefined): BuiltToc | undefined {
  return toc === undefined ? undefined : { toc, windows: NO_WINDOWS };
}

function zstdChunkedClaim(
  layer: Descriptor,
  claim: ZstdChunkedClaim,
  tocDigest: Digest | undefined,
  allowUnverified: boolean,
): OwnIndexClaim | undefined {
  const named = claim.checksum ?? tocDigest;
  if (named === undefined && !allowUnverified) return undefined;
  const { digest, size } = layer;
  return {
    verificationClass: named === undefined ? 'D' : 'B',
    format: 'zstd-chunked',
    key: named === undefined ? undefined : ownIndexKey('zstd-chunked', digest, size, named),
    read: async (blobs) =>
      withoutWindows(await readZstdChunked({ ...claim, digest, size, tocDigest }, blobs.layer)),
  };
}

/** What the library of eStargz adds to a layer: nobody's files, in its root alone (E124, E125). */
const STARGZ_FILES: ReadonlySet<string> = new Set([
  'stargz.index.json',
  '.prefetch.landmark',
  '.no.prefetch.landmark',
]);

/** Whether a manifest says that the library of eStargz made a layer. */
export function isMadeByStargz(layer: Descriptor): boolean {
  return layer.annotations?.[STARGZ_TOC_DIGEST] !== undefined;
}

export function withoutStargzFiles(entries: readonly Entry[]): readonly Entry[] {
  return entries.filter(({ path }) => !STARGZ_FILES.has(path));
}
