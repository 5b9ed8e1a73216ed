/**
 * What the addon does with layers: the pass over one, and decompression from a checkpoint. Validates what goes in, types
 * what comes out. See native/README.md for threads and ownership.
 */
import { addonPart, settled, validateBytes, validateInteger } from './native/addon.ts';
import type { Digest } from './units.ts';

export type Compression = 'none' | 'gzip' | 'zstd' | 'xz' | 'bzip2';

/** One tar member as the native framer found it; what its header means is decoded in `src/layer/`. */
export interface TarFrame {
  /** Of the member's own 512-byte header, in the tar. */
  readonly headerOffset: number;
  /** First byte after the header and its extension blocks (and after a PAX 1.0 sparse map). */
  readonly dataOffset: number;
  /** Bytes of payload stored from `dataOffset` on, without padding. */
  readonly storedSize: number;
  /** The 512-byte header; zeros in a last frame that holds the extended headers which no member follows. */
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

/** What a part of a pass has brought. */
export interface ScanBatch {
  /** Members whose headers are complete now. */
  readonly frames: readonly TarFrame[];
  /** The bytes of the tar that were made meanwhile, and where they begin; undefined unless `keepTar` asked for them. */
  readonly tar: { readonly start: number; readonly bytes: Buffer } | undefined;
}

/** One streaming pass over a layer blob, in native threads. One `write` at a time. */
export interface LayerScanner {
  /**
   * Takes the next bytes of the blob (copied); gives what they bring in batches of at most a few MiB: a few KiB
   * of a hostile blob can hold a million headers. What the caller does not take is done by the next write, or by
   * `end`.
   */
  write(chunk: Uint8Array): AsyncGenerator<ScanBatch, void, undefined>;
  /** Whether batches have the tar's bytes, from the next one that is begun on. Default: they do not. */
  keepTar(isWanted: boolean): void;
  /** The blob is complete. @throws PeelError ERR_LAYER_INVALID where it is truncated or broken. */
  end(): Promise<{ frames: TarFrame[]; result: ScanResult }>;
  /**
   * In place of `write` and `end` once the layer was found broken: the digest of the whole blob, what was written
   * before and `rest`, which tells a broken layer from bytes that are not the layer.
   */
  digestWith(rest: AsyncIterable<Uint8Array>): Promise<Digest>;
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
  /** Frees everything; a pending promise rejects. Safe to call at any time, also twice. */
  close(): void;
}

const DIGEST_ALGORITHMS = ['sha256', 'sha512'] as const;
export type DigestAlgorithm = (typeof DIGEST_ALGORITHMS)[number];

export interface LayerScannerOptions {
  /** Of the blob; default sha256. diffID and spans always have sha256. */
  readonly digestAlgorithm?: DigestAlgorithm;
  /** Uncompressed bytes between checkpoints, 64 KiB to 1 GiB; design/GZIP says why 256 KiB. */
  readonly spanSize?: number;
  readonly limits?: {
    /** Payload of one extended header (`x`, `g`, `L`, `K`); four times this for all of one member. */
    readonly extendedHeaderBytes?: number;
    /** Pieces of one sparse file. */
    readonly sparseRegions?: number;
    /** Members of one layer. */
    readonly entries?: number;
  };
}

export interface SpanDecoderOptions {
  readonly compression: Compression;
  /** gzip: begins at the header of a member, not at its data; no bits and no window then. Default false. */
  readonly atHeader?: boolean;
  /** Of the checkpoint. */
  readonly bits?: number;
  /** Of the checkpoint, packed as `ScanResult.windows` has it; absent or empty for none. */
  readonly window?: Uint8Array;
}

const DEFAULT_SPAN_SIZE = 256 * 1024;
const SMALLEST_SPAN_SIZE = 64 * 1024;
const LARGEST_SPAN_SIZE = 1024 ** 3;
// FAULTS section 7.
const EXTENDED_HEADER_BYTES = 1024 ** 2;
const SPARSE_REGIONS = 65_536;
const ENTRIES = 5_000_000;
const SPAN_OUTPUT_BYTES = 8 * 1024 ** 2;
/** A window is at most 32 KiB; packed it hardly grows. */
const PACKED_WINDOW_BYTES = 64 * 1024;

const COMPRESSIONS = ['none', 'gzip', 'zstd', 'xz', 'bzip2'] as const satisfies readonly Compression[];

declare const native: unique symbol;
type NativeHandle<Name extends string> = object & { readonly [native]: Name };

/** Members as the addon gives them: four numbers a frame, two a part; all headers and parts back to back. */
export interface NativeFrames {
  readonly table: Float64Array;
  readonly bytes: Buffer;
}

interface NativeBatch extends NativeFrames {
  readonly more: boolean;
  readonly tarStart?: number;
  readonly tar?: Buffer;
  readonly result?: NativeResult;
}

interface NativeResult {
  readonly compression: number;
  readonly digest: Buffer;
  readonly diffID: Buffer;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  readonly trailingGarbage: number;
  readonly checkpointCompressed: Float64Array;
  readonly checkpointUncompressed: Float64Array;
  readonly checkpointBits: Float64Array;
  readonly windowOffset: Float64Array;
  readonly windowLength: Float64Array;
  readonly spanStart: Float64Array;
  readonly spanEnd: Float64Array;
  readonly spanCheckpoint: Float64Array;
  readonly spanCompressedEnd: Float64Array;
  readonly spanSha256: Buffer;
  readonly windows: Buffer;
}

/** What native/addon.cc exports of this. */
interface Addon {
  createScanner(
    spanSize: number,
    partSize: number,
    sparseRegions: number,
    entries: number,
    digestAlgorithm: number,
  ): NativeHandle<'scanner'>;
  keepTar(scanner: NativeHandle<'scanner'>, keep: boolean): void;
  writeScanner(scanner: NativeHandle<'scanner'>, bytes: Uint8Array, last: boolean): Promise<NativeBatch>;
  /** The digest of the blob after its last bytes, nothing before. */
  hashScanner(scanner: NativeHandle<'scanner'>, bytes: Uint8Array, last: boolean): Promise<Buffer>;
  closeScanner(scanner: NativeHandle<'scanner'>): void;
  createDecoder(
    compression: number,
    atHeader: number,
    bits: number,
    window: Uint8Array,
  ): NativeHandle<'decoder'>;
  runDecoder(decoder: NativeHandle<'decoder'>, bytes: Uint8Array, maxOutput: number): Promise<Buffer>;
  closeDecoder(decoder: NativeHandle<'decoder'>): void;
  sha256(bytes: Uint8Array): Promise<Buffer>;
}

const EMPTY = new Uint8Array(0);

function addon(): Addon {
  return addonPart() as Addon;
}

/** A new pass over one blob. @throws RangeError for options out of range. */
export function createLayerScanner(options: LayerScannerOptions = {}): LayerScanner {
  const spanSize = options.spanSize ?? DEFAULT_SPAN_SIZE;
  validateInteger('spanSize', spanSize, SMALLEST_SPAN_SIZE, LARGEST_SPAN_SIZE);
  const partSize = options.limits?.extendedHeaderBytes ?? EXTENDED_HEADER_BYTES;
  validateInteger('limits.extendedHeaderBytes', partSize, 512, 1024 ** 3);
  const sparseRegions = options.limits?.sparseRegions ?? SPARSE_REGIONS;
  validateInteger('limits.sparseRegions', sparseRegions, 1, 2 ** 31);
  const entries = options.limits?.entries ?? ENTRIES;
  validateInteger('limits.entries', entries, 1, 2 ** 31);

  const binding = addon();
  const algorithm = options.digestAlgorithm ?? 'sha256';
  const handle = binding.createScanner(
    spanSize,
    partSize,
    sparseRegions,
    entries,
    DIGEST_ALGORITHMS.indexOf(algorithm),
  );

  async function* run(chunk: Uint8Array, last: boolean): AsyncGenerator<NativeBatch, void, undefined> {
    let bytes = chunk;
    for (;;) {
      const input = bytes;
      const batch = await settled('layer', () => binding.writeScanner(handle, input, last));
      yield batch;
      if (!batch.more) return;
      bytes = EMPTY;
    }
  }

  return {
    async *write(chunk) {
      validateBytes('chunk', chunk);
      for await (const batch of run(chunk, false)) yield batchOf(batch);
    },
    keepTar(isWanted) {
      binding.keepTar(handle, isWanted);
    },
    async end() {
      const frames: TarFrame[] = [];
      let result: ScanResult | undefined;
      for await (const batch of run(EMPTY, true)) {
        appendFrames(frames, batch);
        if (batch.result !== undefined) result = resultOf(batch.result, algorithm);
      }
      if (result === undefined) throw new TypeError('the native scanner ended without a result');
      return { frames, result };
    },
    async digestWith(rest) {
      const hash = (bytes: Uint8Array, last: boolean): Promise<Buffer> =>
        settled('layer', () => binding.hashScanner(handle, bytes, last));
      for await (const chunk of rest) await hash(chunk, false);
      return digestOf(algorithm, await hash(EMPTY, true));
    },
    close() {
      binding.closeScanner(handle);
    },
  };
}

/** A decoder that begins at a checkpoint. @throws RangeError for options out of range. */
export function createSpanDecoder(options: SpanDecoderOptions): SpanDecoder {
  const compression = COMPRESSIONS.indexOf(options.compression);
  if (compression < 0) throw new RangeError(`compression: got ${options.compression}`);
  const bits = options.bits ?? 0;
  validateInteger('bits', bits, 0, 7);
  const window = options.window ?? EMPTY;
  validateBytes('window', window);
  validateInteger('window.length', window.length, 0, PACKED_WINDOW_BYTES);

  const binding = addon();
  const atHeader = options.atHeader === true ? 1 : 0;
  const handle = binding.createDecoder(compression, atHeader, bits, window);
  return {
    async write(chunk, maxOutput) {
      validateBytes('chunk', chunk);
      validateInteger('maxOutput', maxOutput, 1, SPAN_OUTPUT_BYTES);
      return await settled('span', () => binding.runDecoder(handle, chunk, maxOutput));
    },
    close() {
      binding.closeDecoder(handle);
    },
  };
}

/** The sha256 of a copy of `data`, 32 bytes, computed on a thread of the pool. */
export async function sha256(data: Uint8Array): Promise<Buffer> {
  validateBytes('data', data);
  return await settled('sha256', () => addon().sha256(data));
}

function batchOf(batch: NativeBatch): ScanBatch {
  const frames: TarFrame[] = [];
  appendFrames(frames, batch);
  const { tar, tarStart } = batch;
  return { frames, tar: tar === undefined ? undefined : { start: tarStart ?? 0, bytes: tar } };
}

/** Header and parts are views into the batch's one buffer. */
export function appendFrames(frames: TarFrame[], { table, bytes }: NativeFrames): void {
  let column = 0;
  let position = 0;
  const number = (): number => table[column++] ?? 0;
  const slice = (length: number): Buffer => bytes.subarray(position, (position += length));
  while (column < table.length) {
    const headerOffset = number();
    const dataOffset = number();
    const storedSize = number();
    const partCount = number();
    const header = slice(512);
    const parts: TarFrame['parts'][number][] = [];
    for (let i = 0; i < partCount; i++) {
      const kind = String.fromCharCode(number()) as TarFrame['parts'][number]['kind'];
      parts.push({ kind, data: slice(number()) });
    }
    frames.push({ headerOffset, dataOffset, storedSize, header, parts });
  }
}

function digestOf(algorithm: DigestAlgorithm, bytes: Buffer): Digest {
  return `${algorithm}:${bytes.toString('hex')}` as Digest;
}

function resultOf(scan: NativeResult, algorithm: DigestAlgorithm): ScanResult {
  return {
    compression: COMPRESSIONS[scan.compression] ?? 'none',
    digest: digestOf(algorithm, scan.digest),
    diffID: digestOf('sha256', scan.diffID),
    compressedSize: scan.compressedSize,
    uncompressedSize: scan.uncompressedSize,
    trailingGarbage: scan.trailingGarbage,
    checkpoints: {
      compressedOffset: scan.checkpointCompressed,
      uncompressedOffset: scan.checkpointUncompressed,
      bits: Uint8Array.from(scan.checkpointBits),
      windowOffset: scan.windowOffset,
      windowLength: Uint32Array.from(scan.windowLength),
    },
    spans: {
      start: scan.spanStart,
      end: scan.spanEnd,
      checkpoint: Uint32Array.from(scan.spanCheckpoint),
      compressedEnd: scan.spanCompressedEnd,
      sha256: scan.spanSha256,
    },
    windows: scan.windows,
  };
}
