/** What is kept of a layer around a file that passes. */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { PassedBytes } from '../../src/image/passed-bytes.ts';
import { uncompressed } from '../../src/units.ts';

const MiB = 1024 ** 2;
const tar = randomBytes(40 * MiB);
const PART = 700_000;

/** Parts from the start until nothing more is taken; the file is known when its first part passes. */
function keptAround(start: number, end: number): { start: number; bytes: Buffer } | undefined {
  const passed = new PassedBytes();
  for (let at = 0; at < tar.length && !passed.isComplete; at += PART) {
    passed.add({ start: at, bytes: tar.subarray(at, at + PART) });
    if (start >= at && start < at + PART) {
      passed.setFile({ start: uncompressed(start), end: uncompressed(end) });
    }
  }
  return passed.take();
}

describe('PassedBytes', () => {
  test.each([
    ['at the start', 0, 10],
    ['in the middle', 20 * MiB + 5, 20 * MiB + 50],
    ['of some parts', 9 * MiB, 14 * MiB],
    ['at the end', 40 * MiB - 10, 40 * MiB],
  ])('keeps a file %s and a MiB before and after, and little more', (_where, start, end) => {
    const kept = keptAround(start, end);
    if (kept === undefined) throw new Error('nothing was kept');
    const keptEnd = kept.start + kept.bytes.length;
    expect(kept.bytes.equals(tar.subarray(kept.start, keptEnd))).toBe(true);
    expect(kept.start).toBeLessThanOrEqual(Math.max(0, start - MiB));
    expect(keptEnd).toBeGreaterThanOrEqual(Math.min(tar.length, end + MiB));
    expect(kept.bytes.length).toBeLessThan(end - start + 2 * MiB + 3 * PART);
  });

  test('keeps nothing of a file that is too large for it, or where none was found', () => {
    expect(keptAround(0, 39 * MiB)).toBeUndefined();
    const passed = new PassedBytes();
    passed.add({ start: 0, bytes: tar });
    expect(passed.take()).toBeUndefined();
  });
});
