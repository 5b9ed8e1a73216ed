/** The tar-split of zstd:chunked: an index that is not what it says of the tar is not used (FORMATS E139, FAULTS B4). */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { UnusableIndex } from '../../src/layer/unusable-index.ts';
import { checkTarSplit } from '../../src/layer/zstd-chunked/tar-split.ts';
import type { ByteString } from '../../src/units.ts';
import { madeBytes } from '../blob/made-toc.ts';
import {
  type ChunkedLayer,
  type ChunkedLayerOptions,
  chunkedLayer,
  type TocJson,
} from '../support/chunked-layer.ts';
import { sha256Digest } from '../support/digests.ts';
import { blobFile, member } from '../support/image-layout.ts';
import { extractWritten, writtenImage } from '../support/index-writers.ts';
import { ownTocOf } from '../support/own-toc.ts';
import { rawHeader } from '../support/raw-tar.ts';
import type { Member } from '../support/tar-bytes.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const makeDir = useTempDirs();

const PREFIX = 'io.github.containers.zstd-chunked.';
const LONG = 'long/'.repeat(60);

const MEMBERS: readonly Member[] = [
  member('etc', { type: 'dir' }),
  member('etc/small', { content: Buffer.from('hello'), uid: 1, gid: 2, mode: 0o4755 }),
  member('etc/blocks', { content: madeBytes(1024, 3) }),
  member('etc/big', { content: madeBytes(200_000, 7), mtimeNsec: 250_000_000 }),
  member('etc/empty', { content: Buffer.alloc(0) }),
  member('etc/link', { type: 'symlink', target: LONG as ByteString }),
  member('etc/hard', { type: 'hardlink', target: 'etc/small' as ByteString }),
  member(`${LONG}name`, { content: Buffer.from('x'), uid: 3_000_000 }),
  member('dev/null', { type: 'char', rdev: [1, 3] }),
  member('etc/.wh.gone'),
  member('etc/capable', {
    xattrs: new Map([['security.capability' as ByteString, Buffer.from([1, 0, 0, 2])]]),
  }),
];

function layerOf(options: Partial<ChunkedLayerOptions> = {}): ChunkedLayer {
  return chunkedLayer(MEMBERS, { format: 'zstd-chunked', tarSplit: (lines) => lines, ...options });
}

async function whyUnusable(layer: ChunkedLayer): Promise<string> {
  try {
    await ownTocOf(layer);
    return 'usable';
  } catch (error) {
    if (error instanceof UnusableIndex) return error.message;
    throw error;
  }
}

/** Times of the TOC have nanoseconds only where a test says so. */
function withTimes({ entries }: TocJson): undefined {
  for (const entry of entries) {
    if (entry.name === 'etc/big' && entry.type === 'reg') entry['modtime'] = '2023-11-14T22:13:20.25Z';
  }
}

test('an index that its tar-split agrees with is used, both in one request', async () => {
  const { toc, requests } = await ownTocOf(layerOf({ change: withTimes }));
  expect(toc?.entries).toHaveLength(MEMBERS.length);
  expect(requests).toHaveLength(1);
});

test('a tar-split far from the index is fetched by itself', async () => {
  const layer = layerOf({ change: withTimes });
  const position = layer.annotations[`${PREFIX}tarsplit-position`] ?? '';
  const [offset = 0, length = 0] = position.split(':').map(Number);
  const filler = Buffer.alloc(10_000);
  const moved: ChunkedLayer = {
    ...layer,
    blob: Buffer.concat([layer.blob, filler, layer.blob.subarray(offset, offset + length)]),
    annotations: {
      ...layer.annotations,
      [`${PREFIX}tarsplit-position`]: position.replace(/^\d+/, String(layer.blob.length + filler.length)),
    },
  };
  const { toc, requests } = await ownTocOf(moved);
  expect(toc?.entries).toHaveLength(MEMBERS.length);
  expect(requests).toHaveLength(2);
});

