/** Indexes that layers bring: where they are found, what proves them, what they may say (FORMATS E117 to E138). */
import { describe, expect, test } from 'vitest';
import { decodeToc } from '../../src/layer/decode-toc.ts';
import { encodeToc, sealToc } from '../../src/layer/encode-toc.ts';
import type { Toc } from '../../src/layer/toc.ts';
import { UnusableIndex } from '../../src/layer/unusable-index.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { ByteString } from '../../src/units.ts';
import { madeBytes } from '../blob/made-toc.ts';
import { type ChunkedLayer, chunkedLayer, type TocJson } from '../support/chunked-layer.ts';
import { member } from '../support/image-layout.ts';
import { contentOf } from '../support/layer-toc.ts';
import { ownTocOf, spaceOf } from '../support/own-toc.ts';
import type { Member } from '../support/tar-bytes.ts';

const FORMATS = ['estargz', 'zstd-chunked'] as const;

const big = madeBytes(200_000, 7);
const MEMBERS: readonly Member[] = [
  member('etc', { type: 'dir' }),
  member('etc/small', { content: Buffer.from('hello'), uid: 1, gid: 2, mode: 0o4755 }),
  member('etc/big', { content: big }),
  member('etc/empty', { content: Buffer.alloc(0) }),
  member('etc/link', { type: 'symlink', target: 'small' as Member['target'] & string }),
  member('etc/hard', { type: 'hardlink', target: 'etc/small' as Member['target'] & string }),
  member('dev/null', { type: 'char', rdev: [1, 3] }),
  member('etc/.wh.gone'),
  member('etc/capable', {
    content: Buffer.from('x'),
    xattrs: new Map([['security.capability' as Member['name'], Buffer.from([1, 0, 0, 2])]]),
  }),
];

async function whyUnusable(layer: ChunkedLayer): Promise<string> {
  try {
    await ownTocOf(layer);
    return 'usable';
  } catch (error) {
    if (error instanceof UnusableIndex) return error.message;
    throw error;
  }
}

/** `etc/small`, `etc/big` and so on, each with what the index says its content is. */
async function contentsOf(layer: ChunkedLayer): Promise<ReadonlyMap<string, Buffer>> {
  const { toc } = await ownTocOf(layer);
  if (toc === undefined) throw new Error('no index was found');
  const space = await spaceOf(toc, layer.blob);
  const files = toc.entries.filter(({ type }) => type === 'file');
  return new Map(files.map((entry) => [entry.path, contentOf(space, entry)]));
}

