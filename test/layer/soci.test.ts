/** SOCI indexes of a layer (FORMATS E141, E142; FAULTS B4 and X2): what is in them, what is read by them, bad ones. */
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { decodeToc } from '../../src/layer/decode-toc.ts';
import { encodeToc, sealToc } from '../../src/layer/encode-toc.ts';
import { beginsAsTar } from '../../src/layer/soci/first-span.ts';
import { readZtoc } from '../../src/layer/soci/read-ztoc.ts';
import type { Toc } from '../../src/layer/toc.ts';
import { UnusableIndex } from '../../src/layer/unusable-index.ts';
import { uncompressed } from '../../src/units.ts';
import { madeBytes } from '../blob/made-toc.ts';
import { sha256Digest } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { contentOf, tocOfBlob } from '../support/layer-toc.ts';
import { readerOf } from '../support/own-toc.ts';
import { type Member, writeTar } from '../support/tar-bytes.ts';
import { type ZtocOptions, type ZtocParts, ztocOf } from '../support/ztoc.ts';

/** Text that compresses, with matches that reach far back. */
function textOf(length: number, seed: number): Buffer {
  const words = madeBytes(4096, seed).toString('hex').match(/.{7}/g) ?? [];
  const order = madeBytes(Math.ceil(length / 4), seed + 1);
  const text = Array.from(order, (byte, index) => words[(byte * 5 + (index % 3)) % words.length]).join(' ');
  return Buffer.from(text).subarray(0, length);
}

const MEMBERS: readonly Member[] = [
  member('etc', { type: 'dir' }),
  member('etc/one', { content: textOf(1_500_000, 1), uid: 3, mode: 0o4755 }),
  member('etc/empty'),
  member('etc/na\xefve', { content: Buffer.from('not UTF-8') }),
  member('etc/link', { type: 'symlink', target: 'one' as Member['name'] }),
  member('dev/null', { type: 'char', rdev: [1, 3] }),
  member('etc/capable', {
    content: textOf(2_000_000, 5),
    xattrs: new Map([['security.capability' as Member['name'], Buffer.from([1, 0, 0, 2])]]),
  }),
  member('etc/last', { type: 'hardlink', target: 'etc/one' as Member['name'] }),
];
const TAR = Buffer.from(writeTar(MEMBERS).bytes);

interface Made {
  readonly blob: Buffer;
  readonly plain: Toc;
  readonly ztoc: Buffer;
}

async function made(options: ZtocOptions = {}, blob: Buffer = gzipSync(TAR)): Promise<Made> {
  const { toc: plain } = await tocOfBlob(blob);
  return { blob, plain, ztoc: ztocOf(plain, blob, TAR, options) };
}

const read = ({ blob, ztoc }: Made): ReturnType<typeof readZtoc> =>
  readZtoc(ztoc, { digest: sha256Digest(blob), size: blob.length, ztocDigest: sha256Digest(ztoc) });

/** A gzip file with a name in its header, as `gzip FILE` makes it. */
function withName(blob: Buffer): Buffer {
  const header = Buffer.from(blob.subarray(0, 10));
  header.writeUInt8(0x08, 3);
  return Buffer.concat([header, Buffer.from('layer.tar\0'), blob.subarray(10)]);
}

