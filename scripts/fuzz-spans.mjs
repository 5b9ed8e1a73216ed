// Compressed bytes behind a checkpoint, for the fuzzer to begin with: `node scripts/fuzz-spans.mjs FOLDER`. The form
// of an input is in native/fuzz/span_decoder_fuzz.cc. Needs the zstd program.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { deflateRawSync, gzipSync } from 'node:zlib';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: fuzz-spans.mjs FOLDER');

const COMPRESSIONS = { none: 0, gzip: 1, zstd: 2 };
const WINDOWS = { stored: 0, plain: 1 };
/** The fuzz target makes what is longer out of this much. */
const WINDOW_PIECE_BYTES = 1024;
const short = (value) => Buffer.from(Uint16Array.of(value).buffer);

/** One input. A cut is a length of input and one of output. */
function input({ compression, windowKind = 'plain', bits = 0, window = Buffer.alloc(0), cuts }, compressed) {
  const pieces = cuts ?? [[0xfffe, 0xffff]];
  return Buffer.concat([
    Buffer.of(COMPRESSIONS[compression] + 3 * WINDOWS[windowKind], bits),
    short(window.length),
    short(1000),
    Buffer.of(pieces.length - 1),
    ...pieces.flat().map(short),
    window.subarray(0, WINDOW_PIECE_BYTES),
    compressed,
  ]);
}

/** Deflate data that begins behind `bits` bits of a block before. */
function shifted(bytes, bits) {
  const out = Buffer.alloc(bytes.length + 1);
  out[0] = 2 ** bits - 1;
  for (const [index, byte] of bytes.entries()) {
    out[index] |= (byte << bits) & 0xff;
    out[index + 1] = byte >> (8 - bits);
  }
  return bits === 0 ? bytes : out;
}

const text = Buffer.from('a span begins in the middle of a layer, and of a word. '.repeat(30));
const noise = Buffer.from(Array.from({ length: 300 }, (_, index) => (index * index * 31) >> 3));
const window = Buffer.concat([text.subarray(0, 200), noise]);
const whole = Buffer.from(
  Array.from({ length: 32_768 }, (_, index) => {
    const within = index % WINDOW_PIECE_BYTES;
    return ((within * within * 31) >> 3) + (index - within) / WINDOW_PIECE_BYTES;
  }),
);
const later = Buffer.concat([text, noise.subarray(20), Buffer.alloc(2000)]);
const small = [
  [1, 1],
  [7, 30],
  [0, 300],
];
const packed = Buffer.concat([Buffer.of(0xf4, 0x03, 2, 10, 40, 100, 20), window.subarray(0, 60)]);
const member = gzipSync(text);
const stored = gzipSync(noise, { level: 0 });
const trailer = Buffer.alloc(8, 7);

const seeds = {
  none: input({ compression: 'none', cuts: small }, text),
  empty: input({ compression: 'gzip' }, Buffer.alloc(0)),
  'stored-window': input(
    { compression: 'gzip', windowKind: 'stored', window: packed },
    deflateRawSync(text, { dictionary: window }),
  ),
  runs: input(
    {
      compression: 'gzip',
      windowKind: 'stored',
      window: Buffer.concat([Buffer.of(100, 2, 5, 10, 20, 4), noise.subarray(0, 14)]),
    },
    deflateRawSync(text),
  ),
  'stored-block': input(
    { compression: 'gzip', bits: 3, window },
    shifted(deflateRawSync(noise, { level: 0 }), 3),
  ),
  members: input(
    { compression: 'gzip', cuts: small },
    Buffer.concat([deflateRawSync(text), trailer, member, stored]),
  ),
  garbage: input({ compression: 'gzip' }, Buffer.concat([deflateRawSync(text), trailer, member, noise])),
  broken: input(
    { compression: 'gzip', window },
    Buffer.concat([deflateRawSync(text).subarray(0, 40), noise]),
  ),
};
const far = Buffer.concat([whole.subarray(0, 300), text, whole.subarray(20_000, 20_500), whole.subarray(-9)]);
seeds['whole-window'] = input(
  { compression: 'gzip', window: whole },
  deflateRawSync(far, { dictionary: whole }),
);
for (let bits = 0; bits < 8; bits++) {
  const raw = deflateRawSync(later, { dictionary: window });
  seeds[`bits-${bits}`] = input({ compression: 'gzip', bits, window }, shifted(raw, bits));
  seeds[`bits-${bits}-cut`] = input(
    { compression: 'gzip', bits, window, cuts: small },
    Buffer.concat([shifted(raw, bits), trailer, member]),
  );
}

const frame = (bytes, ...options) => {
  const { status, stdout } = spawnSync('zstd', ['-q', '-c', ...options], { input: bytes, timeout: 10_000 });
  if (status !== 0) throw new Error('scripts/fuzz-spans.mjs needs the zstd program');
  return stdout;
};
const skippable = Buffer.concat([Buffer.of(0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0), Buffer.from('peel!')]);
const frames = Buffer.concat([
  frame(text),
  skippable,
  frame(noise, '--check', '-19'),
  frame(later, '--no-check'),
]);
Object.assign(seeds, {
  zstd: input({ compression: 'zstd' }, frames),
  'zstd-cut': input({ compression: 'zstd', cuts: small }, frames),
  'zstd-garbage': input({ compression: 'zstd', cuts: [[3, 50]] }, Buffer.concat([frame(text), noise])),
});

mkdirSync(folder, { recursive: true });
for (const [name, bytes] of Object.entries(seeds)) writeFileSync(path.join(folder, name), bytes);
