/** What the tests of the addon share: blobs made by real programs, one pass over them, spans read back. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { isPeelError, type PeelError } from '../../src/errors.ts';
import {
  type Compression,
  createLayerScanner,
  createSpanDecoder,
  type LayerScanner,
  type LayerScannerOptions,
  type ScanResult,
  type TarFrame,
} from '../../src/native.ts';
import { sha256Digest, sha256Hex } from '../support/digests.ts';

const MiB = 1024 ** 2;
const repository = path.resolve(import.meta.dirname, '..', '..');

/** Runs a program to its end within a deadline and gives its output. */
export function run(command: string, args: readonly string[], input?: Uint8Array): Buffer {
  const child = spawnSync(command, args, {
    ...(input === undefined ? {} : { input }),
    timeout: 60_000,
    maxBuffer: 256 * MiB,
  });
  if (child.status !== 0) {
    throw new Error(`${command} ${args.join(' ')}: ${child.error?.message ?? String(child.stderr)}`);
  }
  return child.stdout;
}

export function isInstalled(command: string): boolean {
  return spawnSync('which', [command], { timeout: 10_000 }).status === 0;
}

/**
 * A tar by GNU tar of several MB: JavaScript sources, type declarations and some machine code, as layers have
 * them; text that compresses well and bytes that do not.
 */
export function realTar(folder: string): Buffer {
  const binary = path.join(folder, 'program');
  writeFileSync(binary, readFileSync(process.execPath).subarray(0, 3 * MiB));
  const file = path.join(folder, 'layer.tar');
  run('tar', [
    '--format=gnu',
    '-cf',
    file,
    '-C',
    path.join(repository, 'node_modules'),
    'undici',
    '@types/node',
    '-C',
    folder,
    'program',
  ]);
  return readFileSync(file);
}

interface Scan {
  readonly frames: TarFrame[];
  readonly result: ScanResult;
}

/** Writes, and takes all batches. */
export async function writeAll(scanner: LayerScanner, chunk: Uint8Array): Promise<TarFrame[]> {
  const frames: TarFrame[] = [];
  for await (const batch of scanner.write(chunk)) frames.push(...batch.frames);
  return frames;
}

/** One pass in pieces of `pieceSize` bytes. */
export async function scan(
  blob: Uint8Array,
  options: LayerScannerOptions & { pieceSize?: number } = {},
): Promise<Scan> {
  const scanner = createLayerScanner(options);
  try {
    const frames: TarFrame[] = [];
    const pieceSize = options.pieceSize ?? 64 * 1024;
    for (let at = 0; at < blob.length; at += pieceSize) {
      for (const frame of await writeAll(scanner, blob.subarray(at, at + pieceSize))) frames.push(frame);
    }
    const last = await scanner.end();
    return { frames: [...frames, ...last.frames], result: last.result };
  } finally {
    scanner.close();
  }
}

/** The PeelError that the pass ends in; fails where it succeeds or throws something else. */
export async function scanError(blob: Uint8Array, options: LayerScannerOptions = {}): Promise<PeelError> {
  try {
    await scan(blob, options);
  } catch (error) {
    if (isPeelError(error)) return error;
    throw error;
  }
  throw new Error('the scan succeeded, an error was expected');
}

/** Up to `length` bytes of output from a checkpoint, fed with `input` in pieces. */
export async function decodeFrom(
  result: ScanResult,
  checkpoint: number,
  input: Uint8Array,
  length: number,
  pieceSize = 64 * 1024,
): Promise<Buffer> {
  const windowOffset = result.checkpoints.windowOffset[checkpoint] ?? 0;
  const windowLength = result.checkpoints.windowLength[checkpoint] ?? 0;
  const decoder = createSpanDecoder({
    compression: result.compression,
    bits: result.checkpoints.bits[checkpoint] ?? 0,
    window: result.windows.subarray(windowOffset, windowOffset + windowLength),
  });
  try {
    const parts: Buffer[] = [];
    let produced = 0;
    let at = 0;
    while (produced < length) {
      const piece = input.subarray(at, at + pieceSize);
      at += piece.length;
      const part = await decoder.write(piece, Math.min(length - produced, 2 * MiB));
      if (part.length === 0 && piece.length === 0) break;
      parts.push(part);
      produced += part.length;
    }
    return Buffer.concat(parts);
  } finally {
    decoder.close();
  }
}

