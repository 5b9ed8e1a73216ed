/** Damaged and hostile input: an error or a result, never a crash, a hang or a wrong byte (B1, B2, X2). */
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { createLayerScanner, createSpanDecoder } from '../../src/native.ts';
import { sha256Digest, sha256Hex } from '../support/digests.ts';
import { decodeFrom, isInstalled, run, scan } from './support.ts';

const SEED = 20_261_121;
let tar: Buffer;

beforeAll(() => {
  const repository = path.join(import.meta.dirname, '..', '..');
  // PAX with xattr-like records, long names, a sparse file's neighbours: what the framer has to look into.
  tar = run('tar', [
    '--format=pax',
    '--pax-option=comment:=hostile',
    '-cf',
    '-',
    '-C',
    repository,
    'package.json',
    'tsconfig.json',
    'biome.json',
    'src/layer',
  ]);
});

/** What becomes of a blob: the diffID, or the code of the PeelError. Anything else fails the test. */
async function outcomeOf(blob: Buffer): Promise<string> {
  try {
    return (await scan(blob)).result.diffID;
  } catch (error) {
    if (isPeelError(error)) return error.code;
    throw error;
  }
}

const flips = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 7 })), { minLength: 1, maxLength: 4 });

function damaged(blob: Buffer, bits: readonly (readonly [number, number])[]): Buffer {
  const copy = Buffer.from(blob);
  for (const [at, bit] of bits) {
    const index = at % copy.length;
    copy[index] = (copy[index] ?? 0) ^ (1 << bit);
  }
  return copy;
}

describe('flipped bits', () => {
  test('in a gzip blob are found by inflate or by the CRC-32, or do not change the tar', async () => {
    const blob = gzipSync(tar);
    const good = sha256Digest(tar);
    await fc.assert(
      fc.asyncProperty(flips, async (bits) => {
        const copy = damaged(blob, bits);
        const outcome = await outcomeOf(copy);
        // The first two bytes damaged: no gzip any more, and no tar either.
        if (outcome.startsWith('sha256:')) {
          expect(outcome).toBe(good);
          expect(gunzipSync(copy).equals(tar)).toBe(true);
        } else {
          expect(['ERR_LAYER_INVALID', 'ERR_LIMIT_EXCEEDED']).toContain(outcome);
        }
      }),
      { numRuns: 1500, seed: SEED },
    );
  });

  test.skipIf(!isInstalled('zstd'))('in a zstd blob give an error or the same tar', async () => {
    const blob = run('zstd', ['-c', '--check'], tar);
    const good = sha256Digest(tar);
    await fc.assert(
      fc.asyncProperty(flips, async (bits) => {
        const outcome = await outcomeOf(damaged(blob, bits));
        expect([good, 'ERR_LAYER_INVALID', 'ERR_LIMIT_EXCEEDED', 'ERR_UNSUPPORTED']).toContain(outcome);
      }),
      { numRuns: 700, seed: SEED },
    );
  });

  test('in a plain tar give an error or the digest of what was there', async () => {
    await fc.assert(
      fc.asyncProperty(flips, async (bits) => {
        const copy = damaged(tar, bits);
        const outcome = await outcomeOf(copy);
        expect([sha256Digest(copy), 'ERR_LAYER_INVALID', 'ERR_LIMIT_EXCEEDED']).toContain(outcome);
      }),
      { numRuns: 1500, seed: SEED },
    );
  });
});

describe('random bytes', () => {
  test('as a layer are refused, or read as an empty or tiny tar', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('', '1f8b0800000000000003', '28b52ffd', '502a4d18'),
        fc.uint8Array({ maxLength: 2000 }),
        async (magic, bytes) => {
          await outcomeOf(Buffer.concat([Buffer.from(magic, 'hex'), bytes]));
        },
      ),
      { numRuns: 500, seed: SEED },
    );
  });

  test('at a checkpoint give bytes or an error, with any bits and any window', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 3000 }),
        fc.integer({ min: 0, max: 7 }),
        fc.uint8Array({ maxLength: 200 }),
        async (input, bits, window) => {
          const decoder = createSpanDecoder({ compression: 'gzip', bits, window });
          try {
            const output = await decoder.write(input, 100_000);
            expect(output.length).toBeLessThanOrEqual(100_000);
          } catch (error) {
            expect(isPeelError(error)).toBe(true);
          } finally {
            decoder.close();
          }
        },
      ),
      { numRuns: 1500, seed: SEED },
    );
  });
});

