/** From a blob to its TOC: what is proved on the way, what is reported when it is not, what is left behind. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { PeelError } from '../../src/errors.ts';
import { buildToc } from '../../src/layer/build-toc.ts';
import type { Toc } from '../../src/layer/toc.ts';
import { TocBuilder } from '../../src/layer/toc-builder.ts';
import type { Digest } from '../../src/units.ts';
import { sha256Digest } from '../support/digests.ts';
import { imagesDir } from '../support/images.ts';
import { chunksOf, contentOf, tocOfBlob } from '../support/layer-toc.ts';
import { frameOf, paxMember, type RawHeader, rawHeader, rawMember, tarOf } from '../support/raw-tar.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const makeDir = useTempDirs();

/** A few MB of real files, as GNU tar packs them. */
function realTar(): Buffer {
  const tar = path.join(makeDir(), 'tar');
  execFileSync('tar', ['-C', '/usr/include', '-cf', tar, 'linux', 'asm-generic'], { timeout: 30_000 });
  return readFileSync(tar);
}

function expectedOf(blob: Uint8Array, change: { digest?: Digest; size?: number; diffID?: Digest } = {}) {
  return { digest: sha256Digest(blob), size: blob.length, ...change };
}

async function failureOf(promise: Promise<unknown>): Promise<PeelError> {
  const error: unknown = await promise.then(
    () => new Error('it succeeded'),
    (e: unknown) => e,
  );
  if (!(error instanceof PeelError)) throw error;
  return error;
}

const small = tarOf(
  rawMember({ name: 'etc/hostname' }, Buffer.from('peel\n')),
  rawMember({ name: 'd/', type: '5' }),
);

describe('buildToc', () => {
  test.each([
    ['plain', (tar: Buffer) => tar],
    ['gzip', (tar: Buffer) => gzipSync(tar)],
    [
      'zstd',
      (tar: Buffer) =>
        execFileSync('zstd', ['-c', '-q'], { input: tar, maxBuffer: 2 ** 28, timeout: 30_000 }),
    ],
    [
      'gzip of several members',
      (tar: Buffer) =>
        Buffer.concat([gzipSync(tar.subarray(0, 100_001)), gzipSync(''), gzipSync(tar.subarray(100_001))]),
    ],
  ])(
    'of a real %s layer lists what GNU tar lists, with digests and spans that hold',
    async (_kind, compress) => {
      const tar = realTar();
      const blob = compress(tar);
      const progress: number[] = [];
      const { toc, windows } = await buildToc(
        chunksOf(blob, 16_384),
        expectedOf(blob, { diffID: sha256Digest(tar) }),
        {
          onProgress: (bytes) => progress.push(bytes),
        },
      );
      expect(toc.digest).toBe(sha256Digest(blob));
      expect(toc.diffID).toBe(sha256Digest(tar));
      expect(toc.compressedSize).toBe(blob.length);
      expect(toc.uncompressedSize).toBe(tar.length);
      expect(progress.at(-1)).toBe(blob.length);
      expect(progress).toEqual([...progress].sort((a, b) => a - b));
      const listed = execFileSync('tar', ['-tf', '-'], { input: tar, maxBuffer: 2 ** 26, timeout: 30_000 });
      const names = listed
        .toString('latin1')
        .split('\n')
        .filter((line) => line !== '');
      expect(toc.entries.map((entry) => entry.path)).toEqual(names.map((name) => name.replace(/\/$/, '')));
      const file = toc.entries.find((entry) => entry.path === 'linux/kernel.h');
      if (file === undefined) throw new Error('linux/kernel.h is not there');
      expect(contentOf(tar, file)).toEqual(readFileSync('/usr/include/linux/kernel.h'));
      expectSpansToHold(toc, tar);
      const end = Math.max(0, ...toc.checkpoints.map((c) => c.windowOffset + c.windowLength));
      expect(windows).toHaveLength(end);
    },
  );

  test.each([1, 7, 511, 512, 513, 10_000])(
    'gives the same TOC from chunks of %d bytes',
    async (chunkSize) => {
      const blob = gzipSync(small);
      expect((await tocOfBlob(blob, chunkSize)).toc).toEqual((await tocOfBlob(blob)).toc);
    },
  );

  test('of an empty blob is empty', async () => {
    const { toc } = await tocOfBlob(Buffer.alloc(0));
    expect(toc).toMatchObject({ entries: [], spans: [], uncompressedSize: 0, compression: 'none' });
  });

  test('verifies a sha512 digest, and keeps it as the name of the layer', async () => {
    const digest = `sha512:${createHash('sha512').update(small).digest('hex')}` as Digest;
    expect((await buildToc(chunksOf(small), expectedOf(small, { digest }))).toc.digest).toBe(digest);
    const wrong = `sha512:${'0'.repeat(128)}` as Digest;
    const error = await failureOf(buildToc(chunksOf(small), expectedOf(small, { digest: wrong })));
    expect(error.code).toBe('ERR_DIGEST_MISMATCH');
  });

  test('refuses a digest of an algorithm that nobody can verify', async () => {
    const error = await failureOf(
      buildToc(chunksOf(small), expectedOf(small, { digest: 'md5:00' as Digest })),
    );
    expect(error.code).toBe('ERR_UNSUPPORTED');
  });
});

