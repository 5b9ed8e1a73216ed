/** The stored form of a TOC (docs/TOC-FORMAT.md): nothing is lost, nothing damaged is believed. */
import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StoredFormError } from '../../src/layer/byte-reader.ts';
import { ByteWriter } from '../../src/layer/byte-writer.ts';
import { decodeToc } from '../../src/layer/decode-toc.ts';
import { encodeToc, sealToc } from '../../src/layer/encode-toc.ts';
import type { Entry, Toc } from '../../src/layer/toc.ts';
import { TOC_VERSION } from '../../src/layer/toc-format.ts';
import { type ByteString, uncompressed } from '../../src/units.ts';
import { sha256Hex } from '../support/digests.ts';
import { arbitraryToc, fixedToc, windowsFor } from '../support/made-toc.ts';

const SEED = 20_261_121;

function encoded(toc: Toc): Buffer {
  return encodeToc(sealToc(toc, windowsFor(toc)));
}

/** As an attacker or a bug would: other bytes, and a seal that fits them. */
function resealed(file: Buffer, change: (body: Buffer) => Buffer | void): Buffer {
  const body = Buffer.from(file.subarray(0, -32));
  const changed = change(body) ?? body;
  return Buffer.concat([changed, createHash('sha256').update(changed).digest()]);
}

function outcomeOf(file: Buffer): 'decoded' | 'refused' {
  try {
    decodeToc(file);
    return 'decoded';
  } catch (error) {
    if (error instanceof StoredFormError) return 'refused';
    throw error;
  }
}

