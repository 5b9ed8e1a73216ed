/**
 * Where the TOC of a zstd:chunked layer lies in its blob: by the annotations of the manifest or, where these are
 * missing, by the footer in the last skippable frame of the blob. All numbers of the footers are 64 bits,
 * little-endian:
 *
 *   40 bytes  offset, stored length, length, type, "GnUlInUx"                          2021 to 2023
 *   56 bytes  offset, stored length, length, type, "GnUlInUx", 16 bytes of zeros       summer of 2023
 *   64 bytes  offset, stored length, length, type, three of the tar-split, "GNUlInUx"  since then
 *
 * The annotations were called `io.containers.zstd-chunked.…` until November 2022, `io.github.containers.…` since.
 * Source: containers/storage pkg/chunked.
 */
import { type Digest, isDigest } from '../../units.ts';
import { UnusableIndex } from '../unusable-index.ts';

export interface TocPosition {
  /** Of the compressed TOC in the blob. */
  readonly offset: number;
  readonly storedLength: number;
  readonly length: number;
}

export interface ZstdChunkedClaim {
  readonly position: TocPosition;
  /** Of the TOC as stored; undefined where the manifest has none. */
  readonly checksum: Digest | undefined;
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
    const checksum = annotations[`${prefix}manifest-checksum`];
    if (checksum !== undefined && !isDigest(checksum)) {
      throw new UnusableIndex(`the annotation ${prefix}manifest-checksum is no digest`);
    }
    return { position: parsePosition(text), checksum };
  }
  return undefined;
}

/** `offset:stored length:length:type` */
function parsePosition(text: string): TocPosition {
  const match = /^(\d{1,16}):(\d{1,16}):(\d{1,16}):(\d{1,3})$/.exec(text);
  const [offset = 0, storedLength = 0, length = 0, type = 0] = match?.slice(1).map(Number) ?? [];
  if (match === null || type !== TOC_TYPE) {
    throw new UnusableIndex(`the position of its TOC is ${JSON.stringify(text.slice(0, 80))}`);
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
    const [offset, storedLength, plainLength, type] = [0, 8, 16, 24].map((at) =>
      Number(tail.readBigUInt64LE(start + at)),
    );
    if (offset === undefined || storedLength === undefined || plainLength === undefined || type !== TOC_TYPE)
      continue;
    return { offset, storedLength, length: plainLength };
  }
  return undefined;
}