describe('a ztoc', () => {
  test('gives the entries of the tar, and the tar', async () => {
    const layer = await made();
    const { toc, windows } = read(layer);
    // Times are whole in these; the order is the tar's.
    expect(toc.entries).toEqual(layer.plain.entries);
    expect(toc.spans.length).toBeGreaterThan(2);
    const { reader, requests } = readerOf(toc, layer.blob, undefined, windows);
    const all = await reader.read({ start: uncompressed(0), end: uncompressed(TAR.length) });
    expect(all.equals(TAR)).toBe(true);
    expect(requests).toHaveLength(1);
    const last = toc.entries.find(({ path }) => path === 'etc/capable');
    expect(last && contentOf(all, last).equals(textOf(2_000_000, 5))).toBe(true);
    await reader.close();
  });

  test('is followed whatever pieces the bytes come in', async () => {
    const layer = await made({ every: 2 });
    const { toc, windows } = read(layer);
    for (const pieceBytes of [997, 65_536, 10_000_000]) {
      const { reader, requests } = readerOf(toc, layer.blob, undefined, windows, pieceBytes);
      const all = await reader.read({ start: uncompressed(0), end: uncompressed(TAR.length) });
      expect(all.equals(TAR)).toBe(true);
      expect([requests.length, reader.stats.badSpans]).toEqual([1, 0]);
      await reader.close();
    }
  });

  test('lets any span be read alone, fetching that span', async () => {
    const layer = await made({ every: 2 });
    const { toc, windows } = read(layer);
    for (const [index, { start, end, compressedEnd }] of [...toc.spans.entries()].reverse()) {
      const { reader, requests } = readerOf(toc, layer.blob, 0, windows);
      expect((await reader.read({ start, end })).equals(TAR.subarray(start, end))).toBe(true);
      expect(requests).toEqual([{ start: toc.checkpoints[index]?.compressedOffset, end: compressedEnd }]);
      await reader.close();
    }
  });

  test('is stored and comes back with its digests', async () => {
    const { toc, windows } = read(await made());
    const sealed = sealToc(toc, windows);
    expect(decodeToc(encodeToc(sealed))).toEqual(sealed);
  });

  test.each([1, 2] as const)(
    'E141: of version %d, of a gzip file with a name in its header',
    async (zinfoVersion) => {
      const blob = withName(gzipSync(TAR));
      // Version 1 digests the first span from byte 10 on, whatever is there.
      const layer = await made({ zinfoVersion, headerBytes: zinfoVersion === 1 ? 10 : 20 }, blob);
      const { toc, windows } = read(layer);
      const { reader } = readerOf(toc, blob, undefined, windows);
      const all = await reader.read({ start: uncompressed(0), end: uncompressed(TAR.length) });
      expect(all.equals(TAR)).toBe(true);
      await reader.close();
    },
  );

  test('the gzip header, which no digest is of, is not even fetched', async () => {
    const layer = await made();
    const { toc, windows } = read(layer);
    const blob = Buffer.concat([Buffer.alloc(10, 0xff), layer.blob.subarray(10)]);
    const { reader, requests } = readerOf(toc, blob, undefined, windows);
    const [first] = toc.spans;
    if (first === undefined) throw new Error('no span');
    expect((await reader.read(first)).equals(TAR.subarray(0, first.end))).toBe(true);
    expect(requests).toEqual([{ start: 10, end: first.compressedEnd }]);
    await reader.close();
  });

  test('bytes that are proved and no tar are not shown', async () => {
    const noTar = gzipSync(Buffer.concat([Buffer.from('no tar'), TAR]));
    const layer = await made();
    const ztoc = ztocOf(layer.plain, noTar, Buffer.concat([Buffer.from('no tar'), TAR]), {
      every: 1_000_000,
      change: oneSpan,
    });
    const { toc, windows } = read({ ...layer, blob: noTar, ztoc });
    const { reader } = readerOf(toc, noTar, undefined, windows);
    const reading = reader.read({ start: uncompressed(0), end: uncompressed(10) });
    await expect(reading).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    await reader.close();
  });

  test('the beginning of a tar is a header with its checksum, or zeros', () => {
    expect(beginsAsTar(TAR)).toBe(true);
    expect(beginsAsTar(Buffer.alloc(1024))).toBe(true);
    const other = Buffer.from(TAR);
    other.writeUInt8(other.readUInt8(0) ^ 1, 0);
    expect([other, TAR.subarray(0, 511), madeBytes(512, 3)].map(beginsAsTar)).toEqual([false, false, false]);
  });

  test('of a layer that is not compressed', async () => {
    const { toc: plain } = await tocOfBlob(TAR);
    const size = 1024 * 1024;
    const ztoc = ztocOf(plain, TAR, TAR, {
      change: (parts) => {
        parts.algorithm = 2;
        parts.checkpoints = plainZinfo(size);
        parts.digests = [];
        for (let at = 0; at < TAR.length; at += size)
          parts.digests.push(sha256Digest(TAR.subarray(at, at + size)));
      },
    });
    const { toc, windows } = read({ blob: TAR, plain, ztoc });
    const { reader } = readerOf(toc, TAR, undefined, windows);
    const range = { start: uncompressed(3_000_000), end: uncompressed(3_100_000) };
    expect((await reader.read(range)).equals(TAR.subarray(3_000_000, 3_100_000))).toBe(true);
    await reader.close();
  });

  test('E142: a span that does not have its digest fails alone, and is not decompressed', async () => {
    const layer = await made({ change: ({ digests }) => void digests.splice(1, 1, sha256Digest('another')) });
    const { toc, windows } = read(layer);
    const { reader } = readerOf(toc, layer.blob, 0, windows);
    for (const [index, { start, end }] of toc.spans.entries()) {
      const reading = reader.read({ start, end });
      if (index === 1) await expect(reading).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
      else expect((await reading).equals(TAR.subarray(start, end))).toBe(true);
    }
    await reader.close();
  });

  test('X2: a forged window is another ztoc, which the digest in the SOCI index does not name', async () => {
    const layer = await made();
    const forged = await made({ change: ({ checkpoints }) => void checkpoints.fill(0x41, 12 + 33_000) });
    const { blob } = layer;
    const named = { digest: sha256Digest(blob), size: blob.length, ztocDigest: sha256Digest(layer.ztoc) };
    expect(() => readZtoc(forged.ztoc, named)).toThrow(/the SOCI index says/);
  });
});