describe.each(FORMATS)('the index of %s', (format) => {
  test('gives every entry with its attributes, and every byte of every file', async () => {
    const layer = chunkedLayer(MEMBERS, { format });
    const { toc } = await ownTocOf(layer);
    expect(toc?.entries.map(({ path, type }) => `${type} ${path}`)).toEqual(
      MEMBERS.map(({ name, type }) => `${type} ${name}`),
    );
    const entryOf = (name: string) => toc?.entries.find(({ path }) => path === name);
    expect(entryOf('etc/small')).toMatchObject({ uid: 1, gid: 2, mode: 0o4755, mtimeSec: 1_700_000_000 });
    expect(entryOf('etc/link')).toMatchObject({ target: 'small', size: 5 });
    expect(entryOf('etc/hard')).toMatchObject({ target: 'etc/small' });
    expect(entryOf('dev/null')).toMatchObject({ rdev: [1, 3] });
    expect([...(entryOf('etc/capable')?.xattrs ?? [])]).toEqual([
      ['security.capability', Buffer.from([1, 0, 0, 2])],
    ]);
    // What is stored of it is the same.
    const sealed = sealToc(toc as Toc, Buffer.alloc(0));
    expect(decodeToc(encodeToc(sealed))).toEqual(sealed);
    const contents = await contentsOf(layer);
    for (const { name, type, content = Buffer.alloc(0) } of MEMBERS) {
      if (type === 'file') expect(contents.get(name)?.equals(content), name).toBe(true);
    }
  });

  test('E127: chunks of a file join, the last one without a size', async () => {
    const contents = await contentsOf(chunkedLayer(MEMBERS, { format, chunkSize: 30_000 }));
    expect(contents.get('etc/big')?.equals(big)).toBe(true);
  });

  test('E128: several chunks in one member are told apart by their inner offsets', async () => {
    for (const chunksPerMember of [2, 3, 100]) {
      const contents = await contentsOf(
        chunkedLayer(MEMBERS, { format, chunkSize: 20_000, chunksPerMember }),
      );
      expect(contents.get('etc/big')?.equals(big)).toBe(true);
      expect(contents.get('etc/small')?.toString()).toBe('hello');
      expect(contents.get('etc/capable')?.toString()).toBe('x');
    }
  });

  test('E138: chunks of zeros become holes that nothing is fetched for', async () => {
    const content = Buffer.concat([Buffer.alloc(40_000, 1), Buffer.alloc(80_000), Buffer.alloc(10_000, 2)]);
    const layer = chunkedLayer([member('sparse', { content })], {
      format,
      chunkSize: 40_000,
      change: ({ entries }) => {
        for (const entry of entries.slice(1, 3)) Object.assign(entry, { chunkType: 'zeros' });
      },
    });
    const { toc } = await ownTocOf(layer);
    expect(toc?.entries[0]).toMatchObject({
      size: 130_000,
      sparse: [
        { offset: 0, length: 40_000 },
        { offset: 120_000, length: 10_000 },
      ],
    });
    expect(toc?.spans).toHaveLength(2);
    expect((await contentsOf(layer)).get('sparse')?.equals(content)).toBe(true);
  });

  test('E129: hard links keep the name of their target; a chain ends at one inode, a missing target is an error', async () => {
    const link = (name: string, target: string): Member =>
      member(name, { type: 'hardlink', target: target as ByteString });
    const file = member('a', { content: Buffer.from('a'), uid: 7 });
    const chain = await ownTocOf(chunkedLayer([file, link('b', 'a'), link('c', 'b')], { format }));
    const { root } = mergeLayers([chain.toc?.entries ?? []]);
    const inodes = ['a', 'b', 'c'].map((name) => root.children?.get(name as ByteString)?.ino);
    expect(new Set(inodes).size).toBe(1);
    expect(root.children?.get('c' as ByteString)).toMatchObject({ nlink: 3, uid: 7 });
    const dangling = await ownTocOf(chunkedLayer([file, link('b', 'x')], { format }));
    expect(() => mergeLayers([dangling.toc?.entries ?? []])).toThrow(/x/);
  });

  test('E130: names are cleaned, folders implied, and of two entries of one name the last one counts', async () => {
    const members = [
      member('./x/../deep/file', { content: Buffer.from('1') }),
      member('/deep/file', { content: Buffer.from('22') }),
    ];
    const layer = chunkedLayer(members, { format });
    const { toc } = await ownTocOf(layer);
    expect(toc?.entries.map(({ path }) => path)).toEqual(['deep/file', 'deep/file']);
    const { root } = mergeLayers([toc?.entries ?? []]);
    const deep = root.children?.get('deep' as ByteString);
    expect(deep).toMatchObject({ mode: 0o755, uid: 0, nlink: 2, implied: true });
    expect(deep?.children?.get('file' as ByteString)).toMatchObject({ size: 2 });
    expect((await contentsOf(layer)).get('deep/file')?.toString()).toBe('22');
  });

  test('E131: the time is the one of the index, with its zone, fraction and all, or 1970 where there is none', async () => {
    for (const [modtime, sec, nsec] of [
      ['2018-12-24T21:26:10Z', 1_545_686_770, 0],
      ['2018-12-24T22:26:10.5+01:00', 1_545_686_770, 500_000_000],
      ['1969-12-31T23:59:59.000000001Z', -1, 1],
      ['0001-01-01T00:00:00Z', 0, 0],
      [undefined, 0, 0],
    ] as const) {
      const change = ({ entries }: TocJson): void => void Object.assign(entries[0] ?? {}, { modtime });
      const { toc } = await ownTocOf(chunkedLayer([member('a', { type: 'dir' })], { format, change }));
      expect(toc?.entries[0]).toMatchObject({ mtimeSec: sec, mtimeNsec: nsec });
    }
  });

  test('E132: the names of owners, on some entries only, change nothing: the numbers count', async () => {
    const { toc } = await ownTocOf(
      chunkedLayer([member('a', { type: 'dir', uid: 5 }), member('b', { type: 'dir', uid: 5 })], {
        format,
        change: ({ entries }) =>
          void Object.assign(entries[0] ?? {}, { userName: 'games', groupName: 'root' }),
      }),
    );
    expect(toc?.entries.map(({ uid }) => uid)).toEqual([5, 5]);
  });

  test('E121: another TOC than the one that the manifest names is refused', async () => {
    const layer = chunkedLayer(MEMBERS, { format });
    const forged = chunkedLayer(MEMBERS, {
      format,
      change: ({ entries }) => Object.assign(entries[1] ?? {}, { mode: 0o777 }) && undefined,
    });
    // Of the same length, where the manifest looks for it.
    const { blob, mediaType } = forged;
    expect(await whyUnusable({ ...layer, blob, mediaType })).toMatch(/digest sha256:|a TOC of|decompress/);
    expect(await whyUnusable({ ...forged, annotations: forged.annotations })).toBe('usable');
  });

  test('E134: a chunk without a digest makes the index unusable', async () => {
    const layer = chunkedLayer(MEMBERS, {
      format,
      chunkSize: 50_000,
      change: ({ entries }) => entries.forEach((entry) => delete entry['chunkDigest']),
    });
    expect(await whyUnusable(layer)).toMatch(/without a digest/);
  });

  test('the digest of a whole file verifies its only chunk', async () => {
    const layer = chunkedLayer([member('a', { content: Buffer.from('abc') })], {
      format,
      change: ({ entries }) => entries.forEach((entry) => delete entry['chunkDigest']),
    });
    expect((await contentsOf(layer)).get('a')?.toString()).toBe('abc');
  });

  test('without its annotations an index is not looked for, unless the user allowed it (class D)', async () => {
    const layer = { ...chunkedLayer(MEMBERS, { format }), annotations: {} };
    expect(await ownTocOf(layer)).toEqual({ toc: undefined, requests: [] });
    expect((await ownTocOf(layer, true)).toc?.own?.format).toBe(format);
  });
});

