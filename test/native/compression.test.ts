/** How gzip and zstd blobs may begin, join and end, and what is refused (E113-E116, B2). */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { createLayerScanner, createSpanDecoder } from '../../src/native.ts';
import { sha256Digest } from '../support/digests.ts';
import { imagesDir } from '../support/images.ts';
import { indexFaults, isInstalled, run, scan, scanError, withHeader, writeAll } from './support.ts';

let tar: Buffer;

beforeAll(() => {
  tar = run('tar', [
    '-cf',
    '-',
    '-C',
    path.join(import.meta.dirname, '..', '..'),
    'package.json',
    'tsconfig.json',
  ]);
});

/** CRC-32 of `bytes` as gzip(1) itself computes it. */
function crc32Of(bytes: Buffer): number {
  const blob = gzipSync(bytes);
  return blob.readUInt32LE(blob.length - 8);
}

describe('gzip', () => {
  test('a zero-length blob is an empty tar, not compressed', async () => {
    const { frames, result } = await scan(Buffer.alloc(0));
    expect(frames).toEqual([]);
    expect(result.compression).toBe('none');
    expect(result.digest).toBe('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(result.diffID).toBe(result.digest);
    expect(result.spans.start.length).toBe(0);
  });

  // The digests that Docker gives its empty layer (FORMATS 1.3).
  test('an empty tar of 1024 zero bytes has the well-known diffID', async () => {
    const blob = Buffer.from('1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000', 'hex');
    const { frames, result } = await scan(blob);
    expect(result.digest).toBe('sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4');
    expect(result.diffID).toBe('sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef');
    expect(frames).toEqual([]);
  });

  test('E113: FEXTRA, FNAME, FCOMMENT and FHCRC are read, in any pieces', async () => {
    const blob = withHeader(
      gzipSync(tar),
      { extra: Buffer.alloc(700, 7), name: 'layer.tar', comment: 'c'.repeat(300) },
      (header) => crc32Of(header) & 0xffff,
    );
    for (const pieceSize of [1, 3, 1024 * 1024]) {
      const { result } = await scan(blob, { pieceSize });
      expect(await indexFaults(blob, tar, result)).toEqual([]);
    }
  });

  test('a header whose own checksum is wrong is refused', async () => {
    const good = withHeader(gzipSync(tar), { name: 'a' }, (header) => crc32Of(header) & 0xffff);
    const bad = Buffer.from(good);
    bad[4] = (bad[4] ?? 0) ^ 1;
    expect((await scanError(bad)).message).toContain('checksum of the header');
  });

  test('E113: zero bytes after the last member are tolerated, others are counted', async () => {
    const blob = gzipSync(tar);
    const zeros = await scan(Buffer.concat([blob, Buffer.alloc(5000)]));
    expect(zeros.result.trailingGarbage).toBe(0);
    const garbage = await scan(Buffer.concat([blob, Buffer.alloc(10), Buffer.from('garbage')]), {
      pieceSize: 7,
    });
    expect(garbage.result.trailingGarbage).toBe(17);
    expect(garbage.result.diffID).toBe(sha256Digest(tar));
    const half = await scan(Buffer.concat([blob, Buffer.from([0x1f])]));
    expect(half.result.trailingGarbage).toBe(1);
    const other = await scan(Buffer.concat([blob, Buffer.from([0x1f, 0x20, 0x20])]), { pieceSize: 1 });
    expect(other.result.trailingGarbage).toBe(3);
  });

  test('E114: a wrong CRC-32 or size at the end of any member is an error with its offset', async () => {
    const member = gzipSync(tar);
    for (const fromEnd of [8, 4]) {
      const bad = Buffer.from(member);
      bad.writeUInt32LE((bad.readUInt32LE(bad.length - fromEnd) ^ 0x100) >>> 0, bad.length - fromEnd);
      for (const blob of [bad, Buffer.concat([bad, member])]) {
        const error = await scanError(blob);
        expect(error.code).toBe('ERR_LAYER_INVALID');
        expect(error.facts['compressedOffset']).toBe(member.length);
        expect(error.message).toMatch(fromEnd === 8 ? /CRC-32/ : /size/);
      }
    }
  });

  test('a compression method other than deflate and reserved flags are refused', async () => {
    for (const [at, value] of [
      [2, 7],
      [3, 0x20],
    ] as const) {
      const bad = gzipSync(tar);
      bad[at] = value;
      expect((await scanError(bad)).code).toBe('ERR_LAYER_INVALID');
    }
  });

  test('E112: what follows the end marker is hashed, and broken deflate data there still counts', async () => {
    const long = Buffer.concat([tar, Buffer.from('anything at all'), Buffer.alloc(100_000, 1)]);
    const { frames, result } = await scan(gzipSync(long));
    expect(frames.length).toBe(2);
    expect(result.diffID).toBe(sha256Digest(long));
    expect(result.uncompressedSize).toBe(long.length);
    const broken = Buffer.concat([
      gzipSync(tar),
      gzipSync(Buffer.from('x')).subarray(0, 10),
      Buffer.alloc(20, 0xff),
    ]);
    expect((await scanError(broken)).code).toBe('ERR_LAYER_INVALID');
  });

  test('a bomb of ten thousand to one streams through small memory', async () => {
    const zeros = Buffer.alloc(64 * 1024 * 1024);
    const member = gzipSync(zeros, { level: 9 });
    const before = process.memoryUsage().rss;
    const { result } = await scan(Buffer.concat(Array.from({ length: 8 }, () => member)));
    expect(result.uncompressedSize).toBe(8 * zeros.length);
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * 1024 * 1024);
  });
});

