/** The TOC of a plain tar from its headers alone, held against the one of the pass over all of it. */
import { expect, test } from 'vitest';
import { buildToc } from '../../src/layer/build-toc.ts';
import { readHeaders } from '../../src/layer/header-pass.ts';
import type { Toc } from '../../src/layer/toc.ts';
import { UnusableIndex } from '../../src/layer/unusable-index.ts';
import { parseDigest } from '../../src/reference/digest.ts';
import type { ByteString, CompressedRange } from '../../src/units.ts';
import { sha256Digest } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { chunksOf, tocOfBlob } from '../support/layer-toc.ts';
import { randomNumbers } from '../support/random-numbers.ts';
import { base256, rawHeader } from '../support/raw-tar.ts';
import { type Member, writeTar } from '../support/tar-bytes.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const place = parseDigest(sha256Digest(Buffer.from('here')));

async function headersOf(
  blob: Buffer,
  ignoresRanges = false,
): Promise<{ toc: Toc; requests: readonly CompressedRange[]; bytes: number }> {
  const requests: CompressedRange[] = [];
  const { toc } = await readHeaders({
    digest: parseDigest(sha256Digest(blob)),
    size: blob.length,
    place,
    ignoresRanges: () => ignoresRanges,
    read: (range) => {
      requests.push(range);
      return Promise.resolve(blob.subarray(range.start, range.end));
    },
  });
  return { toc, requests, bytes: requests.reduce((sum, { start, end }) => sum + end - start, 0) };
}

/** All but what only the whole layer says. */
function shapeOf({ entries, checkpoints, spans, warnings, uncompressedSize, compression }: Toc): object {
  const cuts = spans.map(({ start, end, checkpoint, compressedEnd }) => [
    start,
    end,
    checkpoint,
    compressedEnd,
  ]);
  return { entries, checkpoints, cuts, warnings, uncompressedSize, compression };
}

const file = (name: string, size: number): Member => member(name, { content: Buffer.alloc(size, name) });

test('the entries and spans are those of the pass, whatever lies between the headers (E1)', async () => {
  const next = randomNumbers(4711);
  const below = (limit: number): number => Math.floor(next() * limit);
  for (let round = 0; round < 12; round += 1) {
    const members: Member[] = [member('d', { type: 'dir' })];
    const count = 1 + below(60);
    for (let at = 0; at < count; at += 1) {
      const size = below(4) === 0 ? below(3 * MIB) : below(20_000);
      members.push(file(`d/${'long-'.repeat(below(40))}${at}`, size));
      if (below(5) === 0) members.push(member(`d/link${at}`, { type: 'symlink', target: 't' as ByteString }));
    }
    const blob = Buffer.concat([writeTar(members).bytes, Buffer.alloc(below(2) * 700)]);
    const { toc } = await headersOf(blob);
    expect(shapeOf(toc)).toEqual(shapeOf((await tocOfBlob(blob)).toc));
    expect(toc.spans.every(({ sha256 }) => sha256.equals(Buffer.alloc(32)))).toBe(true);
  }
});

test('a large body costs a request and none of its bytes', async () => {
  const blob = writeTar(Array.from({ length: 40 }, (_, at) => file(`f${at}`, 1200 * KIB))).bytes;
  const { requests, bytes } = await headersOf(blob);
  expect(requests.length).toBeLessThanOrEqual(41);
  expect(bytes).toBeLessThanOrEqual(41 * 64 * KIB);
});

test('small files cost no request each: they are read on, and no byte twice', async () => {
  const blob = writeTar(Array.from({ length: 2000 }, (_, at) => file(`f${at}`, 9000))).bytes;
  const { requests, bytes } = await headersOf(blob);
  expect(requests.length).toBeLessThanOrEqual(12);
  expect(bytes).toBeLessThanOrEqual(blob.length);
});

test('never more requests than the layer has MiB, and a few, though each body is as long as it hurts', async () => {
  for (const size of [64 * KIB, 256 * KIB, 1023 * KIB, 1024 * KIB, 1100 * KIB]) {
    const blob = writeTar(Array.from({ length: 30 }, (_, at) => file(`f${at}`, size))).bytes;
    const { requests, bytes } = await headersOf(blob);
    expect(requests.length).toBeLessThanOrEqual(blob.length / MIB + 8);
    expect(bytes).toBeLessThanOrEqual(blob.length);
  }
});