describe('forged indexes', () => {
  // X2: a window is part of the chain of trust; that is why spans have a sha256 of their own bytes.
  test('a forged window changes the output of an unchanged blob, and the sha256 of the span finds it', async () => {
    const text = Buffer.concat(
      Array.from({ length: 9000 }, (_, i) => Buffer.from(`line ${i * 7919} PermitRootLogin=no\n`)),
    );
    const padding = Buffer.alloc((512 - (text.length % 512)) % 512);
    const header = Buffer.from(
      run('tar', ['-cf', '-', '-C', import.meta.dirname, 'support.ts']).subarray(0, 512),
    );
    header.write(`${text.length.toString(8).padStart(11, '0')}\0`, 124);
    header.fill(' ', 148, 156);
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    );
    const plain = Buffer.concat([header, text, padding, Buffer.alloc(1024)]);
    const blob = gzipSync(plain);
    const { result } = await scan(blob, { spanSize: 64 * 1024 });
    const checkpoint = result.checkpoints.windowLength.findIndex((length) => length > 0);
    expect(checkpoint).toBeGreaterThan(0);
    const span = result.spans.checkpoint.indexOf(checkpoint);
    const input = blob.subarray(
      result.checkpoints.compressedOffset[checkpoint],
      result.spans.compressedEnd[span],
    );
    const length = (result.spans.end[span] ?? 0) - (result.spans.start[span] ?? 0);
    const expected = result.spans.sha256.subarray(32 * span, 32 * span + 32).toString('hex');
    expect(sha256Hex(await decodeFrom(result, checkpoint, input, length))).toBe(expected);

    const empty = {
      ...result,
      windows: Buffer.alloc(0),
      checkpoints: { ...result.checkpoints, windowLength: new Uint32Array(result.checkpoints.bits.length) },
    };
    await expect(decodeFrom(empty, checkpoint, input, length)).rejects.toMatchObject({
      code: 'ERR_LAYER_INVALID',
    });
    // A whole window of other text: varint size, one run over everything.
    const forged = Buffer.concat([
      Buffer.from([0x80, 0x80, 0x02, 1, 0, 0x80, 0x80, 0x02]),
      Buffer.alloc(32_768, 'x'),
    ]);
    const lengths = Uint32Array.from(result.checkpoints.windowLength);
    const offsets = Float64Array.from(result.checkpoints.windowOffset);
    lengths[checkpoint] = forged.length;
    offsets[checkpoint] = 0;
    const bad = {
      ...result,
      windows: forged,
      checkpoints: { ...result.checkpoints, windowLength: lengths, windowOffset: offsets },
    };
    const output = await decodeFrom(bad, checkpoint, input, length);
    expect(output.length).toBe(length);
    expect(sha256Hex(output)).not.toBe(expected);
  });

  test('a damaged stored window is an error of the cache', async () => {
    for (const window of [
      Buffer.from([1, 2, 3]),
      Buffer.from([5]),
      Buffer.alloc(10, 0xff),
      // One run of three bytes in a window of two; of two, with one of them here.
      Buffer.from([2, 1, 0, 3, 1, 2, 3]),
      Buffer.from([2, 1, 0, 2, 1]),
    ]) {
      const decoder = createSpanDecoder({ compression: 'gzip', window });
      await expect(decoder.write(Buffer.alloc(10), 10)).rejects.toMatchObject({ code: 'ERR_CACHE' });
      decoder.close();
    }
  });
});

describe('headers by the million', () => {
  test.skipIf(!isInstalled('zstd'))('come in batches of bounded size', async () => {
    // 200,000 empty members in a few KiB of zstd.
    const header = run('tar', ['-cf', '-', '--no-recursion', '-C', import.meta.dirname, '.']).subarray(
      0,
      512,
    );
    const blob = run('zstd', ['-19', '-c'], Buffer.concat(Array.from({ length: 200_000 }, () => header)));
    expect(blob.length).toBeLessThan(64 * 1024);
    const scanner = createLayerScanner();
    let count = 0;
    let largest = 0;
    for await (const { frames } of scanner.write(blob)) {
      count += frames.length;
      largest = Math.max(largest, frames.length);
    }
    const { frames } = await scanner.end();
    expect(count + frames.length).toBe(200_000);
    expect(largest).toBeLessThan(20_000);
    scanner.close();
  });
});
