/** TOCs that no layer stands behind: random valid ones, and one fixed for golden bytes. */
import * as fc from 'fast-check';
import { OWN_INDEX_FORMATS, ownIndexKey } from '../../src/layer/own-index.ts';
import type { Checkpoint, Entry, EntryType, Span, SparsePiece, Toc } from '../../src/layer/toc.ts';
import { type ByteString, compressed, type Digest, uncompressed } from '../../src/units.ts';

const byteString = (minLength: number, maxLength: number): fc.Arbitrary<ByteString> =>
  fc.uint8Array({ minLength, maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1') as ByteString);

const digest: fc.Arbitrary<Digest> = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => `sha256:${Buffer.from(bytes).toString('hex')}` as Digest);

const size = fc.oneof(
  fc.nat(5000),
  fc.nat(2 ** 31 - 1),
  fc.maxSafeNat().map((n) => Math.floor(n / 1024)),
);

interface Piece {
  readonly hole: number;
  readonly length: number;
}

const entryShape = fc.record({
  path: fc.oneof(
    byteString(0, 40),
    byteString(0, 12).map((text) => `usr/share/doc/${text}` as ByteString),
  ),
  type: fc.constantFrom<EntryType>('file', 'dir', 'symlink', 'hardlink', 'char', 'block', 'fifo'),
  mode: fc.nat(0o7777),
  uid: fc.nat(2 ** 32 - 2),
  gid: fc.oneof(fc.nat(1000), fc.nat(2 ** 32 - 2)),
  size,
  mtimeSec: fc.oneof(fc.constantFrom(0, 1_700_000_000), fc.maxSafeInteger()),
  mtimeNsec: fc.oneof(fc.constant(0), fc.nat(999_999_999)),
  target: byteString(1, 30),
  rdev: fc.tuple(fc.nat(2 ** 32 - 1), fc.nat(2 ** 32 - 1)),
  xattrs: fc.option(
    fc.dictionary(
      fc.constantFrom('user.a', 'user.b', 'security.capability'),
      fc.uint8Array({ maxLength: 30 }),
      { minKeys: 1, noNullPrototype: true },
    ),
    { nil: undefined, freq: 3 },
  ),
  gap: fc.nat(1_000_000),
  pieces: fc.option(
    fc.array(fc.record({ hole: fc.nat(100_000), length: fc.integer({ min: 1, max: 100_000 }) }), {
      maxLength: 6,
    }),
    { nil: undefined, freq: 4 },
  ),
});

/** Valid by the invariants of `src/layer/toc.ts`; sizes and owners go to their limits. */
export const arbitraryToc: fc.Arbitrary<Toc> = fc
  .record({
    digest,
    diffID: digest,
    compression: fc.constantFrom('none' as const, 'gzip' as const, 'zstd' as const),
    shapes: fc.array(entryShape, { maxLength: 30 }),
    spans: fc.array(
      fc.record({
        compressed: fc.nat(300_000),
        uncompressed: fc.integer({ min: 1, max: 1_000_000 }),
        bits: fc.nat(7),
        window: fc.oneof(fc.constant(0), fc.nat(3000)),
        isOwn: fc.boolean(),
        sha256: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      }),
      { maxLength: 12 },
    ),
    warnings: fc.array(fc.string({ maxLength: 30 }), { maxLength: 3 }),
    index: fc.option(
      fc.record({ format: fc.constantFrom(...OWN_INDEX_FORMATS), digest, gap: fc.nat(1_000_000) }),
      { nil: undefined },
    ),
  })
  .map(({ shapes, spans: spanShapes, index, ...rest }) => {
    const { entries, end } = entriesOf(shapes);
    const { checkpoints, spans, compressedSize } = spansOf(spanShapes, end);
    const toc = {
      ...rest,
      entries,
      checkpoints,
      spans,
      compressedSize,
      uncompressedSize: spans.at(-1)?.end ?? 0,
    };
    if (index === undefined) return toc;
    const { format, digest: indexDigest, gap } = index;
    const key = ownIndexKey(format, toc.digest, compressedSize, indexDigest);
    const own = { format, digest: indexDigest, key };
    if (format === 'soci') {
      // What a span decompresses to is no part of it.
      const stored = { digests: spans.map(({ sha256 }) => sha256) };
      const unknown = spans.map((span) => ({ ...span, sha256: Buffer.alloc(32) }));
      return { ...toc, spans: unknown, diffID: undefined, own: { ...own, stored } };
    }
    if (format === 'peel' || format === 'headers') return { ...toc, diffID: undefined, own };
    const gaps = spans.map((_, at) => (gap * (at + 1)) % 700_000);
    return { ...toc, diffID: undefined, own: { ...own, gaps } };
  });

type Shape = typeof entryShape extends fc.Arbitrary<infer T> ? T : never;

function entriesOf(shapes: readonly Shape[]): { entries: Entry[]; end: number } {
  let offset = 0;
  const entries = shapes.map((shape): Entry => {
    const isFile = shape.type === 'file';
    const isLink = shape.type === 'symlink' || shape.type === 'hardlink';
    const sparse = isFile && shape.pieces !== undefined ? piecesOf(shape.pieces) : undefined;
    const last = sparse?.at(-1);
    const fileSize =
      sparse === undefined ? shape.size : last === undefined ? shape.size : last.offset + last.length;
    const stored = sparse === undefined ? fileSize : sparse.reduce((sum, piece) => sum + piece.length, 0);
    offset += isFile ? shape.gap : 0;
    const dataOffset = isFile ? offset : 0;
    offset += isFile ? stored : 0;
    return {
      path: shape.path,
      type: shape.type,
      mode: shape.mode,
      uid: shape.uid,
      gid: shape.gid,
      size: isFile ? fileSize : shape.type === 'symlink' ? shape.target.length : 0,
      mtimeSec: shape.mtimeSec,
      mtimeNsec: shape.mtimeNsec,
      target: isLink ? shape.target : undefined,
      rdev: shape.type === 'char' || shape.type === 'block' ? shape.rdev : undefined,
      xattrs:
        shape.xattrs === undefined
          ? undefined
          : new Map(
              Object.entries(shape.xattrs).map(([name, value]) => [name as ByteString, Buffer.from(value)]),
            ),
      dataOffset: uncompressed(dataOffset),
      sparse,
    };
  });
  return { entries, end: offset };
}

function piecesOf(pieces: readonly Piece[]): SparsePiece[] {
  let end = 0;
  return pieces.map(({ hole, length }) => {
    const offset = end + hole;
    end = offset + length;
    return { offset, length };
  });
}

interface SpanShape {
  readonly compressed: number;
  readonly uncompressed: number;
  readonly bits: number;
  readonly window: number;
  readonly isOwn: boolean;
  readonly sha256: Uint8Array;
}

function spansOf(shapes: readonly SpanShape[], end: number) {
  const checkpoints: Checkpoint[] = [];
  const spans: Span[] = [];
  let compressedEnd = 10;
  let start = 0;
  let windowOffset = 0;
  const all =
    end === 0 || shapes.length > 0
      ? shapes
      : [{ compressed: 7, uncompressed: 1, bits: 0, window: 0, isOwn: true, sha256: Buffer.alloc(32, 1) }];
  for (const [index, shape] of all.entries()) {
    if (shape.isOwn || checkpoints.length === 0) {
      checkpoints.push({
        compressedOffset: compressed(compressedEnd),
        uncompressedOffset: uncompressed(start),
        bits: shape.bits,
        windowOffset,
        windowLength: shape.window,
      });
      windowOffset += shape.window;
    }
    compressedEnd += shape.compressed;
    const spanEnd =
      index === all.length - 1 ? Math.max(end, start + shape.uncompressed) : start + shape.uncompressed;
    spans.push({
      start: uncompressed(start),
      end: uncompressed(spanEnd),
      checkpoint: checkpoints.length - 1,
      compressedEnd: compressed(compressedEnd),
      sha256: Buffer.from(shape.sha256),
    });
    start = spanEnd;
  }
  return { checkpoints, spans, compressedSize: compressedEnd };
}

/** Bytes for the windows that the checkpoints name, no two alike. */
export function windowsFor(toc: Toc): Buffer {
  const length = Math.max(0, ...toc.checkpoints.map((c) => c.windowOffset + c.windowLength));
  return Buffer.from(Array.from({ length }, (_, at) => (at * 31 + (at >> 8)) & 0xff));
}

/** One of everything; its stored bytes are held by the golden test. Never change it. */
export function fixedToc(): Toc {
  const sha = (fill: number): Buffer => Buffer.alloc(32, fill);
  const plain = {
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtimeSec: 1_700_000_000,
    mtimeNsec: 0,
    target: undefined,
    rdev: undefined,
    xattrs: undefined,
    dataOffset: uncompressed(0),
    sparse: undefined,
    size: 0,
  };
  const bytes = (text: string): ByteString => text as ByteString;
  const capability = new Map([[bytes('security.capability'), Buffer.from([1, 0, 0, 2])]]);
  return {
    digest: `sha256:${'1'.repeat(64)}` as Digest,
    diffID: `sha256:${'2'.repeat(64)}` as Digest,
    compression: 'gzip',
    compressedSize: 3000,
    uncompressedSize: 600_000,
    entries: [
      { ...plain, path: bytes(''), type: 'dir', mode: 0o755 },
      {
        ...plain,
        path: bytes('bin/ping'),
        type: 'file',
        mode: 0o4755,
        size: 1000,
        dataOffset: uncompressed(1536),
        xattrs: capability,
      },
      { ...plain, path: bytes('bin/ping6'), type: 'hardlink', target: bytes('bin/ping') },
      {
        ...plain,
        path: bytes('bin/p'),
        type: 'symlink',
        target: bytes('ping'),
        size: 4,
        mtimeSec: -2,
        mtimeNsec: 500_000_000,
      },
      { ...plain, path: bytes('dev/null'), type: 'char', rdev: [1, 3] },
      { ...plain, path: bytes('dev/sda'), type: 'block', rdev: [8, 0], uid: 1000, gid: 4_294_967_294 },
      { ...plain, path: bytes('run/p\xff'), type: 'fifo' },
      {
        ...plain,
        path: bytes('var/sparse'),
        type: 'file',
        size: 2 ** 40,
        dataOffset: uncompressed(8192),
        sparse: [
          { offset: 0, length: 10 },
          { offset: 4096, length: 20 },
        ],
        xattrs: capability,
      },
    ],
    checkpoints: [
      {
        compressedOffset: compressed(10),
        uncompressedOffset: uncompressed(0),
        bits: 0,
        windowOffset: 0,
        windowLength: 0,
      },
      {
        compressedOffset: compressed(1500),
        uncompressedOffset: uncompressed(300_000),
        bits: 5,
        windowOffset: 0,
        windowLength: 16,
      },
    ],
    spans: [
      {
        start: uncompressed(0),
        end: uncompressed(262_144),
        checkpoint: 0,
        compressedEnd: compressed(1400),
        sha256: sha(0xaa),
      },
      {
        start: uncompressed(262_144),
        end: uncompressed(300_000),
        checkpoint: 0,
        compressedEnd: compressed(1501),
        sha256: sha(0xbb),
      },
      {
        start: uncompressed(300_000),
        end: uncompressed(600_000),
        checkpoint: 1,
        compressedEnd: compressed(2992),
        sha256: sha(0xcc),
      },
    ],
    warnings: ['8 bytes after the end of the compressed data are ignored'],
  };
}