test('what cannot be read so is refused, and left to the pass', async () => {
  const blob = writeTar([file('a', 2 * MIB), file('b', 2 * MIB)]).bytes;
  const refusal = async (bytes: Buffer, ignoresRanges = false): Promise<string> => {
    const error: unknown = await headersOf(bytes, ignoresRanges).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UnusableIndex);
    return (error as Error).message;
  };
  expect(await refusal(blob, true)).toContain('no part of it without the rest');
  expect(await refusal(Buffer.concat([Buffer.from([0x1f, 0x8b]), blob.subarray(2)]))).toContain('plain tar');
  const broken = Buffer.from(blob);
  broken.fill(0x7f, 2 * MIB + 512, 2 * MIB + 1024);
  expect(await refusal(broken)).toContain('wrong checksum');
  const cut = blob.subarray(0, 3 * MIB);
  expect(await refusal(cut)).toContain('ends beyond it');
  const endless = Buffer.concat([rawHeader({ name: 'x', size: 2 ** 32 }), blob]);
  expect(await refusal(endless)).toContain('ends beyond it');
  const inside = Buffer.concat([blob.subarray(0, -1024), rawHeader({ name: 'c', size: 1000 })]);
  expect(await refusal(inside)).toContain('ends inside the data of a member');
});

/** A layer that a registry makes up as it is asked: one member up to its end. */
async function outcomeOfSize(size: number): Promise<Toc | string> {
  const header = rawHeader({ name: 'x', size: base256(BigInt(size - 512), 12) });
  const layer = { digest: place, size, place, ignoresRanges: () => false };
  const read = ({ start, end }: CompressedRange): Promise<Buffer> => {
    const bytes = Buffer.alloc(end - start);
    if (start === 0) bytes.set(header);
    return Promise.resolve(bytes);
  };
  const found: unknown = await readHeaders({ ...layer, read }).catch((error: unknown) => error);
  if (found instanceof UnusableIndex) return found.message;
  if (found instanceof Error) throw found;
  return (found as { toc: Toc }).toc;
}

test('a size that is merely claimed takes no memory for its spans (B4)', async () => {
  for (const size of [2 ** 39, 2 ** 44, 2 ** 50]) expect(await outcomeOfSize(size)).toContain('at most');
  expect(await outcomeOfSize(2 ** 30)).toMatchObject({ uncompressedSize: 2 ** 30 });
});

test('of a damaged tar it says what the pass says, or is refused where that is (B1, B4)', async () => {
  const next = randomNumbers(815);
  const below = (limit: number): number => Math.floor(next() * limit);
  // Bodies of zeros: who lands in one has found the end of the tar.
  const empty = (name: string, size: number): Member => member(name, { content: Buffer.alloc(size) });
  const members = [empty('a', 700), empty('n'.repeat(150), 3000), empty('b', 1100 * KIB), empty('c', 10)];
  const { bytes, dataOffsets } = writeTar(members);
  let refused = 0;
  for (let round = 0; round < 400; round += 1) {
    const blob = Buffer.from(bytes);
    for (let change = 0; change <= below(3); change += 1) {
      // Where it matters: the headers, at the end of which the bodies begin.
      const at = (dataOffsets[below(members.length)] ?? 0) - 512;
      if (below(6) === 0) blob.writeUInt8(below(256), at + below(512));
      else blob.set(rawHeader({ name: `x${below(9)}`, size: below(8) * 512 }), at);
    }
    const passed = await tocOfBlob(blob).catch(() => undefined);
    const read = await headersOf(blob).catch((error: unknown) => {
      if (error instanceof UnusableIndex) return undefined;
      throw error;
    });
    expect(read && shapeOf(read.toc)).toEqual(passed && shapeOf(passed.toc));
    refused += passed === undefined ? 1 : 0;
  }
  expect(refused).toBeGreaterThan(50);
  expect(refused).toBeLessThan(350);
});

test('the layer of a forged header chain is another one to the pass', async () => {
  const blob = Buffer.from(writeTar([file('a', 2 * MIB), file('b', 2 * MIB)]).bytes);
  const digest = parseDigest(sha256Digest(blob));
  // The size of the first body leads into it, where another member waits.
  const inner = writeTar([member('evil', { content: Buffer.from('x') })]).bytes;
  blob.set(inner, 512 + 1024);
  blob.set(rawHeader({ name: 'a', size: 1024 }), 0);
  const { toc } = await headersOf(blob);
  expect(toc.entries.map(({ path }) => path)).toContain('evil');
  await expect(buildToc(chunksOf(blob), { digest, size: blob.length })).rejects.toThrow('digest');
});
