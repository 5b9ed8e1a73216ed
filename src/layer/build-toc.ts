/**
 * One streaming pass over a layer blob: bytes in order to the native scanner, tar members back, whose headers are
 * decoded here. What comes out was proved: the blob is the one that its digest
 * names, and its tar the one that the diffID names (FAULTS class A).
 *
 * Memory: two pieces of the blob in flight, the entries, and about 4 % of the blob for windows.
 */
import { PeelError } from '../errors.ts';
import { createLayerScanner, type DigestAlgorithm, type ScanResult } from '../native.ts';
import { compressed, type Digest, uncompressed } from '../units.ts';
import { type BuildTocOptions, type ExpectedLayer, LayerInput, type Onlooker } from './layer-input.ts';
import type { Checkpoint, Span, Toc } from './toc.ts';
import { TocBuilder } from './toc-builder.ts';

const SHA256_BYTES = 32;

export interface BuiltToc {
  readonly toc: Toc;
  /** Packed sparse windows, back to back; the TOC's checkpoints point into it. */
  readonly windows: Buffer;
}

/**
 * Reads `blob` to its end, or to the first piece that passes `expected.size`.
 *
 * @throws PeelError ERR_DIGEST_MISMATCH where the bytes are not the ones that `expected` names, also where that
 * shows as broken compression first; ERR_LAYER_INVALID, ERR_LIMIT_EXCEEDED or ERR_UNSUPPORTED where they are,
 * and the layer itself is at fault (facts: layer, and offset where there is one). Errors of `blob` and
 * `signal` pass unchanged.
 */
export async function buildToc(
  blob: AsyncIterable<Uint8Array>,
  expected: ExpectedLayer,
  options: BuildTocOptions = {},
): Promise<BuiltToc> {
  const digestAlgorithm = verifiableAlgorithm(expected);
  const input = new LayerInput(blob, expected, options);
  try {
    return await scan(input, expected, digestAlgorithm, options.onlooker);
  } finally {
    input.close();
  }
}

/** @throws PeelError ERR_UNSUPPORTED for a digest or diffID that nobody can verify. */
function verifiableAlgorithm({ digest, diffID }: ExpectedLayer): DigestAlgorithm {
  const [algorithm = ''] = digest.split(':');
  if (algorithm !== 'sha256' && algorithm !== 'sha512') {
    throw new PeelError('ERR_UNSUPPORTED', `layer ${digest}: no way to verify a ${algorithm} digest`);
  }
  if (diffID !== undefined && !diffID.startsWith('sha256:')) {
    throw new PeelError('ERR_UNSUPPORTED', `layer ${digest}: its diffID is ${diffID}, want one by sha256`);
  }
  return algorithm;
}

async function scan(
  input: LayerInput,
  expected: ExpectedLayer,
  digestAlgorithm: DigestAlgorithm,
  onlooker: Onlooker | undefined,
): Promise<BuiltToc> {
  const builder = new TocBuilder();
  const scanner = createLayerScanner({ digestAlgorithm });
  try {
    let result: ScanResult | undefined;
    try {
      let coming = input.next();
      for (let piece = await coming; piece !== undefined; piece = await coming) {
        coming = input.next();
        // Whichever fails first is reported; the other one must not count as unhandled.
        coming.catch(() => undefined);
        scanner.keepTar(onlooker?.isLooking === true);
        for await (const { frames, tar } of scanner.write(piece)) {
          builder.add(frames);
          if (onlooker?.isLooking === true) await onlooker.passing({ entries: builder.entries, tar });
        }
      }
      input.checkSize();
      const last = await scanner.end();
      result = last.result;
      builder.add(last.frames);
    } catch (error) {
      const digest = result?.digest;
      throw await explain(error, async () => digest ?? (await scanner.digestWith(input.rest())), expected);
    }
    checkDigests(result, expected);
    return { toc: tocOf(result, builder, expected), windows: result.windows };
  } finally {
    scanner.close();
  }
}

/**
 * A failure of the scan means one of two things: the bytes are not the layer, or they are and the layer is
 * broken. The digest of the whole blob, for which `digestOfBlob` reads the rest of it, says which.
 */
async function explain(
  error: unknown,
  digestOfBlob: () => Promise<Digest>,
  expected: ExpectedLayer,
): Promise<unknown> {
  if (!(error instanceof PeelError) || !LAYER_FAULTS.has(error.code)) return error;
  try {
    const digest = await digestOfBlob();
    if (digest !== expected.digest) return digestMismatch('digest', digest, expected.digest, expected, error);
  } catch (failure) {
    return failure;
  }
  return new PeelError(error.code, `layer ${expected.digest}: ${error.message}`, {
    facts: { ...error.facts, layer: expected.digest },
    cause: error,
  });
}

const LAYER_FAULTS: ReadonlySet<string> = new Set([
  'ERR_LAYER_INVALID',
  'ERR_LIMIT_EXCEEDED',
  'ERR_UNSUPPORTED',
]);

function checkDigests(result: ScanResult, expected: ExpectedLayer): void {
  const { digest } = result;
  if (digest !== expected.digest) throw digestMismatch('digest', digest, expected.digest, expected);
  if (expected.diffID !== undefined && result.diffID !== expected.diffID) {
    throw digestMismatch('diffID', result.diffID, expected.diffID, expected);
  }
}

function digestMismatch(
  what: 'digest' | 'diffID',
  got: Digest,
  want: Digest,
  expected: ExpectedLayer,
  cause?: unknown,
): PeelError {
  return new PeelError(
    'ERR_DIGEST_MISMATCH',
    `layer ${expected.digest}: its bytes have the ${what} ${got}, want ${want}`,
    {
      facts: { layer: expected.digest, got, want },
      cause,
    },
  );
}

function tocOf(result: ScanResult, builder: TocBuilder, expected: ExpectedLayer): Toc {
  if (result.trailingGarbage > 0) {
    builder.warn(`${result.trailingGarbage} bytes after the end of the compressed data are ignored`);
  }
  return {
    digest: expected.digest,
    diffID: result.diffID,
    compression: result.compression,
    compressedSize: result.compressedSize,
    uncompressedSize: result.uncompressedSize,
    entries: builder.entries,
    checkpoints: checkpointsOf(result),
    spans: spansOf(result),
    warnings: builder.warnings,
  };
}

function checkpointsOf({ checkpoints }: ScanResult): Checkpoint[] {
  return Array.from(checkpoints.bits, (bits, index) => ({
    compressedOffset: compressed(checkpoints.compressedOffset[index] ?? 0),
    uncompressedOffset: uncompressed(checkpoints.uncompressedOffset[index] ?? 0),
    bits,
    windowOffset: checkpoints.windowOffset[index] ?? 0,
    windowLength: checkpoints.windowLength[index] ?? 0,
  }));
}

function spansOf({ spans }: ScanResult): Span[] {
  return Array.from(spans.checkpoint, (checkpoint, index) => ({
    start: uncompressed(spans.start[index] ?? 0),
    end: uncompressed(spans.end[index] ?? 0),
    checkpoint,
    compressedEnd: compressed(spans.compressedEnd[index] ?? 0),
    sha256: spans.sha256.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES),
  }));
}