describe('where the index lies', () => {
  test.each(['current', 'legacy'] as const)('E117, E118: the %s footer of eStargz', async (footer) => {
    const { toc } = await ownTocOf(chunkedLayer(MEMBERS, { format: 'estargz', footer }));
    expect(toc?.entries).toHaveLength(MEMBERS.length);
  });

  test('a TOC longer than the guess takes a second request, and not a byte twice', async () => {
    const many = Array.from({ length: 3000 }, (_, index) =>
      member(`dir/${madeBytes(20, index + 1).toString('hex')}`),
    );
    const layer = chunkedLayer(many, { format: 'estargz' });
    const { toc, requests } = await ownTocOf(layer);
    expect(toc?.entries).toHaveLength(3000);
    expect(requests).toHaveLength(2);
    const asked = requests.reduce((sum, { start, end }) => sum + end - start, 0);
    expect(asked).toBe(layer.blob.length - layer.tocOffset);
  });

  test('E119: a TOC that lies in another image is used as one of the layer; without it there is no index', async () => {
    const layer = chunkedLayer(MEMBERS, { format: 'estargz', footer: 'external' });
    expect((await ownTocOf(layer)).toc).toBeUndefined();
    const inside = chunkedLayer(MEMBERS, { format: 'estargz' });
    const stored = inside.blob.subarray(inside.tocOffset, -51);
    const { toc } = await ownTocOf(layer, false, stored);
    expect(toc?.entries).toEqual((await ownTocOf(inside)).toc?.entries);
    const other = chunkedLayer(MEMBERS.slice(1), { format: 'estargz' });
    const forged = other.blob.subarray(other.tocOffset, -51);
    await expect(ownTocOf(layer, false, forged)).rejects.toThrow(/the manifest says/);
  });

  test('a file may lie in the first member of the blob, but not where that begins', async () => {
    const members = [member('a', { content: Buffer.from('first') }), ...MEMBERS];
    const at = (fields: object): ChunkedLayer =>
      chunkedLayer(members, {
        format: 'estargz',
        change: ({ entries }) => void Object.assign(entries[0] ?? {}, fields),
      });
    expect((await ownTocOf(at({ offset: 0, innerOffset: 512 }))).toc?.checkpoints[0]).toMatchObject({
      compressedOffset: 0,
    });
    expect(await whyUnusable(at({ offset: 0, innerOffset: 0 }))).toMatch(/without a place/);
  });

  test('E120: an offset beyond the blob, of no gzip member, or of none with a TOC', async () => {
    for (const tocOffset of [2 ** 40, 2 ** 52, 0, 3, 10_000]) {
      const layer = chunkedLayer(MEMBERS, { format: 'estargz', tocOffset });
      expect(await whyUnusable(layer), String(tocOffset)).not.toBe('usable');
    }
  });

  test('a layer that was to have a footer and has none has no index', async () => {
    expect(
      (await ownTocOf(chunkedLayer(MEMBERS, { format: 'estargz', footer: 'none' }))).toc,
    ).toBeUndefined();
  });

  test('E136: the annotations of both generations', async () => {
    const layer = chunkedLayer(MEMBERS, { format: 'zstd-chunked', footer: 'none' });
    const old = Object.entries(layer.annotations).map(([name, value]) => [
      name.replace('io.github.containers', 'io.containers'),
      value,
    ]);
    for (const annotations of [layer.annotations, Object.fromEntries(old) as ChunkedLayer['annotations']]) {
      const { toc, requests } = await ownTocOf({ ...layer, annotations });
      expect(toc?.entries).toHaveLength(MEMBERS.length);
      expect(requests).toHaveLength(1);
    }
  });

  test.each(['40', '56', '64'] as const)('E136: the footer of %s bytes', async (footer) => {
    const layer = { ...chunkedLayer(MEMBERS, { format: 'zstd-chunked', footer }), annotations: {} };
    expect((await ownTocOf(layer, true)).toc?.entries).toHaveLength(MEMBERS.length);
  });

  test('E137: the digest of eStargz is of the TOC decompressed, and both must be right', async () => {
    const layer = chunkedLayer(MEMBERS, { format: 'zstd-chunked' });
    const name = 'containerd.io/snapshot/stargz/toc.digest';
    const ofJson = chunkedLayer(MEMBERS, { format: 'estargz' });
    const checksum = layer.annotations['io.github.containers.zstd-chunked.manifest-checksum'] ?? '';
    const wrong = { ...layer.annotations, [name]: checksum };
    expect(await whyUnusable({ ...layer, annotations: wrong })).toMatch(/decompressed, has the digest/);
    expect(ofJson.annotations[name]).not.toBe(checksum);
  });

  test.each([
    ['no position', 'x'],
    ['a position beyond the blob', '999999999:10:10:1'],
    ['a position of 2^60', `${2 ** 60}:10:10:1`],
    ['nothing stored', '10:0:10:1'],
    ['another type', '10:20:30:2'],
    ['too much stored', '0:99999999999:10:1'],
    ['another length', undefined],
  ])('an annotation with %s', async (_, position) => {
    const layer = chunkedLayer(MEMBERS, { format: 'zstd-chunked' });
    const key = 'io.github.containers.zstd-chunked.manifest-position';
    const right = layer.annotations[key] ?? '';
    const annotations = { ...layer.annotations, [key]: position ?? right.replace(/:(\d+):1$/, ':7:1') };
    expect(await whyUnusable({ ...layer, annotations })).not.toBe('usable');
  });
});

