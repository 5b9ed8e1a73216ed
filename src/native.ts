/**
 * The only file that loads the addon (native/). Validates what goes in, types what comes out, and turns the
 * addon's statuses into PeelErrors. See native/README.md for threads and ownership.
 */
import type { Digest } from './units.ts';

export type Compression = 'none' | 'gzip' | 'zstd';

/** One tar member as the native framer found it; what its header means is decoded in `src/layer/`. */
export interface TarFrame {
  /** Of the member's own 512-byte header, in the tar. */
  readonly headerOffset: number;
  /** First byte after the header and its extension blocks (and after a PAX 1.0 sparse map). */
  readonly dataOffset: number;
  /** Bytes of payload stored from `dataOffset` on, without padding. */
  readonly storedSize: number;
  /** The 512-byte header. */
  readonly header: Buffer;
  /**
   * What came before or belongs to the header, in order: PAX records (`x`), global PAX records (`g`), GNU long
   * name (`L`) and long link (`K`), old GNU sparse extension blocks (`S`), PAX 1.0 sparse map (`M`). Payload
   * without padding.
   */
  readonly parts: readonly { readonly kind: 'x' | 'g' | 'L' | 'K' | 'S' | 'M'; readonly data: Buffer }[];
}

/** Offsets as plain numbers (all below 2^53); arrays run in parallel. */
export interface ScanResult {
  readonly compression: Compression;
  readonly digest: Digest;
  readonly diffID: Digest;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  /** Bytes after the last gzip member or zstd frame that are neither (0 for none). */
  readonly trailingGarbage: number;
  readonly checkpoints: {
    readonly compressedOffset: Float64Array;
    readonly uncompressedOffset: Float64Array;
    readonly bits: Uint8Array;
    /** Into `windows`. */
    readonly windowOffset: Float64Array;
    readonly windowLength: Uint32Array;
  };
  readonly spans: {
    readonly start: Float64Array;
    readonly end: Float64Array;
    readonly checkpoint: Uint32Array;
    readonly compressedEnd: Float64Array;
    /** 32 bytes a span, back to back. */
    readonly sha256: Buffer;
  };
  /** Packed sparse windows, back to back; each is opened by `SpanDecoder`. */
  readonly windows: Buffer;
}

/** One streaming pass over a layer blob, in native threads. One `write` at a time. */
export interface LayerScanner {
  /** Takes the next bytes of the blob (copied); resolves with the members whose headers are now complete. */
  write(chunk: Uint8Array): Promise<TarFrame[]>;
  /** The blob is complete. @throws PeelError ERR_LAYER_INVALID where it is truncated or broken. */
  end(): Promise<{ frames: TarFrame[]; result: ScanResult }>;
  /** Frees everything at once; a pending promise rejects. Safe to call at any time, also twice. */
  close(): void;
}

/** Decompresses forward from one checkpoint, across gzip members and zstd frames. One `write` at a time. */
export interface SpanDecoder {
  /**
   * Takes compressed bytes (the first call begins at the checkpoint's byte), resolves with at most
   * `maxOutput` decompressed bytes that they give; input that was not used up is kept for the next call,
   * which may pass an empty chunk.
   */
  write(chunk: Uint8Array, maxOutput: number): Promise<Buffer>;
  close(): void;
}