function expectSpansToHold(toc: Toc, tar: Buffer): void {
  let end = 0;
  for (const span of toc.spans) {
    expect(span.start).toBe(end);
    expect(createHash('sha256').update(tar.subarray(span.start, span.end)).digest()).toEqual(span.sha256);
    expect(toc.checkpoints[span.checkpoint]?.uncompressedOffset).toBeLessThanOrEqual(span.start);
    end = span.end;
  }
  expect(end).toBe(tar.length);
}

describe('buildToc reports ERR_DIGEST_MISMATCH naming both sides', () => {
  test('E143: other bytes of the same length', async () => {
    const wanted = sha256Digest(Buffer.from('something else'));
    const error = await failureOf(buildToc(chunksOf(small), expectedOf(small, { digest: wanted })));
    expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH', facts: { layer: wanted } });
    expect(error.message).toContain(wanted);
    expect(error.message).toContain(sha256Digest(small));
  });

  test('E145: another diffID', async () => {
    const blob = gzipSync(small);
    const diffID = sha256Digest(Buffer.from('another tar'));
    const error = await failureOf(buildToc(chunksOf(blob), expectedOf(blob, { diffID })));
    expect(error.code).toBe('ERR_DIGEST_MISMATCH');
    expect(error.message).toContain(diffID);
    expect(error.message).toContain(sha256Digest(small));
  });

  test('E144: fewer bytes than the descriptor says, also where the cut breaks the compression', async () => {
    const blob = gzipSync(small);
    const error = await failureOf(buildToc(chunksOf(blob.subarray(0, -20)), expectedOf(blob)));
    expect(error.code).toBe('ERR_DIGEST_MISMATCH');
    expect(error.message).toContain(`want ${blob.length}`);
  });

  test('E144: more bytes, and stops at once', async () => {
    let served = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) {
        served += 65_536;
        yield Buffer.alloc(65_536);
      }
    }
    const error = await failureOf(buildToc(endless(), { digest: sha256Digest(small), size: 100_000 }));
    expect(error.code).toBe('ERR_DIGEST_MISMATCH');
    expect(served).toBeLessThan(4_000_000);
  });

  test('F14: one bit flipped anywhere, also where it breaks compression or headers first', async () => {
    const blob = gzipSync(small);
    const codes = new Set<string>();
    for (let at = 0; at < blob.length; at++) {
      const flipped = Buffer.from(blob);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8));
      codes.add((await failureOf(buildToc(chunksOf(flipped, 50), expectedOf(blob)))).code);
    }
    expect([...codes]).toEqual(['ERR_DIGEST_MISMATCH']);
  });
});