/** No files: their places would not be those of this tar. */
function oneSpan(parts: ZtocParts): void {
  parts.files.splice(0);
}

function plainZinfo(spanSize: number): Buffer {
  // version (i32, left out), span_size, size
  const bytes = Buffer.alloc(4 + 10 + 4 + 16);
  bytes.writeUInt32LE(14, 0);
  bytes.writeUInt16LE(10, 4);
  bytes.writeUInt16LE(20, 6);
  bytes.writeUInt16LE(4, 10);
  bytes.writeInt32LE(10, 14);
  bytes.writeBigInt64LE(BigInt(spanSize), 18);
  return bytes;
}

const BAD: Readonly<Record<string, (parts: ZtocParts) => void>> = {
  'the size of another layer': (parts) => void (parts.compressedSize += 1),
  'a tar shorter than its spans': (parts) => void (parts.uncompressedSize = 1000),
  'a tar of 2^50 bytes': (parts) => void (parts.uncompressedSize = 2 ** 50),
  'an unknown compression': (parts) => void (parts.algorithm = 3),
  'a digest too few': ({ digests }) => void digests.pop(),
  'a digest too many': ({ digests }) => void digests.push(digests[0] ?? ''),
  'a digest that is none': ({ digests }) => void digests.splice(0, 1, 'sha256:12'),
  'no restart points': (parts) => void (parts.checkpoints = Buffer.alloc(0)),
  'restart points cut short': (parts) => void (parts.checkpoints = parts.checkpoints.subarray(0, -1)),
  'a count of restart points that is not theirs': ({ checkpoints }) => void checkpoints.writeInt32LE(99, 0),
  'a negative count': ({ checkpoints }) => void checkpoints.writeInt32LE(-1, 0),
  'restart points that do not rise': ({ checkpoints }) => void checkpoints.writeBigInt64LE(5n, pointAt(2)),
  'a restart point beyond the blob': ({ checkpoints }) =>
    void checkpoints.writeBigInt64LE(1n << 40n, pointAt(1)),
  'a restart point at 2^63 - 1': ({ checkpoints }) =>
    void checkpoints.writeBigInt64LE((1n << 63n) - 1n, pointAt(1)),
  'uncompressed offsets that do not rise': ({ checkpoints }) =>
    void checkpoints.writeBigInt64LE(0n, pointAt(1) + 8),
  'a span of 1 GiB': ({ checkpoints }) => void checkpoints.writeBigInt64LE(1n << 30n, pointAt(1) + 8),
  'nine bits': ({ checkpoints }) => void checkpoints.writeUInt8(9, pointAt(1) + 16),
  'a first point that is not the first': ({ checkpoints }) => void checkpoints.writeBigInt64LE(7n, 12 + 8),
  'files that overlap': ({ files }) => void Object.assign(files[2] ?? {}, { offset: 600 }),
  'a file beyond the tar': ({ files }) => void Object.assign(files[6] ?? {}, { size: 2 ** 40 }),
  'an unknown type': ({ files }) => void Object.assign(files[1] ?? {}, { type: 'door' }),
  'a NUL in a name': ({ files }) => void Object.assign(files[1] ?? {}, { name: 'a\0b' }),
  'a name of 256 bytes': ({ files }) => void Object.assign(files[1] ?? {}, { name: 'x'.repeat(256) }),
  'the root as a file': ({ files }) => void Object.assign(files[1] ?? {}, { name: '/' }),
  'a link without a target': ({ files }) => void Object.assign(files[4] ?? {}, { linkName: '' }),
  'a time that is none': ({ files }) => void Object.assign(files[1] ?? {}, { time: 'yesterday' }),
  'an owner of 2^32 - 1': ({ files }) => void Object.assign(files[1] ?? {}, { uid: 2 ** 32 - 1 }),
  'a device number of 2^32': ({ files }) => void Object.assign(files[5] ?? {}, { rdev: [2 ** 32, 0] }),
  'a sparse file': ({ files }) =>
    void Object.assign(files[1] ?? {}, { records: [['GNU.sparse.major', Buffer.from('1')]] }),
};

