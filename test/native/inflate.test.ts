/**
 * Deflate as our decoder reads it, beside Node's zlib (B1, B2): the same bytes, and where data is broken the same
 * reason. What libFuzzer does for minutes (native/fuzz/inflater_fuzz.cc) is done here for a second.
 */
import { constants, deflateRawSync, inflateRawSync, type ZlibOptions } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createSpanDecoder } from '../../src/native.ts';

const SEED = 20_261_122;
const MOST = 1024 ** 2;

const text = Buffer.from('literals, lengths and distances; '.repeat(300).replaceAll('d', (_, at) => `${at}`));
/** Byte n stands as often as the n-th number of Fibonacci says: codes of 15 bits. */
const steep = Buffer.concat(
  Array.from({ length: 20 }, (_, symbol) => Buffer.alloc(Math.round(1.618 ** symbol), (symbol * 37) & 0xff)),
);
const noise = Buffer.from(Array.from({ length: 3000 }, (_, index) => (index * index * index * 31) >> 5));
const plain = Buffer.concat([
  text,
  noise,
  Buffer.alloc(5000),
  steep,
  Buffer.alloc(999, 'xyz'),
  text,
  noise,
  steep,
]);

const producers: Readonly<Record<string, ZlibOptions>> = {
  'level 9': { level: 9 },
  'level 1, small blocks': { level: 1, memLevel: 1 },
  'stored blocks': { level: 0 },
  'fixed codes': { strategy: constants.Z_FIXED },
  'Huffman only': { strategy: constants.Z_HUFFMAN_ONLY, memLevel: 1 },
  'run lengths': { strategy: constants.Z_RLE },
  'a window of 512 bytes': { windowBits: 9 },
};

interface Outcome {
  readonly bytes: Buffer;
  /** Of the deflate data, in zlib's words; empty for none. */
  readonly problem: string;
}

function byZlib(packed: Buffer): Outcome {
  try {
    const bytes = inflateRawSync(packed, {
      finishFlush: constants.Z_SYNC_FLUSH,
      maxOutputLength: MOST,
    });
    return { bytes, problem: '' };
  } catch (error) {
    return { bytes: Buffer.alloc(0), problem: (error as Error).message };
  }
}

async function byUs(packed: Buffer, pieceSize: number, mostOutput: number): Promise<Outcome> {
  const decoder = createSpanDecoder({ compression: 'gzip' });
  const parts: Buffer[] = [];
  try {
    for (let at = 0; at < packed.length || (parts.at(-1)?.length ?? 0) > 0; at += pieceSize) {
      parts.push(await decoder.write(packed.subarray(at, at + pieceSize), mostOutput));
    }
    return { bytes: Buffer.concat(parts), problem: '' };
  } catch (error) {
    const problem = /deflate data: (.*?) \(/.exec((error as Error).message)?.[1] ?? '';
    return { bytes: Buffer.concat(parts), problem };
  } finally {
    decoder.close();
  }
}

describe('deflate reads as zlib reads it', () => {
  for (const [name, options] of Object.entries(producers)) {
    test(name, async () => {
      const packed = deflateRawSync(plain, options);
      for (const [pieceSize, mostOutput] of [
        [packed.length, MOST],
        [1, MOST],
        [997, 331],
        [100, 1],
      ] as const) {
        const { bytes, problem } = await byUs(packed.subarray(0, 4000), pieceSize, mostOutput);
        expect(problem).toBe('');
        expect(bytes.equals(byZlib(packed.subarray(0, 4000)).bytes)).toBe(true);
      }
      expect((await byUs(packed, packed.length, MOST)).bytes.equals(plain)).toBe(true);
    });
  }

  test('flipped bits fail for the same reason, or give the same bytes', async () => {
    const blobs = Object.values(producers).map((options) => deflateRawSync(plain, options));
    const flips = fc.array(fc.tuple(fc.nat({ max: 200_000 }), fc.integer({ min: 0, max: 7 })), {
      minLength: 1,
      maxLength: 4,
    });
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...blobs), flips, fc.boolean(), async (blob, bits, early) => {
        const copy = Buffer.from(blob);
        // Where headers of blocks are, every bit counts.
        for (const [at, bit] of bits) {
          const index = at % (early ? 100 : copy.length);
          copy[index] = (copy[index] ?? 0) ^ (1 << bit);
        }
        const want = byZlib(copy);
        const got = await byUs(copy, 5003, MOST);
        expect(got.problem).toBe(want.problem);
        if (want.problem === '')
          expect(got.bytes.subarray(0, want.bytes.length).equals(want.bytes)).toBe(true);
        seen.add(want.problem);
      }),
      { numRuns: 1500, seed: SEED },
    );
    // Not the same failure every time.
    expect(seen.size).toBeGreaterThan(8);
  });

  const bits = (digits: string): Buffer => {
    const list = Array.from(digits.replaceAll(' ', ''), Number);
    const bytes = Buffer.alloc(Math.ceil(list.length / 8));
    for (const [index, bit] of list.entries())
      bytes[index >> 3] = (bytes[index >> 3] ?? 0) | (bit << (index & 7));
    return bytes;
  };
  // Bits in the order they are read; codes of RFC 1951, 3.2.6.
  for (const [what, packed, problem] of [
    ['a block of type 3', bits('1 11'), 'invalid block type'],
    [
      'a stored block whose sizes differ',
      bits(`1 00 00000 ${'1'.repeat(32)}`),
      'invalid stored block lengths',
    ],
    [
      'a literal of the fixed codes that does not exist',
      bits('1 10 11000110'),
      'invalid literal/length code',
    ],
    ['a distance that does not exist', bits('1 10 0000001 11110'), 'invalid distance code'],
    ['a distance into nothing', bits('1 10 0000001 00000'), 'invalid distance too far back'],
    ['287 literals and lengths', bits('1 01 01111 00000 0000'), 'too many length or distance symbols'],
  ] as const) {
    test(`${what} is ${problem}`, async () => {
      expect(byZlib(packed).problem).toBe(problem);
      expect((await byUs(packed, 1, 1)).problem).toBe(problem);
    });
  }
});
