/**
 * Every checkpoint and every span of layers made by real compressors leads back to the very bytes
 * (E113, E115; design: GZIP 2.1). The reference is the tar that the compressor was given.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { constants, gunzipSync, gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { imagesDir } from '../support/images.ts';
import { useSharedTempDirs } from '../support/temp-dirs.ts';
import { expectedCompression, indexFaults, isInstalled, realTar, run, scan, withHeader } from './support.ts';

const folder = useSharedTempDirs()();
let tar: Buffer;

beforeAll(() => {
  tar = realTar(folder);
});

/** As umoci and skopeo store it: Go's pgzip. */
function compressWithGo(): Buffer {
  const layout = path.join(folder, 'go-oci');
  const root = path.join(folder, 'rootfs');
  mkdirSync(root);
  writeFileSync(path.join(root, 'layer'), tar);
  run('umoci', ['init', '--layout', layout]);
  run('umoci', ['new', '--image', `${layout}:go`]);
  run('umoci', ['insert', '--image', `${layout}:go`, root, '/opt']);
  const blobs = path.join(layout, 'blobs', 'sha256');
  for (const name of readdirSync(blobs)) {
    const blob = readFileSync(path.join(blobs, name));
    if (blob[0] === 0x1f && blob.length > 100_000) return blob;
  }
  throw new Error('umoci made no gzip layer');
}

/** Members of 70,001 bytes with an empty one before each; every other with its own header fields. */
function manyMembers(): Buffer {
  const members: Buffer[] = [];
  for (let at = 0; at < tar.length; at += 70_001) {
    members.push(gzipSync(Buffer.alloc(0)));
    const member = gzipSync(tar.subarray(at, at + 70_001), { level: 6 });
    const fields = { extra: Buffer.from('SG\x04\x00abcd'), name: 'layer.tar', comment: 'part' };
    members.push(members.length % 4 === 1 ? withHeader(member, fields) : member);
  }
  return Buffer.concat(members);
}

interface Producer {
  readonly name: string;
  readonly needs?: string;
  readonly make: () => Buffer;
}

const producers: readonly Producer[] = [
  { name: 'gzip -6', make: () => run('gzip', ['-6', '-c'], tar) },
  { name: 'gzip -1', make: () => run('gzip', ['-1', '-c'], tar) },
  { name: 'gzip -9', make: () => run('gzip', ['-9', '-c'], tar) },
  { name: 'pigz', needs: 'pigz', make: () => run('pigz', ['-p', '2', '-c'], tar) },
  {
    name: 'pigz -i, independent blocks',
    needs: 'pigz',
    make: () => run('pigz', ['-p', '2', '-i', '-c'], tar),
  },
  { name: 'pigz -0, stored', needs: 'pigz', make: () => run('pigz', ['-0', '-c'], tar) },
  { name: 'bgzip, a member each 64 KiB', needs: 'bgzip', make: () => run('bgzip', ['-c'], tar) },
  { name: "Go's compressor", needs: 'umoci', make: compressWithGo },
  { name: 'many members, empty ones, odd headers', make: manyMembers },
  { name: 'zlib level 0', make: () => gzipSync(tar, { level: 0 }) },
  { name: 'zlib Huffman only', make: () => gzipSync(tar, { strategy: constants.Z_HUFFMAN_ONLY }) },
  { name: 'zlib run lengths', make: () => gzipSync(tar, { strategy: constants.Z_RLE }) },
  {
    name: 'zlib fixed codes: one huge block',
    make: () => gzipSync(tar, { strategy: constants.Z_FIXED, memLevel: 9 }),
  },
  { name: 'zlib, smallest memory', make: () => gzipSync(tar, { memLevel: 1, level: 9 }) },
  { name: 'zlib, 512-byte window', make: () => gzipSync(tar, { windowBits: 9 }) },
  { name: 'zstd, one frame', needs: 'zstd', make: () => run('zstd', ['-3', '-c'], tar) },
  { name: 'zstd --long=27', needs: 'zstd', make: () => run('zstd', ['--long=27', '-c'], tar) },
  {
    name: 'zstd, frames of 300,000 bytes between skippable ones',
    needs: 'zstd',
    make: () => {
      const skippable = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
      const frames: Buffer[] = [skippable];
      for (let at = 0; at < tar.length; at += 300_000) {
        frames.push(run('zstd', ['-c'], tar.subarray(at, at + 300_000)), skippable);
      }
      return Buffer.concat(frames);
    },
  },
  { name: 'no compression', make: () => tar },
];