describe('E116: the first bytes decide, not a media type', () => {
  test('lz4 is named and refused as unsupported', async () => {
    const error = await scanError(Buffer.concat([Buffer.from('04224d18', 'hex'), Buffer.alloc(2000, 9)]));
    expect(error.code).toBe('ERR_UNSUPPORTED');
    expect(error.message).toContain('lz4');
  });

  for (const [name, magic] of [
    ['bzip2', Buffer.from('BZh91AY&SY')],
    ['xz', Buffer.from('fd377a585a0000', 'hex')],
  ] as const) {
    test(`what begins as ${name} and does not go on so is broken`, async () => {
      const error = await scanError(Buffer.concat([magic, Buffer.alloc(2000, 9)]));
      expect(['ERR_LAYER_INVALID', 'ERR_UNSUPPORTED']).toContain(error.code);
      expect(error.message).toContain(name);
    });
  }

  test('a tar whose first name begins like bzip2 is a tar', async () => {
    const { result } = await scan(
      run('tar', [
        '--transform=s,^,BZh,',
        '-cf',
        '-',
        '-C',
        path.join(import.meta.dirname, '..', '..'),
        'package.json',
      ]),
    );
    expect(result.compression).toBe('none');
  });
});

describe('truncation at every byte is an error, or what was there is whole', () => {
  // gzip: only the whole blob is complete. zstd: only at the end of a frame. tar: at block boundaries (E111).
  test('gzip', async () => {
    const blob = gzipSync(tar.subarray(0, 3072));
    for (let length = 3; length < blob.length; length++) {
      const error = await scanError(blob.subarray(0, length));
      expect(error.code, `${length} bytes`).toBe('ERR_LAYER_INVALID');
      expect(error.message).toContain('ends inside');
    }
  });

  test.skipIf(!isInstalled('zstd'))('zstd', async () => {
    const blob = run('zstd', ['-c', '-19'], tar);
    for (let length = 5; length < blob.length; length += 1) {
      const error = await scanError(blob.subarray(0, length));
      expect(error.code, `${length} bytes`).toBe('ERR_LAYER_INVALID');
    }
  });
});