describe('E139: an index is refused where its tar-split', () => {
  const entry = (toc: TocJson, name: string): TocJson['entries'][number] => {
    withTimes(toc);
    const found = toc.entries.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no ${name}`);
    return found;
  };
  const set = (name: string, fields: object) => (toc: TocJson) =>
    void Object.assign(entry(toc, name), fields);

  test.each<[string, RegExp, (toc: TocJson) => unknown]>([
    ['has another owner', /the uid of its \/etc\/small/, set('etc/small', { uid: 0 })],
    ['has another mode', /the mode of its \/etc\/small/, set('etc/small', { mode: 0o755 })],
    ['has another name', /the path of its \/etc\/shadow/, set('etc/small', { name: 'etc/shadow' })],
    ['has another type', /the type of its \/etc\/empty/, set('etc/empty', { type: 'fifo' })],
    ['has another target', /the target of its \/etc\/hard/, set('etc/hard', { linkName: 'etc/big' })],
    ['has another time', /the mtimeSec of its/, set('etc/small', { modtime: '2024-01-01T00:00:00Z' })],
    ['has a fraction of a second', /the mtimeNsec of its/, () => undefined],
    ['has another device', /the rdev of its \/dev\/null/, set('dev/null', { devMinor: 5 })],
    ['has an attribute more', /the xattrs of its/, set('etc/capable', { xattrs: {} })],
    [
      'has another size',
      /the size of its \/etc\/small/,
      set('etc/small', { size: 4, chunkDigest: sha256Digest('hell') }),
    ],
    [
      'has an entry more',
      /has \/etc\/capable, which it lacks/,
      (toc) => {
        withTimes(toc);
        toc.entries.pop();
      },
    ],
    [
      'has an entry less',
      /has 12 entries, its tar-split 11/,
      (toc) => {
        withTimes(toc);
        toc.entries.push({ name: 'more', type: 'fifo', mode: 0o644 });
      },
    ],
  ])('%s', async (_, why, change) => {
    expect(await whyUnusable(layerOf({ change }))).toMatch(why);
  });
});

test('the tar-split that skopeo wrote is held against its index', async () => {
  const folder = makeDir();
  extractWritten(folder);
  const [layer] = writtenImage(folder, 'chunked-skopeo').manifest.layers;
  if (layer === undefined) throw new Error('no layer');
  const blob = readFileSync(blobFile(folder, layer.digest));
  const { toc } = await ownTocOf({ ...layer, blob });
  const place = layer.annotations[`${PREFIX}tarsplit-position`]?.split(':').map(Number);
  const [offset = 0, storedLength = 0, length = 0] = place ?? [];
  const stored = blob.subarray(offset, offset + storedLength);
  const entries = toc?.entries ?? [];
  await checkTarSplit(stored, length, entries);
  await expect(checkTarSplit(stored, length, entries.slice(1))).rejects.toThrow(/tar-split/);
  const other = Buffer.from(blob);
  other.writeUInt8(0, offset + 20);
  await expect(ownTocOf({ ...layer, blob: other })).rejects.toThrow(/its tar-split has the digest/);
});

describe('the digest of the tar-split', () => {
  const lie = (lines: string[]): string[] => lines.slice(2);

  test.each(['toc', 'annotations'] as const)('is looked for in the %s', async (tarSplitDigestIn) => {
    const good = layerOf({ tarSplitDigestIn, change: withTimes });
    expect(await whyUnusable(good)).toBe('usable');
    expect(await whyUnusable(layerOf({ tarSplitDigestIn, tarSplit: lie }))).not.toBe('usable');
    const [offset = 0, length = 0] = (good.annotations[`${PREFIX}tarsplit-position`] ?? '')
      .split(':')
      .map(Number);
    const blob = Buffer.from(good.blob);
    blob.writeUInt8(blob.readUInt8(offset + length - 1) ^ 1, offset + length - 1);
    expect(await whyUnusable({ ...good, blob })).toMatch(/its tar-split has the digest/);
  });

  test('that is nowhere leaves it unread', async () => {
    expect(await whyUnusable(layerOf({ tarSplitDigestIn: 'nowhere', tarSplit: lie }))).toBe('usable');
  });

  test('that is none is refused', async () => {
    const change = (toc: TocJson): void => void (toc.tarSplitDigest = 'sha256:12');
    expect(await whyUnusable(layerOf({ change }))).toMatch(/its tar-split is none/);
    const { annotations, ...layer } = layerOf({ tarSplitDigestIn: 'annotations' });
    const wrong = { ...annotations, [`${PREFIX}tarsplit-checksum`]: '7' };
    expect(await whyUnusable({ ...layer, annotations: wrong })).toMatch(/tarsplit-checksum is no digest/);
  });

  test('found by the footer alone (class D), the tar-split is held against it as well', async () => {
    const unnamed = { annotations: {} };
    await expect(ownTocOf({ ...layerOf({ tarSplit: lie }), ...unnamed }, true)).rejects.toThrow(/tar-split/);
    const { toc } = await ownTocOf({ ...layerOf({ change: withTimes }), ...unnamed }, true);
    expect(toc?.entries).toHaveLength(MEMBERS.length);
  });
});

const segment = (bytes: Uint8Array): string =>
  JSON.stringify({ type: 2, payload: Buffer.from(bytes).toString('base64') });

/** A header with this size and type, and the right checksum. */
const header = (size: string, type: string): Buffer => rawHeader({ name: 'x', size, type });

/** The line of a segment with a bit of it flipped. */
function damaged(line: string, at: number): string {
  const { payload } = JSON.parse(line) as { payload: string };
  const bytes = Buffer.from(payload, 'base64');
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return segment(bytes);
}

describe('B4: a hostile tar-split is refused', () => {
  test.each<[string, (lines: string[]) => readonly string[]]>([
    ['of nothing', () => []],
    ['of text', () => ['hello']],
    ['of lists', () => ['[]']],
    ['of numbers', () => ['7']],
    ['with an unknown type', (lines) => ['{"type":3}', ...lines]],
    ['with a type that is text', (lines) => ['{"type":"1"}', ...lines]],
    ['with a segment without bytes', (lines) => ['{"type":2,"payload":null}', ...lines]],
    ['with a negative size', (lines) => ['{"type":1,"size":-1}', ...lines]],
    ['with a size of 2^60', (lines) => ['{"type":1,"size":1152921504606846976}', ...lines]],
    ['with content that no header announces', (lines) => ['{"type":1,"size":5}', ...lines]],
    ['with content of another size', (lines) => lines.map((line) => line.replace('"size":5', '"size":6'))],
    ['without a content', (lines) => lines.filter((line) => !line.includes('"size":5'))],
    [
      'with a content twice',
      (lines) => lines.flatMap((line) => (line.includes('"size":5') ? [line, line] : [line])),
    ],
    ['that is cut in a header', (lines) => [...lines.slice(0, 2), segment(Buffer.alloc(100, 1))]],
    ['that is cut before a content', (lines) => lines.slice(0, 3)],
    ['that ends before it should', (lines) => [segment(Buffer.alloc(1024)), ...lines]],
    ['with a header of text', (lines) => [segment(Buffer.alloc(512, 0x78)), ...lines]],
    [
      'with a size beyond 2^53',
      (lines) => [segment(header('\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff', '0')), ...lines],
    ],
    ['with a sparse file', (lines) => [segment(header('00000000000', 'S')), ...lines]],
    ['with an extended header of 1 GiB', (lines) => [segment(header('10000000000', 'x')), ...lines]],
    [
      'with endless extended headers',
      (lines) => [...Array<string>(9000).fill(segment(header('0', 'g'))), ...lines],
    ],
    [
      'with a header that has a wrong checksum',
      (lines) => lines.map((line, at) => (at === 0 ? damaged(line, 100) : line)),
    ],
    ['with a zero block in the middle', (lines) => [segment(Buffer.alloc(512)), ...lines]],
    [
      'with malformed records',
      (lines) => [segment(Buffer.concat([header('00000000005', 'x'), Buffer.alloc(512, 0x31)])), ...lines],
    ],
    [
      'with a million lines that say nothing',
      (lines) => [...Array.from({ length: 1_000_000 }, () => '{"type":1}'), ...lines],
    ],
    ['with a line of 9 MiB', (lines) => [`"${'x'.repeat(9 * 1024 * 1024)}"`, ...lines]],
  ])('%s', async (_, tarSplit) => {
    const why = await whyUnusable(layerOf({ change: withTimes, tarSplit }));
    expect(why).toMatch(/tar-split/);
  });

  test.each([
    ['of nothing', '10:0:5'],
    ['outside of the blob', '999999999999:10:5'],
    ['of text', 'here'],
    ['with a type', '10:10:10:1'],
  ])('at a position %s', async (_, position) => {
    const { annotations, ...layer } = layerOf({ change: withTimes });
    const moved = { ...annotations, [`${PREFIX}tarsplit-position`]: position };
    expect(await whyUnusable({ ...layer, annotations: moved })).toMatch(/tar-split/);
  });

  test('that is not as long as its position says', async () => {
    const { annotations, ...layer } = layerOf({ change: withTimes });
    const name = `${PREFIX}tarsplit-position`;
    const longer = { ...annotations, [name]: `${annotations[name]}0` };
    expect(await whyUnusable({ ...layer, annotations: longer })).toMatch(/its position says/);
  });
});

test('segments may be cut anywhere', async () => {
  const tarSplit = (lines: string[]): string[] =>
    lines.flatMap((line) => {
      const { type, payload } = JSON.parse(line) as { type: number; payload: string };
      if (type === 1) return [line];
      const bytes = Buffer.from(payload, 'base64');
      const cuts = [0, 1, 100, 512, 513, 700, 1024, 1500, bytes.length].filter((cut) => cut <= bytes.length);
      return cuts.slice(1).map((cut, index) => segment(bytes.subarray(cuts[index], cut)));
    });
  expect(await whyUnusable(layerOf({ change: withTimes, tarSplit }))).toBe('usable');
});