describe('buildToc names layer and offset', () => {
  const rows: readonly (readonly [string, Buffer, number | undefined])[] = [
    [
      'E95: a wrong checksum',
      tarOf(rawMember({ name: 'a' }), rawMember({ name: 'b', checksum: '0000001\0' })),
      512,
    ],
    ['E93: a negative size', tarOf(rawMember({ size: '-0000000010\0' })), 0],
    ['E83: a malformed record', tarOf(rawMember({ type: 'x' }, Buffer.from('junk')), rawMember({})), 0],
    ['E111: an end inside a header', tarOf(rawMember({ name: 'a' })).subarray(0, 700), 512],
    ['E111: an end inside data', rawMember({ name: 'a' }, Buffer.alloc(600)).subarray(0, 1000), 0],
    [
      'E111: one zero block, then data',
      Buffer.concat([rawMember({}), Buffer.alloc(512), rawMember({})]),
      1024,
    ],
    ['E62: a header that means nothing', tarOf(rawMember({ name: 'ok' }), rawMember({ name: '/' })), 512],
  ];
  test.each(rows)('%s', async (_case, tar, offset) => {
    for (const blob of [tar, gzipSync(tar)]) {
      const error = await failureOf(tocOfBlob(blob));
      expect(error).toMatchObject({
        code: 'ERR_LAYER_INVALID',
        facts: { layer: sha256Digest(blob), offset },
      });
      expect(error.message).toContain(sha256Digest(blob));
    }
  });

  test('E114: a layer that was published cut off, or with a wrong checksum of its data', async () => {
    const blob = gzipSync(small);
    const badSum = Buffer.from(blob);
    badSum[blob.length - 8] = (badSum[blob.length - 8] ?? 0) ^ 1;
    for (const broken of [blob.subarray(0, -20), blob.subarray(0, -1), badSum]) {
      const error = await failureOf(tocOfBlob(broken));
      expect(error).toMatchObject({ code: 'ERR_LAYER_INVALID', facts: { layer: sha256Digest(broken) } });
    }
  });

  test('more entries than the cap', () => {
    const builder = new TocBuilder({ maxEntries: 2 });
    const frame = frameOf(rawHeader());
    builder.add([frame, frame]);
    expect(() => builder.add([frame])).toThrow(expect.objectContaining({ code: 'ERR_LIMIT_EXCEEDED' }));
  });

  test('paths and link targets that come to more than the cap', () => {
    const long = frameOf(rawHeader({ name: 'n'.repeat(90), type: '2', link: 't'.repeat(90) }));
    const builder = new TocBuilder({ maxNameBytes: 500 });
    builder.add([long, long]);
    expect(() => builder.add([long])).toThrow(
      expect.objectContaining({
        code: 'ERR_LIMIT_EXCEEDED',
        message: expect.stringContaining('paths and link targets of more than 500 bytes') as string,
        facts: { offset: 4096 },
      }),
    );
  });

  test('E84: an extended header beyond 1 MiB', async () => {
    const header = rawHeader({ type: 'x', size: 2 ** 20 + 1 });
    const error = await failureOf(
      tocOfBlob(Buffer.concat([header, Buffer.alloc(2 ** 20 + 512), Buffer.alloc(1024)])),
    );
    expect(['ERR_LAYER_INVALID', 'ERR_LIMIT_EXCEEDED']).toContain(error.code);
    expect(error.facts).toMatchObject({ offset: 0 });
  });

  test('E116: a layer in lz4 is refused by name', async () => {
    const error = await failureOf(
      tocOfBlob(Buffer.concat([Buffer.from('04224d18', 'hex'), Buffer.alloc(600)])),
    );
    expect(error.code).toBe('ERR_UNSUPPORTED');
    expect(error.message).toContain('lz4');
  });
});

