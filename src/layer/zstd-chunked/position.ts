/**
 * Where the TOC of a zstd:chunked layer lies in its blob: by the annotations of the manifest or, where these are
 * missing, by the footer in the last skippable frame of the blob. All numbers of the footers are 64 bits,
 * little-endian:
 *
 *   40 bytes  offset, stored length, length, type, "GnUlInUx"                          2021 to 2023
 *   56 bytes  offset, stored length, length, type, "GnUlInUx", 16 bytes of zeros       summer of 2023
 *   64 bytes  offset, stored length, length, type, three of the tar-split, "GNUlInUx"  since then
 *
 * The annotations were called `io.containers.zstd-chunked.…` until November 2022, `io.github.containers.…` since. The
 * digest of the tar-split was an annotation at first (`tarsplit-checksum`) and is a field of the TOC since 2024.
 * Source: containers/storage pkg/chunked.
 */
import { type Digest, isDigest } from '../../units.ts';
import { UnusableIndex } from '../unusable-index.ts';

/** Where something lies in the blob, compressed, and how long it is plain. */
export interface StoredPart {
  readonly offset: number;
  readonly storedLength: number;
  readonly length: number;
}

export interface TocPosition extends StoredPart {
  readonly tarSplit: StoredPart | undefined;
}

export interface ZstdChunkedClaim {
  readonly position: TocPosition;
  /** Of the TOC as stored; undefined where the manifest has none. */
  readonly checksum: Digest | undefined;
  /** Of the tar-split as stored, the same. */
  readonly tarSplitChecksum: Digest | undefined;
}

/** Newest first. */
const PREFIXES = ['io.github.containers.zstd-chunked.', 'io.containers.zstd-chunked.'] as const;
/** The only type of TOC that there ever was. */
const TOC_TYPE = 1;

/** undefined where the annotations are not those of such a layer. @throws UnusableIndex for malformed ones. */
export function claimOfAnnotations(
  annotations: Readonly<Record<string, string>>,
): ZstdChunkedClaim | undefined {
  for (const prefix of PREFIXES) {
    const text = annotations[`${prefix}manifest-position`];
    if (text === undefined) continue;
    const digestIn = (name: string): Digest | undefined => {
      const digest = annotations[prefix + name];
      if (digest === undefined || isDigest(digest)) return digest;
      throw new UnusableIndex(`the annotation ${prefix}${name} is no digest`);
    };
    const tarSplit = annotations[`${prefix}tarsplit-position`];
    return {
      position: {
        ...parsePosition(text, `:${TOC_TYPE}`),
        tarSplit: tarSplit === undefined ? undefined : parsePosition(tarSplit, ''),
      },
      checksum: digestIn('manifest-checksum'),
      tarSplitChecksum: digestIn('tarsplit-checksum'),
    };
  }
  return undefined;
}

/** `offset:stored length:length`, and what follows it. */
function parsePosition(text: string, end: string): StoredPart {
  const match = /^(\d{1,16}):(\d{1,16}):(\d{1,16})(.*)$/s.exec(text);
  const [offset = 0, storedLength = 0, length = 0] = match?.slice(1, 4).map(Number) ?? [];
  if (match === null || match[4] !== end) {
    throw new UnusableIndex(`the position of its TOC or tar-split is ${JSON.stringify(text.slice(0, 80))}`);
  }
  return { offset, storedLength, length };
}

/** The longest footer with the header of its frame. */
export const MAX_FRAMED_FOOTER_BYTES = 8 + 64;
/** Of the skippable frame that holds a footer. */
const FRAME_MAGIC = Buffer.from('502a4d18', 'hex');
const FOOTERS = [
  { length: 64, magicAt: 56, magic: 'GNUlInUx' },
  { length: 56, magicAt: 32, magic: 'GnUlInUx' },
  { length: 40, magicAt: 32, magic: 'GnUlInUx' },
] as const;

/** By the last bytes of a blob. undefined where none of the footers is there. */
export function positionInFooter(tail: Buffer): TocPosition | undefined {
  for (const { length, magicAt, magic } of FOOTERS) {
    const start = tail.length - length;
    if (start < 8 || tail.toString('latin1', start + magicAt, start + magicAt + 8) !== magic) continue;
    if (!tail.subarray(start - 8, start - 4).equals(FRAME_MAGIC) || tail.readUInt32LE(start - 4) !== length)
      continue;
    const partAt = (at: number): StoredPart => {
      const [offset = 0, storedLength = 0, plainLength = 0] = [0, 8, 16].map((field) =>
        Number(tail.readBigUInt64LE(start + at + field)),
      );
      return { offset, storedLength, length: plainLength };
    };
    if (Number(tail.readBigUInt64LE(start + 24)) !== TOC_TYPE) continue;
    const tarSplit = length === 64 ? partAt(32) : undefined;
    return { ...partAt(0), tarSplit: tarSplit?.storedLength === 0 ? undefined : tarSplit };
  }
  return undefined;
}
