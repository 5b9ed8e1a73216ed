/**
 * The members of a tar of which only what is no content of a file is at hand: headers, extended headers, padding. The
 * same frames as the native framer makes of a whole tar, so that `header.ts` says what they mean.
 *
 *   segment  [x hdr][records][hdr]                 [pad][hdr]           [zero][zero]
 *   payload                        ...... passed ......      ... passed
 *
 * Sparse files, whose maps and payloads are not told apart here, are refused.
 */
import type { TarFrame } from '../../native.ts';
import { numericField } from '../numbers.ts';
import { parsePax, paxText } from '../pax.ts';
import { UnusableIndex } from '../unusable-index.ts';

const BLOCK = 512;
/** As the native framer: payload of one extended header, and of all before one member. */
const MAX_PART_BYTES = 1024 * 1024;
const MAX_PARTS_BYTES = 4 * MAX_PART_BYTES;
/** Type flags of members that have no payload, whatever their size says. */
const HEADER_ONLY = '123456';

type Part = TarFrame['parts'][number];

export class HeaderFrames {
  /** In the tar. */
  #offset = 0;
  #parts: Part[] = [];
  #partsBytes = 0;
  /** What is being collected: a header, or the payload of an extended one. */
  #kind: Part['kind'] | 'header' = 'header';
  #block: Buffer = Buffer.alloc(BLOCK);
  #filled = 0;
  /** Bytes that are passed over next. */
  #padding = 0;
  /** Of the member's content, which comes as `payload`. */
  #payload = 0;
  /** The end marker is two blocks of zeros. */
  #isAfterZero = false;
  #isEnded = false;

  /** The next bytes of the tar. @throws UnusableIndex; PeelError where an extended header is malformed. */
  *segment(bytes: Buffer): Generator<TarFrame, void, undefined> {
    for (let at = 0; at < bytes.length && !this.#isEnded; ) {
      if (this.#payload > 0) throw this.#unusable(`the content of a file is missing`);
      const wanted = this.#padding > 0 ? this.#padding : this.#block.length - this.#filled;
      const piece = bytes.subarray(at, at + wanted);
      at += piece.length;
      this.#offset += piece.length;
      if (this.#padding > 0) {
        this.#padding -= piece.length;
        continue;
      }
      piece.copy(this.#block, this.#filled);
      this.#filled += piece.length;
      if (this.#filled < this.#block.length) continue;
      const frame = this.#kind === 'header' ? this.#readHeader(this.#block) : this.#readPart(this.#kind);
      if (frame !== undefined) yield frame;
    }
  }

  /** The next bytes of the tar are the content of a file. @throws UnusableIndex where that is not due. */
  payload(length: number): void {
    if (length === 0) return;
    if (length !== this.#payload) {
      throw this.#unusable(`${length} bytes of a file, where ${this.#payload} are due`);
    }
    this.#offset += length;
    this.#padding = paddingOf(length);
    this.#payload = 0;
  }

  /** The tar ends here. @throws UnusableIndex where it cannot. */
  end(): void {
    if (this.#payload > 0 || this.#filled > 0) throw this.#unusable('it ends early');
  }

  #readHeader(header: Buffer): TarFrame | undefined {
    if (header.every((byte) => byte === 0)) {
      this.#isEnded = this.#isAfterZero;
      this.#isAfterZero = true;
      this.#filled = 0;
      return undefined;
    }
    if (this.#isAfterZero) throw this.#unusable('one zero block is followed by data');
    if (!hasChecksum(header)) throw this.#unusable('a header with a wrong checksum');
    const flag = String.fromCharCode(header[156] ?? 0);
    const size = numericField(header, 124, 12);
    if (size === undefined || size < 0) throw this.#unusable('a size that is none');
    if (flag === 'x' || flag === 'g' || flag === 'L' || flag === 'K') {
      this.#partsBytes += size + BLOCK;
      if (size > MAX_PART_BYTES || this.#partsBytes > MAX_PARTS_BYTES) {
        throw this.#unusable(`an extended header of ${size} bytes`);
      }
      this.#collect(flag, size);
      return size === 0 ? this.#readPart(flag) : undefined;
    }
    if (flag === 'S') throw this.#unusable('a sparse file');
    const parts = this.#parts;
    const storedSize = HEADER_ONLY.includes(flag) ? 0 : (sizeIn(parts, this.#offset) ?? size);
    if (!Number.isSafeInteger(this.#offset + storedSize)) throw this.#unusable('a size that is none');
    this.#payload = storedSize;
    this.#parts = [];
    this.#partsBytes = 0;
    this.#collect('header', BLOCK);
    return { headerOffset: this.#offset - BLOCK, dataOffset: this.#offset, storedSize, header, parts };
  }

  #readPart(kind: Part['kind']): undefined {
    this.#parts.push({ kind, data: this.#block });
    this.#padding = paddingOf(this.#block.length);
    this.#collect('header', BLOCK);
    return undefined;
  }

  #collect(kind: Part['kind'] | 'header', length: number): void {
    this.#kind = kind;
    // From the pool: filled as a whole before it is looked at.
    this.#block = Buffer.allocUnsafe(length);
    this.#filled = 0;
  }

  #unusable(why: string): UnusableIndex {
    return new UnusableIndex(`its tar-split does not make a tar: ${why} (at byte ${this.#offset} of that)`);
  }
}

function paddingOf(length: number): number {
  return (BLOCK - (length % BLOCK)) % BLOCK;
}

/** The sum of a header's bytes, its own field counted as spaces; old programs took bytes as signed. */
function hasChecksum(header: Buffer): boolean {
  const stored = numericField(header, 148, 8);
  let unsigned = 8 * 0x20;
  let signed = unsigned;
  // By index: an iterator takes as long as all the rest.
  for (let at = 0; at < BLOCK; at += 1) {
    if (at >= 148 && at < 156) continue;
    const byte = header[at] ?? 0;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  return stored === unsigned || stored === signed;
}

/** Of the last PAX header: it stands over the one in the header (E79). */
function sizeIn(parts: readonly Part[], at: number): number | undefined {
  const pax = parts.findLast(({ kind }) => kind === 'x');
  const text = pax === undefined ? undefined : paxText(parsePax(pax.data, at), 'size');
  return text === undefined ? undefined : Number(text);
}