describe('buildToc accepts', () => {
  const rows: readonly (readonly [string, Buffer, readonly string[]])[] = [
    [
      'E94: a checksum of signed bytes',
      tarOf(rawMember({ name: 'caf\xe9', isSumSigned: true })),
      ['caf\xe9'],
    ],
    ['E111: no end marker at all', rawMember({ name: 'a' }), ['a']],
    [
      'E111: one zero block, then the end',
      Buffer.concat([rawMember({ name: 'a' }), Buffer.alloc(512)]),
      ['a'],
    ],
    ['E111: an end inside padding', rawMember({ name: 'a' }, Buffer.from('abc')).subarray(0, 600), ['a']],
    [
      'E112: a second tar after the end marker, which is not read',
      Buffer.concat([tarOf(rawMember({ name: 'a' })), tarOf(rawMember({ name: 'b' }))]),
      ['a'],
    ],
    [
      'E112: junk after the end marker',
      Buffer.concat([tarOf(rawMember({ name: 'a' })), Buffer.from('junk')]),
      ['a'],
    ],
    [
      'E102: members that are no files, and what follows them',
      tarOf(
        rawMember({ name: 'd', type: 'D' }, Buffer.alloc(700, 1)),
        rawMember({ name: 'v', type: 'V' }),
        rawMember({ name: 'b' }),
      ),
      ['b'],
    ],
    [
      'E103: a directory with a size, and what follows it',
      tarOf(rawHeader({ name: 'd/', type: '5', size: 5 }), rawMember({ name: 'b' })),
      ['d', 'b'],
    ],
    [
      'E81: a PAX size, and what follows its payload',
      tarOf(
        paxMember([['size', '3']]),
        rawMember({ name: 'a', size: 0 }, Buffer.from('abc')),
        rawMember({ name: 'b' }),
      ),
      ['a', 'b'],
    ],
  ];
  test.each(rows)('%s', async (_case, tar, names) => {
    for (const blob of [tar, gzipSync(tar)]) {
      const { toc } = await tocOfBlob(blob);
      expect(toc.entries.map((entry) => entry.path)).toEqual(names);
      expect(toc.diffID).toBe(sha256Digest(tar));
    }
  });

  test('E113: bytes after the last gzip member, with a warning', async () => {
    const { toc } = await tocOfBlob(Buffer.concat([gzipSync(small), Buffer.from('garbage')]));
    expect(toc.entries).toHaveLength(2);
    expect(toc.warnings.join('\n')).toMatch(/7 bytes after the end/);
  });

  test('E102: any number of skipped members, with a bounded number of warnings', async () => {
    const skipped: RawHeader = { type: 'V' };
    const { toc } = await tocOfBlob(tarOf(...Array.from({ length: 500 }, () => rawMember(skipped))));
    expect(toc.warnings).toHaveLength(101);
    expect(toc.warnings.at(-1)).toContain('400');
  });
});

describe('buildToc lets go of its input', () => {
  test('when the caller aborts', async () => {
    const controller = new AbortController();
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    async function* stalled(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          yield small;
          controller.abort(new PeelError('ERR_INTERRUPTED', 'enough'));
        }
      } finally {
        end();
      }
    }
    const error = await failureOf(
      buildToc(stalled(), { digest: sha256Digest(small), size: 2 ** 40 }, { signal: controller.signal }),
    );
    expect(error.code).toBe('ERR_INTERRUPTED');
    await ended;
  });

  test('when the source fails, whose error passes unchanged', async () => {
    const failure = new PeelError('ERR_REGISTRY_UNREACHABLE', 'connection reset');
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield small;
      throw failure;
    }
    expect(await failureOf(buildToc(failing(), { digest: sha256Digest(small), size: 2 ** 20 }))).toBe(
      failure,
    );
  });

  test('when the layer is broken and the source then fails: the layer cannot be judged', async () => {
    const failure = new PeelError('ERR_DEADLINE', 'no byte for 60 s');
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(300_000, 1);
      throw failure;
    }
    expect(await failureOf(buildToc(failing(), { digest: sha256Digest(small), size: 2 ** 20 }))).toBe(
      failure,
    );
  });
});

describe.skipIf(imagesDir() === undefined)('real layers', () => {
  test('alpine 3.20.3: as many members as GNU tar counts', async () => {
    const folder = path.join(imagesDir() ?? '', 'layers');
    const files = execFileSync('find', [folder, '-name', '*.tar.gz', '-size', '-8M'], {
      encoding: 'utf8',
      timeout: 10_000,
    })
      .split('\n')
      .filter(Boolean);
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) {
      const blob = readFileSync(file);
      const { toc } = await tocOfBlob(blob);
      const listed = execFileSync('tar', ['-tzf', file], {
        encoding: 'latin1',
        timeout: 20_000,
        maxBuffer: 2 ** 26,
      });
      expect(toc.entries).toHaveLength(listed.split('\n').filter(Boolean).length);
      expect(toc.diffID).toBe(sha256Digest(gunzipSync(blob)));
    }
  });
});