describe('zstd', () => {
  const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 9, 9, 9, 9]);

  test.skipIf(!isInstalled('zstd'))(
    'E115: skippable frames first, between and last, fed byte by byte',
    async () => {
      const half = Math.floor(tar.length / 2);
      const frames = [
        run('zstd', ['-c'], tar.subarray(0, half)),
        run('zstd', ['-c', '--no-check'], tar.subarray(half)),
      ];
      const blob = Buffer.concat([
        skippable,
        frames[0] ?? skippable,
        skippable,
        skippable,
        frames[1] ?? skippable,
        skippable,
      ]);
      for (const pieceSize of [1, 1 << 20]) {
        const { result } = await scan(blob, { pieceSize });
        expect(result.compression).toBe('zstd');
        expect(result.trailingGarbage).toBe(0);
        expect(await indexFaults(blob, tar, result)).toEqual([]);
      }
    },
  );

  test('skippable frames alone are an empty tar', async () => {
    const { frames, result } = await scan(Buffer.concat([skippable, skippable]));
    expect(frames).toEqual([]);
    expect(result.uncompressedSize).toBe(0);
  });

  test.skipIf(!isInstalled('zstd'))('bytes after the last frame are counted', async () => {
    const blob = Buffer.concat([run('zstd', ['-c'], tar), Buffer.from('junk?')]);
    expect((await scan(blob)).result.trailingGarbage).toBe(5);
  });

  test.skipIf(!isInstalled('zstd'))('a wrong content checksum is an error', async () => {
    const blob = run('zstd', ['-c', '--check'], tar);
    blob[blob.length - 1] = (blob[blob.length - 1] ?? 0) ^ 1;
    expect((await scanError(blob)).message).toContain('zstd frame');
  });

  test.skipIf(!isInstalled('zstd'))('a frame that needs a dictionary is refused', async () => {
    // Magic, descriptor: 4-byte dictionary id, single segment, 1-byte size; then an empty raw block.
    const blob = Buffer.from('28b52ffd2301000000000100000000', 'hex');
    expect((await scanError(blob)).code).toBe('ERR_LAYER_INVALID');
  });

  test('a window above 128 MiB is refused before any memory is taken', async () => {
    // Window descriptor: exponent 18 gives 256 MiB, mantissa 0.
    const blob = Buffer.from('28b52ffd0090010000', 'hex');
    expect((await scanError(blob)).code).toBe('ERR_LAYER_INVALID');
  });

  describe.skipIf(imagesDir() === undefined)('E115: golden and malformed frames', () => {
    const golden = path.join(imagesDir() ?? '', 'dialects', 'zstd', 'zstd-golden');
    const names =
      imagesDir() === undefined ? [] : readdirSync(golden).filter((name) => name.endsWith('.zst'));
    for (const name of names) {
      test.skipIf(!isInstalled('zstd'))(name, async () => {
        const blob = readFileSync(path.join(golden, name));
        let expected: Buffer | undefined;
        try {
          expected = run('zstd', ['-dc'], blob);
        } catch {
          expected = undefined;
        }
        const decoder = createSpanDecoder({ compression: 'zstd' });
        const decoded = await decoder.write(blob, 8 * 1024 * 1024).catch((error: Error) => error);
        decoder.close();
        if (expected === undefined) expect(decoded).toBeInstanceOf(Error);
        else expect(Buffer.isBuffer(decoded) && decoded.equals(expected)).toBe(true);
        // The scanner sees the same stream; what is in it is no tar, unless it is empty.
        const scanner = createLayerScanner();
        const scanned = await writeAll(scanner, blob)
          .then(() => scanner.end())
          .catch((error: Error) => error);
        if (expected === undefined) expect(scanned).toBeInstanceOf(Error);
        scanner.close();
      });
    }
    test('both kinds are there', () => {
      expect(names.length).toBeGreaterThan(5);
    });
  });
});
