/**
 * Random and mutated tars (FAULTS B1): each ends in a documented error or in entries that hold what they promise.
 * Those made by hand are in test/hostile/made.
 */
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PeelError } from '../../src/errors.ts';
import { decodeFrame } from '../../src/layer/header.ts';
import { tocOfBlob } from '../support/layer-toc.ts';
import {
  frameOf,
  GNU,
  longMember,
  paxMember,
  paxRecord,
  rawHeader,
  rawMember,
  tarOf,
  USTAR,
  V7,
} from '../support/raw-tar.ts';

const SEED = 20_261_121;

/** The code of the error, or what the entries are. */
async function outcomeOf(blob: Buffer): Promise<string | readonly string[]> {
  try {
    const { toc } = await tocOfBlob(blob);
    return toc.entries.map((entry) => `${entry.type} ${entry.path} ${entry.size}`);
  } catch (error) {
    if (error instanceof PeelError) return error.code;
    throw error;
  }
}

const file = (name: string, content = '') => rawMember({ name }, Buffer.from(content));

describe('B1: a hostile tar', () => {
  test('of 100,000 members in a few KiB of gzip is read in batches', async () => {
    const tar = tarOf(Buffer.concat(Array.from({ length: 100_000 }, () => rawHeader({ name: 'a' }))));
    const { toc } = await tocOfBlob(gzipSync(tar, { level: 9 }));
    expect(toc.entries).toHaveLength(100_000);
  });
});

describe('headers of random bytes', () => {
  const part = fc.record({
    kind: fc.constantFrom('x' as const, 'g' as const, 'L' as const, 'K' as const, 'S' as const, 'M' as const),
    data: fc
      .oneof(
        fc.uint8Array({ maxLength: 600 }),
        fc
          .array(
            fc.tuple(
              fc.constantFrom(
                'path',
                'linkpath',
                'size',
                'uid',
                'mtime',
                'GNU.sparse.major',
                'GNU.sparse.minor',
                'GNU.sparse.map',
                'GNU.sparse.numblocks',
                'GNU.sparse.offset',
                'SCHILY.xattr.user.a',
              ),
              fc.oneof(fc.string({ maxLength: 8 }), fc.nat().map(String)),
            ),
            { maxLength: 5 },
          )
          .map((records) => Buffer.concat(records.map(([key, value]) => paxRecord(key, value)))),
      )
      .map((bytes) => Buffer.from(bytes)),
  });
  const header = fc.oneof(
    fc.uint8Array({ minLength: 512, maxLength: 512 }),
    fc
      .tuple(
        fc.constantFrom(USTAR, GNU, V7),
        fc.constantFrom(...'\x0001234567Sxg'.split('')),
        fc.array(fc.tuple(fc.nat(511), fc.nat(255)), { maxLength: 8 }),
      )
      .map(([magic, type, changes]) => {
        const block = rawHeader({ magic, type, link: 'target' });
        for (const [at, value] of changes) block[at] = value;
        return block;
      }),
  );

  test('decode, or give a PeelError that names the offset, and nothing else', () => {
    let decoded = 0;
    fc.assert(
      fc.property(header, fc.array(part, { maxLength: 3 }), fc.nat(2000), (block, parts, storedSize) => {
        try {
          const entry = decodeFrame(
            frameOf(Buffer.from(block), { parts, storedSize: storedSize % 3 === 0 ? storedSize : 0 }),
          );
          decoded++;
          if ('path' in entry) {
            expect(entry.path).not.toMatch(/^\/|\/$|\/\/|(^|\/)\.\.?(\/|$)/);
            expect(entry.mode).toBeLessThanOrEqual(0o7777);
            expect([entry.size, entry.uid, entry.gid, entry.mtimeSec].every(Number.isSafeInteger)).toBe(true);
          }
        } catch (error) {
          if (!(error instanceof PeelError)) throw error;
          expect(error.facts).toMatchObject({ offset: 4096 });
        }
      }),
      { numRuns: 3000, seed: SEED },
    );
    // The generator would be of no use if nothing it made were valid.
    expect(decoded).toBeGreaterThan(100);
  });

  test('mutated whole tars end in entries or in a documented error', async () => {
    const seedTar = tarOf(
      paxMember([
        ['path', 'pax/name'],
        ['mtime', '1.5'],
        ['SCHILY.xattr.user.a', 'v'],
      ]),
      file('x', 'abc'),
      longMember('L', 'gnu/name'),
      file('y', 'abcd'),
      rawMember({ name: 'l', type: '2', link: 't' }),
    );
    const outcomes = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(seedTar.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        async (changes) => {
          const tar = Buffer.from(seedTar);
          for (const [at, value] of changes) tar[at] = value;
          fixChecksums(tar);
          const outcome = await outcomeOf(tar);
          outcomes.add(typeof outcome === 'string' ? outcome : 'entries');
        },
      ),
      { numRuns: 600, seed: SEED },
    );
    expect([...outcomes]).toEqual(expect.arrayContaining(['ERR_LAYER_INVALID', 'entries']));
    expect(['ERR_LAYER_INVALID', 'ERR_LIMIT_EXCEEDED', 'entries']).toEqual(
      expect.arrayContaining([...outcomes]),
    );
  });
});

/** Mutations should reach what lies behind the checksum. */
function fixChecksums(tar: Buffer): void {
  for (let at = 0; at + 512 <= tar.length; at += 512) {
    if (!tar.subarray(at + 257, at + 262).equals(Buffer.from('ustar'))) continue;
    tar.fill(' ', at + 148, at + 156);
    const sum = tar.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
    tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
  }
}
