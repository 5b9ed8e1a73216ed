// Deflate data of every kind, for the fuzzer to begin with: `node scripts/fuzz-deflate.mjs FOLDER`. The form of an
// input is in native/fuzz/inflater_fuzz.cc.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { constants, deflateRawSync } from 'node:zlib';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: fuzz-deflate.mjs FOLDER');

const text = Buffer.from(
  'the inflater decodes what zlib decodes, and stops where zlib stops. '
    .repeat(40)
    .replaceAll(/e/g, (_, at) => String(at)),
);
const noise = Buffer.from(Array.from({ length: 600 }, (_, index) => (index * index * index * 31) >> 5));
const runs = Buffer.concat([Buffer.alloc(3000, 'a'), Buffer.alloc(2000, 'xyz'), Buffer.alloc(9000)]);
/** As the fuzz target makes it. */
const window = Buffer.from(Array.from({ length: 32_768 }, (_, index) => (index * index * 31) >> 7));
const far = Buffer.concat([
  window.subarray(0, 300),
  text,
  window.subarray(20_000, 20_500),
  window.subarray(-9),
]);
/** Frequencies of Fibonacci's numbers make the longest codes. */
const steep = Buffer.concat(
  [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987].map((count, symbol) =>
    Buffer.alloc(count, symbol * 16 + 1),
  ),
);

function input({ bits = 0, stops = 1, sampled = 0, windowSize = 0, cuts = [[255, 255]] }, compressed) {
  return Buffer.concat([
    Buffer.of(bits, stops, sampled, windowSize & 0xff, windowSize >> 8, cuts.length - 1),
    ...cuts.map((cut) => Buffer.from(cut)),
    compressed,
  ]);
}

const seeds = {};
const plains = { text, noise, runs, steep, all: Buffer.concat([text, noise, runs, steep, text]) };
for (const [name, plain] of Object.entries(plains)) {
  for (const [kind, options] of Object.entries({
    best: { level: 9, memLevel: 1 },
    stored: { level: 0 },
    fixed: { strategy: constants.Z_FIXED },
    huffman: { strategy: constants.Z_HUFFMAN_ONLY },
    runs: { strategy: constants.Z_RLE, memLevel: 1 },
  })) {
    const packed = deflateRawSync(plain, options);
    seeds[`${name}-${kind}`] = input({}, packed);
    seeds[`${name}-${kind}-cut`] = input(
      {
        cuts: [
          [5, 9],
          [90, 100],
          [4, 4],
        ],
      },
      packed,
    );
  }
}
seeds.window = input({ windowSize: 32_768 }, deflateRawSync(far, { dictionary: window }));
// Two blocks, the second of which refers to the window and to the first.
const first = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH });
const second = deflateRawSync(far, { dictionary: Buffer.concat([window, text]).subarray(-32_768) });
seeds.sampled = input({ sampled: 0, windowSize: 32_768 }, Buffer.concat([first, second]));
seeds['sampled-later'] = input({ sampled: 1, windowSize: 32_768 }, Buffer.concat([first, second]));
seeds.bits = input({ bits: 3 }, Buffer.concat([Buffer.of(0x07), second]));

mkdirSync(folder, { recursive: true });
for (const [name, bytes] of Object.entries(seeds)) writeFileSync(path.join(folder, name), bytes);
