/** B4: a TOC that came from elsewhere is that of the layer, well-formed and within bounds, or refused. */
import { createHash } from 'node:crypto';
import { brotliCompressSync, brotliDecompressSync, constants, gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import type { BuiltToc } from '../../src/layer/build-toc.ts';
import { encodeToc, sealToc } from '../../src/layer/encode-toc.ts';
import { ownIndexKey } from '../../src/layer/own-index.ts';
import type { Toc } from '../../src/layer/toc.ts';
import type { SealedToc } from '../../src/layer/toc-format.ts';
import { packToc, type TravellingLayer, unpackToc } from '../../src/layer/travelling-toc.ts';
import { UnusableIndex } from '../../src/layer/unusable-index.ts';
import { verifiedWindows } from '../../src/layer/windows-file.ts';
import { digestOf } from '../../src/reference/digest.ts';
import type { ByteString } from '../../src/units.ts';
import { madeBytes } from '../blob/made-toc.ts';
import { member } from '../support/image-layout.ts';
import { tocOfBlob } from '../support/layer-toc.ts';
import { writeTar } from '../support/tar-bytes.ts';

let built: BuiltToc;
let packed: Buffer;
let packedWindows: Buffer;
beforeAll(async () => {
  const content = Buffer.from(madeBytes(700_000, 3).toString('hex'));
  const tar = writeTar([
    member('etc', { type: 'dir' }),
    member('etc/small', { content: Buffer.from('hello\n') }),
    member('etc/link', { type: 'symlink', target: 'small' as ByteString }),
    member('etc/big', { content }),
  ]);
  built = await tocOfBlob(gzipSync(Buffer.from(tar.bytes)));
  ({ toc: packed, windows: packedWindows } = await packToc(built.toc, built.windows));
});

function layerOf(bytes: Buffer, change: Partial<TravellingLayer> = {}): TravellingLayer {
  const { digest, diffID, compressedSize: size } = built.toc;
  return { digest, size, diffID, packedDigest: digestOf(bytes), ...change };
}

/** The plain bytes sealed and packed as if whoever forged them had made them so. */
function repacked(plain: Buffer): Buffer {
  const body = plain.subarray(0, plain.length - 32);
  return brotli(Buffer.concat([body, createHash('sha256').update(body).digest()]));
}

/** Not as small as it can be: forgeries are many. */
function brotli(bytes: Buffer): Buffer {
  return brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } });
}

async function refusal(bytes: Buffer, change: Partial<TravellingLayer> = {}): Promise<string> {
  const error: unknown = await unpackToc(bytes, layerOf(bytes, change)).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(UnusableIndex);
  return (error as UnusableIndex).message;
}

describe('B4: a TOC that travelled', () => {
  test('is the one that was packed, under a key of its own', async () => {
    const { toc } = await unpackToc(packed, layerOf(packed));
    const { digest, compressedSize } = built.toc;
    const packedDigest = digestOf(packed);
    const key = ownIndexKey('peel', digest, compressedSize, packedDigest);
    expect(toc).toEqual({
      ...built.toc,
      diffID: undefined,
      own: { format: 'peel', digest: packedDigest, key },
    });
    expect(key).not.toBe(digest);
  });

  test('is packed to the same bytes each time', async () => {
    expect(await packToc(built.toc, built.windows)).toEqual({ toc: packed, windows: packedWindows });
  });

  test('of another layer, size, diffID or digest is refused', async () => {
    const other = digestOf(Buffer.from('another'));
    expect(await refusal(packed, { digest: other })).toMatch(/of the layer/);
    expect(await refusal(packed, { size: 1 })).toMatch(/of a layer of/);
    expect(await refusal(packed, { diffID: other })).toMatch(/with the diffID/);
    expect(await refusal(packed, { packedDigest: other })).toMatch(/has the digest/);
  });

  test('of another version, and one that is cut short or decompresses to too much, is refused', async () => {
    const plain = brotliDecompressSync(packed);
    plain.writeUInt32LE(1, 8);
    expect(await refusal(repacked(plain))).toMatch(/version 1, want/);
    const whole = brotliDecompressSync(packed);
    for (let length = 0; length < whole.length; length += 64)
      await refusal(repacked(whole.subarray(0, length)));
    expect(await refusal(brotli(Buffer.alloc(257 * 1024 * 1024)))).toMatch(/more than/);
  });

  test.each<[string, (toc: Toc) => Toc, RegExp]>([
    ['a path that climbs', (toc) => withPath(toc, '../etc/passwd'), /not clean/],
    ['a path with a NUL', (toc) => withPath(toc, 'a\0b'), /not clean/],
    ['a name that is too long', (toc) => withPath(toc, 'a'.repeat(300)), /too long/],
    ['a span of 9 MiB', bigSpan, /a span of/],
    ['windows of 257 MiB', bigWindow, /windows of/],
  ])('with %s is refused', async (_, change, why) => {
    expect(await refusal(brotli(encodeToc(sealToc(change(built.toc), built.windows))))).toMatch(why);
  });

  test('with any byte flipped is refused, or is a TOC of the layer that breaks no invariant', async () => {
    const plain = brotliDecompressSync(packed);
    let accepted = 0;
    for (let at = 0; at < plain.length - 32; at += 1) {
      const forged = Buffer.from(plain);
      forged[at] = (forged[at] ?? 0) ^ 0xff;
      const bytes = repacked(forged);
      const unpacked = await unpackToc(bytes, layerOf(bytes)).catch((error: unknown) => {
        expect(error).toBeInstanceOf(UnusableIndex);
      });
      if (unpacked === undefined) continue;
      accepted += 1;
      expect(unpacked.toc.digest).toBe(built.toc.digest);
      // Forged, it has a place of its own in the caches.
      expect(unpacked.toc.own?.key).not.toBe(ownKeyOf(packed));
      for (const { dataOffset, size, type } of unpacked.toc.entries) {
        if (type === 'file') expect(dataOffset + size).toBeLessThanOrEqual(unpacked.toc.uncompressedSize);
      }
    }
    expect(accepted).toBeGreaterThan(0);
  });
});

