/**
 * Names for numbers and strings that must not be mixed up. They cost nothing at run time: a branded value
 * is the plain number or string.
 */

declare const unit: unique symbol;
type Unit<Base, Name extends string> = Base & { readonly [unit]: Name };

/** A byte position in the blob as the registry serves it: what a Range header counts. */
export type CompressedOffset = Unit<number, 'CompressedOffset'>;
/** A byte position in the layer's tar stream, after decompression. */
export type UncompressedOffset = Unit<number, 'UncompressedOffset'>;

/**
 * Bytes kept in a string, one character (U+0000 to U+00FF) a byte, as Node's `latin1` decodes them.
 * File names are bytes: they are compared, sorted and stored so, and only shown as text.
 */
export type ByteString = Unit<string, 'ByteString'>;

/** `algorithm:hex`, checked against the grammar of its algorithm (`src/reference/digest.ts` makes them). */
export type Digest = Unit<string, 'Digest'>;

/** sha256 and sha512: what a stored form or a folder name may hold. `src/reference/digest.ts` says what is wrong. */
export function isDigest(text: string): text is Digest {
  return /^sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})$/.test(text);
}

/** A half-open range `[start, end)`. */
export interface Range<Offset extends number> {
  readonly start: Offset;
  readonly end: Offset;
}
export type CompressedRange = Range<CompressedOffset>;
export type UncompressedRange = Range<UncompressedOffset>;

export function compressed(offset: number): CompressedOffset {
  return offset as CompressedOffset;
}

export function uncompressed(offset: number): UncompressedOffset {
  return offset as UncompressedOffset;
}

/** The bytes of `text` in UTF-8. */
export function bytesOfText(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1') as ByteString;
}

export function bytesOfBuffer(buffer: Uint8Array): ByteString {
  return Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength).toString('latin1') as ByteString;
}

export function bufferOfBytes(bytes: ByteString): Buffer {
  return Buffer.from(bytes, 'latin1');
}

/** The text of bytes that are valid UTF-8, or undefined. */
export function textOfBytes(bytes: ByteString): string | undefined {
  const buffer = bufferOfBytes(bytes);
  const text = buffer.toString('utf8');
  return Buffer.from(text, 'utf8').equals(buffer) ? text : undefined;
}