/** Each spoils a good TOC in one place; the digests are right. */
const BAD_TOCS: Readonly<Record<string, (toc: TocJson) => unknown>> = {
  'an offset beyond the blob': big1({ offset: 2 ** 40 }),
  'an offset of 2^63': big1({ offset: 2 ** 63 }),
  'a negative offset': big1({ offset: -1 }),
  'an offset of 0': big1({ offset: 0 }),
  'a broken offset': big1({ offset: 1.5 }),
  'the offset of another chunk': ({ entries }) => {
    Object.assign(entries[3] ?? {}, { offset: entries[2]?.['offset'] });
  },
  'chunks in another order': ({ entries }) => {
    const offsets = [entries[2]?.['offset'], entries[3]?.['offset']];
    Object.assign(entries[2] ?? {}, { offset: offsets[1] });
    Object.assign(entries[3] ?? {}, { offset: offsets[0] });
  },
  'files in another order': ({ entries }) => {
    const small = entries.splice(1, 1);
    return { version: 1, entries: [...entries, ...small] };
  },
  'an inner offset of 2^40': big1({ innerOffset: 2 ** 40 }),
  'a negative inner offset': big1({ innerOffset: -5 }),
  'a chunk size of 2^40': big1({ chunkSize: 2 ** 40 }),
  'a chunk larger than its file': big1({ chunkSize: 300_000 }),
  'a chunk of 0 bytes before the last': big1({ chunkSize: 0 }),
  'a chunk that overlaps the one before': ({ entries }) =>
    Object.assign(entries[3] ?? {}, { chunkOffset: 65_535 }) && undefined,
  'a hole between chunks': ({ entries }) =>
    Object.assign(entries[3] ?? {}, { chunkOffset: 65_537 }) && undefined,
  'a size of 2^40': big1({ size: 2 ** 40 }),
  'a size less than its chunks': big1({ size: 100_000 }),
  'a size more than its chunks': ({ entries }) => {
    Object.assign(entries[2] ?? {}, { size: 300_000 });
    Object.assign(entries[5] ?? {}, { chunkSize: 3392 });
  },
  'a negative size': big1({ size: -1 }),
  'a digest that is none': big1({ chunkDigest: 'sha256:12' }),
  'a digest of another kind': big1({ chunkDigest: `sha512:${'1'.repeat(128)}` }),
  'an unknown kind of chunk': big1({ chunkType: 'ones' }),
  'an end before the beginning': ({ entries }) =>
    Object.assign(entries[1] ?? {}, { endOffset: 1 }) && undefined,
  'an end beyond the next chunk': ({ entries }) =>
    Object.assign(entries[1] ?? {}, { endOffset: 2 ** 40 }) && undefined,
  'a chunk before any file': ({ entries }) => void entries.unshift({ type: 'chunk', name: 'x' }),
  'a chunk of a directory': ({ entries }) =>
    void entries.splice(1, 0, { type: 'chunk', name: 'etc', offset: 4 }),
  'a chunk of another file': ({ entries }) =>
    Object.assign(entries[3] ?? {}, { name: 'etc/small' }) && undefined,
  'an unknown type': big1({ type: 'door' }),
  'a type named like a property of every object': big1({ type: 'constructor' }),
  'a name that is a number': big1({ name: 7 }),
  'a name that JSON could not carry': big1({ name: 'etc/b\ufffdg' }),
  'half a character in a name': big1({ name: 'etc/b\ud800g' }),
  'a NUL in a name': big1({ name: 'etc/b\0g' }),
  'a name of 256 bytes': big1({ name: 'x'.repeat(256) }),
  'a path of 5,000 bytes': big1({ name: 'x/'.repeat(2500) }),
  'the root as a file': big1({ name: '/' }),
  'an owner of 2^32 - 1': big1({ uid: 2 ** 32 - 1 }),
  'a negative owner': big1({ gid: -1 }),
  'a device number of 2^32': ({ entries }) =>
    Object.assign(find(entries, 'dev/null'), { devMajor: 2 ** 32 }) && undefined,
  'a link without a target': ({ entries }) =>
    Object.assign(find(entries, 'etc/link'), { linkName: '' }) && undefined,
  'a time that is none': big1({ modtime: '2024-02-31T00:00:00Z' }),
  'attributes that are no object': big1({ xattrs: 'x' }),
  'an attribute that is no base64': big1({ xattrs: { 'user.a': '???' } }),
  'an attribute larger than the kernel has': big1({ xattrs: { 'user.a': 'A'.repeat(100_000) } }),
  'an entry of 3 MiB': big1({ linkName: 'x'.repeat(3 * 1024 * 1024) }),
  'an entry that is a number': ({ entries }) => ({ version: 1, entries: [...entries, 7] }),
  'an entry that nests 100 deep': ({ entries }) => ({ version: 1, entries: [...entries, nested(100)] }),
  'another version': ({ entries }) => ({ version: 2, entries }),
  'no version': ({ entries }) => ({ entries }),
  'no entries': () => ({ version: 1 }),
  'entries that are an object': () => ({ version: 1, entries: {} }),
  'no object at all': () => [],
};