describe('a stored TOC', () => {
  test('the stored format changed: raise TOC_VERSION and this sum', () => {
    const sum = sha256Hex(encoded(fixedToc()));
    expect({ length: encoded(fixedToc()).length, sum }).toEqual({
      length: 637,
      sum: 'e1a082fc6e2ac3b41f6862345cdeb4c7d0a8836918b55f25e70cbe19549b66ce',
    });
  });

  test('comes back as it was', () => {
    fc.assert(
      fc.property(arbitraryToc, (toc) => {
        const sealed = sealToc(toc, windowsFor(toc));
        expect(decodeToc(encodeToc(sealed))).toEqual(sealed);
      }),
      { numRuns: 300, seed: SEED },
    );
  });

  test('shares one map among entries whose xattrs are equal', () => {
    const { entries } = decodeToc(encoded(fixedToc())).toc;
    expect(entries[7]?.xattrs).toBe(entries[1]?.xattrs);
  });

  test('is refused after any change of a single byte', () => {
    const file = encoded(fixedToc());
    const believed: number[] = [];
    for (let at = 0; at < file.length; at++) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const damaged = Buffer.from(file);
        damaged[at] = (damaged[at] ?? 0) ^ flip;
        if (outcomeOf(damaged) === 'decoded') believed.push(at);
      }
    }
    expect(believed).toEqual([]);
  });

  test('is refused when cut at any byte, or with a byte too many', () => {
    const file = encoded(fixedToc());
    const believed = Array.from({ length: file.length }, (_, length) => length).filter(
      (length) => outcomeOf(file.subarray(0, length)) === 'decoded',
    );
    expect(believed).toEqual([]);
    expect(outcomeOf(Buffer.concat([file, Buffer.alloc(1)]))).toBe('refused');
  });

  test.each([0, TOC_VERSION + 1, 255, 0xffffffff])('of version %d is refused', (version) => {
    const file = resealed(encoded(fixedToc()), (body) => void body.writeUInt32LE(version, 8));
    expect(() => decodeToc(file)).toThrow(/version/);
  });

  test('with a good seal and changed bytes is refused or is a valid TOC, never a crash', () => {
    const file = encoded(fixedToc());
    for (let at = 0; at < file.length - 32; at++) {
      for (const value of [0x00, 0x7f, 0x80, 0xff]) {
        const damaged = resealed(file, (body) => void body.writeUInt8(value, at));
        if (outcomeOf(damaged) === 'decoded') expect(invariantsHold(decodeToc(damaged).toc)).toBe(true);
      }
    }
  });

  test('with a good seal and random bytes is refused', () => {
    fc.assert(
      fc.property(
        arbitraryToc,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        (toc, changes) => {
          const damaged = resealed(encoded(toc), (body) => {
            for (const [at, value] of changes) body[at % body.length] = value;
          });
          if (outcomeOf(damaged) === 'decoded') expect(invariantsHold(decodeToc(damaged).toc)).toBe(true);
        },
      ),
      { numRuns: 500, seed: SEED },
    );
  });

  test('that declares more than its bytes can hold is refused before anything is allocated', () => {
    const sections = (count: number): Buffer => {
      const huge = new ByteWriter();
      huge.number(count);
      const file = encoded({ ...fixedToc(), entries: [] });
      const body = Buffer.from(file.subarray(0, -33));
      const lengths = [0, 1, 2, 3].map((index) => body.readUInt32LE(16 + 4 * index));
      body.writeUInt32LE((lengths[3] ?? 0) - 1 + huge.length, 16 + 12);
      const all = Buffer.concat([body, huge.written()]);
      return Buffer.concat([all, createHash('sha256').update(all).digest()]);
    };
    expect(outcomeOf(sections(0))).toBe('decoded');
    for (const count of [1, 2 ** 31, 2 ** 52]) expect(outcomeOf(sections(count))).toBe('refused');
  });

  test('whose names come to more than the cap is refused, however few bytes say them', () => {
    const longest = 'd/'.repeat(2000);
    const [entry] = fixedToc().entries;
    if (entry === undefined) throw new Error('no entry');
    const entries = Array.from(
      { length: 1000 },
      (_, n): Entry => ({ ...entry, path: `${longest}${n}` as ByteString }),
    );
    const file = encoded({ ...fixedToc(), entries });
    expect(file.length / entries.length).toBeLessThan(20);
    const nameBytes = entries.reduce((sum, { path }) => sum + path.length, 0);
    expect(decodeToc(file, nameBytes).toc.entries).toHaveLength(1000);
    expect(() => decodeToc(file, nameBytes - 1)).toThrow(
      new StoredFormError(`paths and link targets of more than ${nameBytes - 1} bytes together`),
    );
    const link: Entry = { ...entry, path: 'l' as ByteString, type: 'symlink', target: longest as ByteString };
    const ofLinks = encoded({ ...fixedToc(), entries: [link, { ...link, path: 'm' as ByteString }] });
    expect(() => decodeToc(ofLinks, longest.length * 2)).toThrow('paths and link targets');
  });

  test('takes less than 40 bytes an entry, names included, for 100,000 entries of a common kind', () => {
    const entries = Array.from(
      { length: 100_000 },
      (_, n): Entry => ({
        path: `usr/share/package-${n >> 6}/file-${n}` as ByteString,
        type: n % 64 === 0 ? 'dir' : 'file',
        mode: n % 64 === 0 ? 0o755 : 0o644,
        uid: 1000,
        gid: 1000,
        size: n % 64 === 0 ? 0 : n,
        mtimeSec: 1_700_000_000 + n,
        mtimeNsec: 123_456_789,
        target: undefined,
        rdev: undefined,
        xattrs: undefined,
        dataOffset: uncompressed(n % 64 === 0 ? 0 : n * 200_000),
        sparse: undefined,
      }),
    );
    const toc = {
      ...fixedToc(),
      entries,
      uncompressedSize: 2 ** 45,
      spans: [{ ...spanOf(fixedToc()), end: uncompressed(2 ** 45) }],
    };
    const file = encoded(toc);
    expect(file.length / entries.length).toBeLessThan(40);
    expect(decodeToc(file).toc.entries).toEqual(entries);
  });

  test.each([
    ['a number that is no safe integer', -1],
    ['a fraction', 0.5],
    ['more than 2^53', 2 ** 53],
    ['no number', Number.NaN],
  ])('is not written from %s', (_what, value) => {
    expect(() => new ByteWriter().number(value)).toThrow(RangeError);
  });
});

function spanOf(toc: Toc): Toc['spans'][number] {
  const span = toc.spans[0];
  if (span === undefined) throw new Error('no span');
  return span;
}

/** Independent of the decoder's own check: what a reader would run into. */
function invariantsHold(toc: Toc): boolean {
  let end = 0;
  for (const span of toc.spans) {
    const checkpoint = toc.checkpoints[span.checkpoint];
    if (checkpoint === undefined || checkpoint.uncompressedOffset > span.start) return false;
    if (span.start !== end || span.end <= end || span.sha256.length !== 32) return false;
    if (span.compressedEnd > toc.compressedSize || span.compressedEnd < checkpoint.compressedOffset)
      return false;
    end = span.end;
  }
  if (end !== toc.uncompressedSize) return false;
  return toc.entries.every(
    (entry) =>
      entry.mode <= 0o7777 &&
      entry.mtimeNsec < 1e9 &&
      Number.isSafeInteger(entry.size) &&
      Number.isSafeInteger(entry.mtimeSec) &&
      entry.dataOffset +
        (entry.sparse?.reduce((sum, piece) => sum + piece.length, 0) ??
          (entry.type === 'file' ? entry.size : 0)) <=
        toc.uncompressedSize,
  );
}