function pointAt(index: number): number {
  return 12 + index * (17 + 32_768);
}

describe('B4: a hostile ztoc is refused', () => {
  test.each(Object.entries(BAD))('with %s', async (_, change) => {
    const layer = await made({ change });
    expect(() => read(layer)).toThrow(UnusableIndex);
  });

  test('with spans of a byte each, of a layer that is not compressed, before any of them is made', async () => {
    const { toc: plain } = await tocOfBlob(TAR);
    const size = 2 ** 50;
    const ztoc = ztocOf(plain, TAR, TAR, {
      change: (parts) => {
        Object.assign(parts, { algorithm: 2, checkpoints: plainZinfo(1), digests: [sha256Digest(TAR)] });
        Object.assign(parts, { compressedSize: size, uncompressedSize: size });
      },
    });
    const layer = { digest: sha256Digest(TAR), size, ztocDigest: sha256Digest(ztoc) };
    expect(() => readZtoc(ztoc, layer)).toThrow(/1 digests for 1125899906842624 spans/);
  });

  test('whose files all name one large record, when more was read than it has', async () => {
    const records = [['comment', Buffer.alloc(100_000)]] as const;
    const layer = await made({
      change: (parts) => {
        const [folder] = parts.files;
        if (folder !== undefined) parts.files = Array.from({ length: 100 }, () => ({ ...folder, records }));
      },
    });
    expect(() => read(layer)).toThrow(/again and again/);
  });

  test('cut anywhere, or with any byte of its tables changed, it is refused or reads as before', async () => {
    const layer = await made({ every: 1000, change: (parts) => void parts.files.splice(2) });
    // Tables and strings; what follows is windows, of which this one has the empty first.
    const { toc: whole } = read(layer);
    for (let at = 0; at < Math.min(layer.ztoc.length, 900); at += 1) {
      const cut = { ...layer, ztoc: layer.ztoc.subarray(0, at) };
      expect(() => read(cut), `cut at ${at}`).toThrow(UnusableIndex);
      for (const value of [0, 0xff, 0x80]) {
        const ztoc = Buffer.from(layer.ztoc);
        ztoc.writeUInt8(value, at);
        try {
          expect(read({ ...layer, ztoc }).toc.compressedSize).toBe(whole.compressedSize);
        } catch (error) {
          expect(error, `${value} at ${at}`).toBeInstanceOf(UnusableIndex);
        }
      }
    }
  });
});