function big1(fields: Readonly<Record<string, unknown>>): (toc: TocJson) => undefined {
  return ({ entries }) => void Object.assign(find(entries, 'etc/big'), fields);
}

function find(entries: TocJson['entries'], name: string): TocJson['entries'][number] {
  const entry = entries.find((each) => each.name === name);
  if (entry === undefined) throw new Error(`no ${name}`);
  return entry;
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level += 1) value = [value];
  return value;
}

describe.each(FORMATS)('B4: a hostile TOC of %s is refused as a whole', (format) => {
  test.each(Object.entries(BAD_TOCS))('with %s', async (_, change) => {
    expect(await whyUnusable(chunkedLayer(MEMBERS, { format, change }))).not.toBe('usable');
  });

  test('with a chunk of more than 8 MiB', async () => {
    const content = Buffer.alloc(9 * 1024 * 1024);
    const layer = chunkedLayer([member('a', { content })], { format, chunkSize: content.length });
    expect(await whyUnusable(layer)).toMatch(/at most 8388608/);
  });
});

test('E135: a bomb is stopped at 256 MiB', async () => {
  const layer = chunkedLayer(MEMBERS, {
    format: 'zstd-chunked',
    change: ({ entries }) => ({ version: 1, entries, padding: ' '.repeat(257 * 1024 * 1024) }),
  });
  expect(layer.blob.length).toBeLessThan(1024 * 1024);
  expect(await whyUnusable(layer)).toMatch(/more than 268435456/);
}, 30_000);

test('every cut and every flipped byte of an index ends in a refusal', async () => {
  const layer = chunkedLayer(MEMBERS.slice(0, 2), { format: 'estargz' });
  const start = layer.tocOffset;
  for (let at = start; at < layer.blob.length; at += 1) {
    const blob = Buffer.from(layer.blob);
    blob.writeUInt8(blob.readUInt8(at) ^ 0xff, at);
    const outcome = await whyUnusable({ ...layer, blob }).catch(String);
    const isRefused = outcome !== 'usable' || (await ownTocOf({ ...layer, blob })).toc === undefined;
    // Time, operating system and file name of a gzip header change nothing that is read.
    if (!isRefused) {
      const { toc } = await ownTocOf({ ...layer, blob });
      expect(toc?.entries).toEqual((await ownTocOf(layer)).toc?.entries);
    }
  }
  for (let end = start; end < layer.blob.length; end += 1) {
    const { toc } = await ownTocOf({ ...layer, blob: layer.blob.subarray(0, end) }).catch(() => ({
      toc: undefined,
    }));
    expect(toc).toBeUndefined();
  }
}, 30_000);
