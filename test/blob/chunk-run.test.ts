/** Reads by the index of a layer: any range, from any place, whatever lies between the chunks. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Toc } from '../../src/layer/toc.ts';
import { uncompressed } from '../../src/units.ts';
import { type ChunkedLayerOptions, chunkedLayer } from '../support/chunked-layer.ts';
import { member } from '../support/image-layout.ts';
import { ownTocOf, readerOf, spaceOf } from '../support/own-toc.ts';
import { madeBytes } from './made-toc.ts';

const FILES = [100, 70_000, 1, 5000, 200_000, 0, 33_333, 12].map((size, index) =>
  member(`file-${index}`, { content: madeBytes(size, index + 1) }),
);
const SPACE = Buffer.concat(FILES.map(({ content }) => content ?? Buffer.alloc(0)));

async function made(options: ChunkedLayerOptions): Promise<{ toc: Toc; blob: Buffer }> {
  const layer = chunkedLayer(FILES, options);
  const { toc } = await ownTocOf(layer);
  if (toc === undefined) throw new Error('no index was found');
  return { toc, blob: layer.blob };
}

/** The same numbers each time. */
function* numbers(seed: number): Generator<number, never> {
  for (let at = 0; ; at += 4) {
    yield createHash('sha256').update(`${seed} ${at}`).digest().readUInt32LE(0);
  }
}

describe.each([
  ['estargz', 1],
  ['estargz', 3],
  ['estargz', 1000],
  ['zstd-chunked', 1],
  ['zstd-chunked', 4],
] as const)('%s, %d chunks a member', (format, chunksPerMember) => {
  test('the files follow each other in the uncompressed space', async () => {
    const { toc, blob } = await made({ format, chunksPerMember, chunkSize: 20_000 });
    expect((await spaceOf(toc, blob)).equals(SPACE)).toBe(true);
  });

  test('300 ranges at random, nothing remembered, are right', async () => {
    const { toc, blob } = await made({ format, chunksPerMember, chunkSize: 20_000 });
    const { reader } = readerOf(toc, blob, 0);
    const random = numbers(chunksPerMember);
    for (let round = 0; round < 300; round += 1) {
      const start = random.next().value % SPACE.length;
      const length = 1 + (random.next().value % Math.min(90_000, SPACE.length - start));
      const bytes = await reader.read({ start: uncompressed(start), end: uncompressed(start + length) });
      expect(bytes.equals(SPACE.subarray(start, start + length)), `${start}+${length}`).toBe(true);
    }
    expect(reader.stats.badSpans).toBe(0);
    await reader.close();
  });

  test('whatever pieces the bytes come in, they come once and are right', async () => {
    const { toc, blob } = await made({ format, chunksPerMember, chunkSize: 20_000 });
    for (const pieceBytes of [97, 1000, 4099, 65_536]) {
      const { reader, requests } = readerOf(toc, blob, undefined, undefined, pieceBytes);
      const all = await reader.read({ start: uncompressed(0), end: uncompressed(SPACE.length) });
      expect(all.equals(SPACE)).toBe(true);
      expect([requests.length, reader.stats.badSpans]).toEqual([1, 0]);
      await reader.close();
    }
  });

  test('40 readers at once get what they asked for', async () => {
    const { toc, blob } = await made({ format, chunksPerMember, chunkSize: 7000 });
    const { reader } = readerOf(toc, blob);
    const random = numbers(99);
    const reads = Array.from({ length: 40 }, async () => {
      const start = random.next().value % SPACE.length;
      const end = Math.min(SPACE.length, start + 1 + (random.next().value % 50_000));
      const bytes = await reader.read({ start: uncompressed(start), end: uncompressed(end) });
      return bytes.equals(SPACE.subarray(start, end));
    });
    expect(await Promise.all(reads)).toEqual(Array.from({ length: 40 }, () => true));
    await reader.close();
  });
});

test('neighbours come with one request, a chunk alone with no more than its member', async () => {
  const { toc, blob } = await made({ format: 'estargz', chunkSize: 20_000 });
  const whole = readerOf(toc, blob);
  await whole.reader.read({ start: uncompressed(0), end: uncompressed(SPACE.length) });
  expect(whole.requests).toHaveLength(1);
  const one = readerOf(toc, blob);
  await one.reader.read({ start: uncompressed(100), end: uncompressed(101) });
  const [span] = toc.spans.filter(({ start }) => start === 100);
  const checkpoint = toc.checkpoints[span?.checkpoint ?? -1];
  expect(one.requests).toEqual([{ start: checkpoint?.compressedOffset, end: span?.compressedEnd }]);
  await Promise.all([whole.reader.close(), one.reader.close()]);
});

test.each([1, 4, 1000])(
  'E133: a chunk with a wrong digest fails alone (%d a member)',
  async (chunksPerMember) => {
    const layer = chunkedLayer(FILES, {
      format: 'estargz',
      chunkSize: 20_000,
      chunksPerMember,
      change: ({ entries }) => {
        const wrong = entries.find(({ chunkOffset }) => chunkOffset === 20_000);
        Object.assign(wrong ?? {}, { chunkDigest: `sha256:${'0'.repeat(64)}` });
      },
    });
    const { toc } = await ownTocOf(layer);
    if (toc === undefined) throw new Error('no index was found');
    const { reader } = readerOf(toc, layer.blob, 0);
    for (const [index, { start, end }] of toc.spans.entries()) {
      const read = reader.read({ start, end });
      // file-0 has one chunk, the second of file-1 is the wrong one.
      if (index === 2) await expect(read).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
      else expect((await read).equals(SPACE.subarray(start, end)), `span ${index}`).toBe(true);
    }
    // All at once: the others still come.
    const all = readerOf(toc, layer.blob);
    const reads = await Promise.allSettled(
      toc.spans.map(({ start, end }) => all.reader.read({ start, end })),
    );
    expect(reads.flatMap(({ status }, index) => (status === 'rejected' ? [index] : []))).toEqual([2]);
    await Promise.all([reader.close(), all.reader.close()]);
  },
);

test('a member that does not decompress fails its chunks, and no others', async () => {
  const { toc, blob } = await made({ format: 'estargz', chunkSize: 20_000, chunksPerMember: 3 });
  const at = toc.checkpoints[1]?.compressedOffset ?? 0;
  // A block of the reserved type.
  const broken = Buffer.from(blob);
  broken.writeUInt8(0x07, at + 10);
  const { reader } = readerOf(toc, broken);
  for (const { start, end, checkpoint } of toc.spans) {
    const read = reader.read({ start, end });
    if (checkpoint === 1) await expect(read).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    else expect((await read).equals(SPACE.subarray(start, end))).toBe(true);
  }
  await reader.close();
});
