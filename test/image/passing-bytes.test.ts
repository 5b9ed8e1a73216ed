/** Bytes on their way from a pass over a layer to the one who reads them: nothing lost, nothing piled up, nobody stuck. */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { PassingBytes } from '../../src/image/passing-bytes.ts';
import { type UncompressedRange, uncompressed } from '../../src/units.ts';

const MiB = 1024 ** 2;
const tar = randomBytes(20 * MiB);

function rangeOf(start: number, end: number): UncompressedRange {
  return { start: uncompressed(start), end: uncompressed(end) };
}

/** The bytes of the tar as a pass hands them over. */
const part = (start: number, end: number) => ({ start, bytes: tar.subarray(start, end) });

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const turn = new Promise((resolve) => setImmediate(resolve, 'pending'));
  return (await Promise.race([promise.then(() => 'settled'), turn])) === 'settled';
}

describe('PassingBytes', () => {
  test('gives a reader exactly the range, however the parts are cut', async () => {
    const passing = new PassingBytes(rangeOf(1000, 6 * MiB));
    const feed = async (): Promise<void> => {
      for (let at = 0; at < 8 * MiB; at += 777_777) await passing.take(part(at, at + 777_777));
    };
    const fed = feed();
    const read: Buffer[] = [];
    for (let at = 1000; at < 6 * MiB; at += 300_001) {
      const bytes = await passing.read(rangeOf(at, Math.min(at + 300_001, 6 * MiB)), undefined);
      if (bytes === undefined) throw new Error('not there');
      read.push(bytes);
    }
    await fed;
    expect(Buffer.concat(read).equals(tar.subarray(1000, 6 * MiB))).toBe(true);
    expect(passing.isOver).toBe(true);
  });

  test('lets the pass wait while a few MiB are unread, until they are read or nobody wants them', async () => {
    const passing = new PassingBytes(rangeOf(0, 20 * MiB));
    await passing.take(part(0, 3 * MiB));
    const second = passing.take(part(3 * MiB, 6 * MiB));
    expect(await isSettled(second)).toBe(false);
    expect((await passing.read(rangeOf(0, 10), undefined))?.length).toBe(10);
    expect(await isSettled(second)).toBe(true);
    const third = passing.take(part(6 * MiB, 12 * MiB));
    expect(await isSettled(third)).toBe(false);
    passing.end();
    expect(await isSettled(third)).toBe(true);
  });

  test('skips what lies before the reader, and holds nothing of it', async () => {
    const passing = new PassingBytes(rangeOf(0, 20 * MiB));
    const read = passing.read(rangeOf(19 * MiB, 20 * MiB), undefined);
    for (let at = 0; at < 20 * MiB; at += MiB) await passing.take(part(at, at + MiB));
    expect((await read)?.equals(tar.subarray(19 * MiB))).toBe(true);
  });

  test('gives a failed pass to the reader, now and later', async () => {
    const passing = new PassingBytes(rangeOf(0, MiB));
    await passing.take(part(0, 1000));
    const read = passing.read(rangeOf(0, 2000), undefined);
    passing.end(new Error('wrong bytes'));
    await expect(read).rejects.toThrow('wrong bytes');
    await expect(passing.read(rangeOf(0, 10), undefined)).rejects.toThrow('wrong bytes');
  });

  test('sends whoever reads backwards, or what does not come, to the proved layer', async () => {
    const passing = new PassingBytes(rangeOf(0, 9 * MiB));
    const taken = passing.take(part(0, 9 * MiB));
    await passing.read(rangeOf(100, 200), undefined);
    expect(await passing.read(rangeOf(0, 10), undefined)).toBeUndefined();
    expect(await isSettled(taken)).toBe(true);

    const short = new PassingBytes(rangeOf(0, MiB));
    const read = short.read(rangeOf(0, MiB), undefined);
    short.end();
    expect(await read).toBeUndefined();
  });

  test('lets go of a reader who is interrupted', async () => {
    const passing = new PassingBytes(rangeOf(0, MiB));
    const interrupt = new AbortController();
    const read = passing.read(rangeOf(0, MiB), interrupt.signal);
    interrupt.abort();
    await expect(read).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    await passing.take(part(0, MiB));
    expect((await passing.read(rangeOf(0, 5), undefined))?.equals(tar.subarray(0, 5))).toBe(true);
  });
});
