/** xz and bzip2, which layers of old images and whole archives come in (E116, E180), against the programs of that name. */
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { indexFaults, isInstalled, run, scan, scanError } from './support.ts';

let tar: Buffer;

beforeAll(() => {
  tar = run('tar', [
    '-cf',
    '-',
    '-C',
    path.join(import.meta.dirname, '..', '..'),
    'node_modules/@types/node',
  ]);
});

const inParts = (program: string, size: number, between: Buffer = Buffer.alloc(0)): Buffer => {
  const parts: Buffer[] = [];
  for (let at = 0; at < tar.length; at += size) {
    parts.push(run(program, ['-c'], tar.subarray(at, at + size)), between);
  }
  return Buffer.concat(parts);
};

/** How each blob is made, and how many checkpoints it then has: one a stream. */
const BLOBS: readonly (readonly [string, string, number | (() => number), () => Buffer])[] = [
  ['xz', 'xz', 1, () => run('xz', ['-c', '-1'], tar)],
  ['xz', 'xz in several blocks', 1, () => run('xz', ['-c', '-0', '--block-size=300000'], tar)],
  ['xz', 'xz without a check', 1, () => run('xz', ['-c', '-0', '--check=none'], tar)],
  [
    'xz',
    'xz with sha256 and a filter',
    1,
    () => run('xz', ['-c', '--check=sha256', '--x86', '--lzma2=preset=0'], tar),
  ],
  [
    'xz',
    'xz in streams with padding between',
    () => Math.ceil(tar.length / 400_000),
    () => inParts('xz', 400_000, Buffer.alloc(8)),
  ],
  ['bzip2', 'bzip2', 1, () => run('bzip2', ['-c'], tar)],
  ['bzip2', 'bzip2 -1', 1, () => run('bzip2', ['-c', '-1'], tar)],
  ['bzip2', 'bzip2 in streams', () => Math.ceil(tar.length / 400_000), () => inParts('bzip2', 400_000)],
];

describe.each(BLOBS)('%s: a layer made by %s', (program, _, checkpoints, make) => {
  test.skipIf(!isInstalled(program))('is read whole and from each checkpoint, in any pieces', async () => {
    const blob = make();
    for (const pieceSize of [4999, 1 << 20]) {
      const { result } = await scan(blob, { pieceSize });
      expect(result.compression).toBe(program);
      expect(result.trailingGarbage).toBe(0);
      expect(result.checkpoints.bits.length).toBe(
        typeof checkpoints === 'number' ? checkpoints : checkpoints(),
      );
      expect(await indexFaults(blob, tar, result)).toEqual([]);
    }
  });
});

describe.each(['xz', 'bzip2'])('%s', (program) => {
  const skip = !isInstalled(program);
  const small = (): Buffer =>
    run('tar', ['-cf', '-', '-C', path.join(import.meta.dirname, '..', '..'), 'package.json']);

  test.skipIf(skip)('cut at any byte it is an error, fed byte by byte it is whole', async () => {
    const bytes = small();
    const blob = run(program, ['-c'], bytes);
    const { result } = await scan(blob, { pieceSize: 1 });
    expect(result.uncompressedSize).toBe(bytes.length);
    for (let length = 11; length < blob.length; length += 7) {
      const error = await scanError(blob.subarray(0, length));
      expect(error.code, `${length} bytes`).toBe('ERR_LAYER_INVALID');
    }
  });

  test.skipIf(skip)('an empty stream is an empty tar', async () => {
    const { result, frames } = await scan(run(program, ['-c'], Buffer.alloc(0)));
    expect(result.compression).toBe(program);
    expect(frames).toEqual([]);
  });

  test.skipIf(skip)('bytes after the last stream are counted', async () => {
    const blob = Buffer.concat([run(program, ['-c'], small()), Buffer.from('junk?')]);
    expect((await scan(blob)).result.trailingGarbage).toBe(5);
  });

  test.skipIf(skip)('a byte that was changed is an error with its place', async () => {
    const blob = run(program, ['-c'], small());
    for (let at = 20; at < blob.length; at += 13) {
      const changed = Buffer.from(blob);
      changed[at] = (changed[at] ?? 0) ^ 0x55;
      const error = await scanError(changed);
      expect(['ERR_LAYER_INVALID', 'ERR_UNSUPPORTED'], `byte ${at}`).toContain(error.code);
      expect(error.message).toContain(program);
    }
  });

  test.skipIf(skip)('a bomb is decompressed without its size in memory', async () => {
    const zeros = Buffer.alloc(64 * 1024 * 1024);
    const blob = run(program, ['-c', '-1'], zeros);
    const before = process.memoryUsage().rss;
    const { result } = await scan(Buffer.concat([blob, blob, blob]));
    expect(result.uncompressedSize).toBe(3 * zeros.length);
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * 1024 * 1024);
  });
});

test.skipIf(!isInstalled('xz'))(
  'xz that asks for a dictionary above 128 MiB is refused by name',
  async () => {
    const error = await scanError(run('xz', ['-c', '--lzma2=preset=0,dict=256MiB'], tar.subarray(0, 1024)));
    expect(error.code).toBe('ERR_UNSUPPORTED');
    expect(error.message).toContain('more than 128 MiB');
  },
);