describe('B4: windows that travelled', () => {
  const refusalOf = async (sealed: SealedToc, bytes: Buffer): Promise<string> => {
    const error: unknown = await verifiedWindows(sealed, bytes).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(UnusableIndex);
    return (error as UnusableIndex).message;
  };

  test('are those that were packed, and are named by the TOC', async () => {
    const sealed = await unpackToc(packed, layerOf(packed));
    expect(sealed.packedWindows).toEqual({ digest: digestOf(packedWindows), size: packedWindows.length });
    expect((await verifiedWindows(sealed, packedWindows)).equals(built.windows)).toBe(true);
  });

  test('of another blob, cut short, too long, or changed in any byte are refused', async () => {
    const sealed = await unpackToc(packed, layerOf(packed));
    expect(await refusalOf(sealed, Buffer.from('another'))).toMatch(/got sha256:.*, want/);
    // As if whoever made the TOC had named these.
    const unnamed: SealedToc = { ...sealed, packedWindows: undefined };
    const plain = brotliDecompressSync(packedWindows);
    for (let length = 0; length < plain.length; length += 97) {
      await refusalOf(unnamed, brotli(plain.subarray(0, length)));
    }
    expect(await refusalOf(unnamed, brotli(Buffer.concat([plain, Buffer.alloc(1)])))).toMatch(/of this form/);
    expect(await refusalOf(unnamed, brotli(Buffer.concat([plain, Buffer.alloc(64)])))).toMatch(/more than/);
    expect(await refusalOf(unnamed, plain)).toMatch(/does not decompress/);
    for (let at = 0; at < plain.length; at += 7) {
      const forged = Buffer.from(plain);
      forged[at] = (forged[at] ?? 0) ^ 0xff;
      await refusalOf(unnamed, brotli(forged));
    }
  });
});

function ownKeyOf(bytes: Buffer): string {
  return ownIndexKey('peel', built.toc.digest, built.toc.compressedSize, digestOf(bytes));
}

function withPath(toc: Toc, name: string): Toc {
  const path = name as ByteString;
  return {
    ...toc,
    entries: toc.entries.map((entry, at) => (at === 1 ? { ...entry, path } : entry)),
  };
}

function bigSpan(toc: Toc): Toc {
  const [first] = toc.spans;
  if (first === undefined) throw new Error('no span');
  const end = (9 * 1024 * 1024) as typeof first.end;
  return { ...toc, uncompressedSize: end, spans: [{ ...first, end }] };
}

function bigWindow(toc: Toc): Toc {
  const windowLength = 257 * 1024 * 1024;
  return {
    ...toc,
    checkpoints: toc.checkpoints.map((each, at) =>
      at === 1
        ? { ...each, windowLength }
        : at < 1
          ? each
          : { ...each, windowOffset: windowLength, windowLength: 0 },
    ),
  };
}