describe('a layer resumes byte-exact at every checkpoint and span', () => {
  for (const { name, needs, make } of producers) {
    test.skipIf(needs !== undefined && !isInstalled(needs))(name, async () => {
      const blob = make();
      const expected = name === "Go's compressor" ? gunzipSync(blob) : tar;
      const { result } = await scan(blob);
      expect(result.trailingGarbage).toBe(0);
      expect(await indexFaults(blob, expected, result)).toEqual([]);
      expect(result.spans.start.length).toBeGreaterThanOrEqual(Math.floor(expected.length / (1024 * 1024)));
      // Restart points really are made: one for each MiB or so of anything but a huge block or a zstd frame.
      if (!/huge|one frame|--long/.test(name)) {
        expect(result.checkpoints.bits.length).toBeGreaterThan(expected.length / (1300 * 1024));
      }
    });
  }

  test('the smallest spans, fed byte-odd pieces', async () => {
    const blob = run('gzip', ['-6', '-c'], tar);
    const { result } = await scan(blob, { spanSize: 64 * 1024, pieceSize: 997 });
    expect(result.spans.start.length).toBeGreaterThan(tar.length / (256 * 1024));
    expect(result.checkpoints.bits.length).toBeGreaterThan(tar.length / (512 * 1024));
    expect(await indexFaults(blob, tar, result)).toEqual([]);
  });

  test('most checkpoints of gzip lie inside a byte', async () => {
    const { result } = await scan(run('gzip', ['-6', '-c'], tar));
    const inside = result.checkpoints.bits.filter((bits) => bits > 0).length;
    expect(inside).toBeGreaterThan(result.checkpoints.bits.length / 2);
  });

  test('a window takes at most a twelfth of the compressed bytes since the checkpoint before', async () => {
    const { result } = await scan(run('gzip', ['-6', '-c'], tar));
    const { compressedOffset, windowLength, windowOffset } = result.checkpoints;
    expect(result.windows.length).toBeGreaterThan(0);
    for (const [index, length] of windowLength.entries()) {
      if (index === 0) continue;
      const saved = (compressedOffset[index] ?? 0) - (compressedOffset[index - 1] ?? 0);
      expect(12 * length).toBeLessThanOrEqual(saved);
      // Back to back, in the order of the checkpoints.
      expect(windowOffset[index]).toBe((windowOffset[index - 1] ?? 0) + (windowLength[index - 1] ?? 0));
    }
    // Where one was not worth it, the spans behind it name the checkpoint before.
    expect(result.spans.start.length).toBeGreaterThan(windowLength.length);
  });

  test('the same bytes give the same index whatever the pieces', async () => {
    const blob = run('gzip', ['-6', '-c'], tar);
    const whole = await scan(blob, { pieceSize: blob.length });
    const pieces = await scan(blob, { pieceSize: 4099 });
    expect(pieces.result).toEqual(whole.result);
    expect(pieces.frames).toEqual(whole.frames);
  });
});

describe.skipIf(imagesDir() === undefined)('real layers', () => {
  const layers = path.join(imagesDir() ?? '', 'layers');
  const names =
    imagesDir() === undefined
      ? []
      : readdirSync(layers, { recursive: true })
          .map(String)
          .filter((name) => /\.(gz|tgz|tar|layer)$/.test(name));
  test('some are there', () => {
    expect(names.length).toBeGreaterThan(0);
  });
  for (const name of names) {
    test(name, async () => {
      const blob = readFileSync(path.join(layers, name));
      const compression = expectedCompression(blob);
      const expected = compression === 'gzip' ? gunzipSync(blob) : blob;
      const { result } = await scan(blob);
      expect(result.compression).toBe(compression);
      expect(await indexFaults(blob, expected, result)).toEqual([]);
    });
  }
});