/**
 * Every way in which the index of `blob` does not lead back to `tar`; empty when all is well. Spans must cover
 * the tar without gaps; each is decoded from its checkpoint with no compressed byte beyond its `compressedEnd`;
 * each checkpoint is also resumed on its own and read to the next one.
 */
export async function indexFaults(blob: Buffer, tar: Buffer, result: ScanResult): Promise<string[]> {
  const faults: string[] = [];
  if (result.digest !== sha256Digest(blob)) faults.push('digest');
  if (result.diffID !== sha256Digest(tar)) faults.push('diffID');
  if (result.compressedSize !== blob.length) faults.push('compressedSize');
  if (result.uncompressedSize !== tar.length) faults.push('uncompressedSize');

  const { spans, checkpoints } = result;
  let covered = 0;
  for (const [i, start] of spans.start.entries()) {
    const end = spans.end[i] ?? 0;
    const checkpoint = spans.checkpoint[i] ?? 0;
    const from = checkpoints.uncompressedOffset[checkpoint] ?? Number.NaN;
    if (start !== covered || end <= start || !(from <= start))
      faults.push(`span ${i}: ${start} to ${end} from ${from}`);
    covered = end;
    const sha256 = spans.sha256.subarray(32 * i, 32 * i + 32).toString('hex');
    if (sha256 !== sha256Hex(tar.subarray(start, end))) faults.push(`span ${i}: sha256`);
    // A checkpoint far back (one zstd frame) is read through once, below.
    if (end - from > 4 * MiB) continue;
    const input = blob.subarray(checkpoints.compressedOffset[checkpoint], spans.compressedEnd[i]);
    const output = await decodeFrom(result, checkpoint, input, end - from);
    if (!output.equals(tar.subarray(from, end))) faults.push(`span ${i}: bytes`);
  }
  if (covered !== tar.length) faults.push(`spans end at ${covered}`);

  for (const [i, from] of checkpoints.uncompressedOffset.entries()) {
    const until = checkpoints.uncompressedOffset[i + 1] ?? tar.length;
    if (!(until > from) && tar.length > 0 && i + 1 < checkpoints.bits.length)
      faults.push(`checkpoint ${i} does not rise`);
    const input = blob.subarray(checkpoints.compressedOffset[i]);
    const output = await decodeFrom(result, i, input, until - from, 10_007);
    if (!output.equals(tar.subarray(from, until))) faults.push(`checkpoint ${i}: bytes`);
  }
  return faults;
}

export function expectedCompression(blob: Uint8Array): Compression {
  if (blob[0] === 0x1f && blob[1] === 0x8b) return 'gzip';
  return blob[0] === 0x28 && blob[1] === 0xb5 ? 'zstd' : 'none';
}

interface GzipHeaderFields {
  readonly extra?: Buffer;
  readonly name?: string;
  readonly comment?: string;
}

/** Rewrites the header of a plain `gzip -n` member, RFC 1952. */
export function withHeader(
  member: Buffer,
  fields: GzipHeaderFields,
  crc16?: (header: Buffer) => number,
): Buffer {
  const parts: Buffer[] = [];
  let flags = 0;
  if (fields.extra !== undefined) {
    flags |= 4;
    const length = Buffer.alloc(2);
    length.writeUInt16LE(fields.extra.length);
    parts.push(length, fields.extra);
  }
  if (fields.name !== undefined) {
    flags |= 8;
    parts.push(Buffer.from(`${fields.name}\0`, 'latin1'));
  }
  if (fields.comment !== undefined) {
    flags |= 16;
    parts.push(Buffer.from(`${fields.comment}\0`, 'latin1'));
  }
  if (crc16 !== undefined) flags |= 2;
  const fixed = Buffer.from(member.subarray(0, 10));
  fixed[3] = flags;
  const header = Buffer.concat([fixed, ...parts]);
  const checksum = Buffer.alloc(crc16 === undefined ? 0 : 2);
  if (crc16 !== undefined) checksum.writeUInt16LE(crc16(header));
  const blob = Buffer.concat([header, checksum, member.subarray(10)]);
  // zlib's own reader agrees that this is a gzip file.
  gunzipSync(blob);
  return blob;
}
