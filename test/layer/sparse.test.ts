/** Sparse files of all four kinds (FORMATS E96 to E98), through the real scanner. */
import { execFileSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import type { Entry } from '../../src/layer/toc.ts';
import { contentOf, tocOfBlob } from '../support/layer-toc.ts';
import { base256, GNU, paxMember, type RawHeader, rawMember, tarOf, V7 } from '../support/raw-tar.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const makeDir = useTempDirs();

async function onlyEntry(tar: Buffer): Promise<Entry> {
  const { toc } = await tocOfBlob(tar);
  expect(toc.entries).toHaveLength(2);
  expect(toc.entries[1]).toMatchObject({ path: 'after', type: 'file', size: 3 });
  const entry = toc.entries[0];
  if (entry === undefined) throw new Error('no entry');
  return entry;
}

/** Shows that the scanner found the member behind the sparse file. */
const AFTER = rawMember({ name: 'after' }, Buffer.from('end'));

type Region = readonly [number | string | Uint8Array, number | string | Uint8Array];

const octal12 = (value: number | string | Uint8Array): Buffer =>
  typeof value === 'number'
    ? Buffer.from(`${value.toString(8).padStart(11, '0')}\0`)
    : typeof value === 'string'
      ? Buffer.from(value.padEnd(12, '\0'), 'latin1')
      : Buffer.from(value);

function regionBytes(regions: readonly Region[]): Buffer {
  return Buffer.concat(regions.flatMap(([offset, length]) => [octal12(offset), octal12(length)]));
}

/** Type S: four regions in the header, 21 in each extension block. */
function oldGnu(
  size: number | Uint8Array,
  regions: readonly Region[],
  data: string,
  fields: RawHeader = {},
): Buffer {
  const extensions: Buffer[] = [];
  for (let at = 4; at < regions.length; at += 21) {
    const block = Buffer.alloc(512);
    block.set(regionBytes(regions.slice(at, at + 21)));
    block[504] = at + 21 < regions.length ? 1 : 0;
    extensions.push(block);
  }
  const header = rawMember({
    type: 'S',
    magic: GNU,
    size: data.length,
    patches: [
      [386, regionBytes(regions.slice(0, 4))],
      [482, extensions.length > 0 ? '\x01' : '\0'],
      [483, octal12(size)],
    ],
    ...fields,
  });
  return tarOf(
    header,
    ...extensions,
    Buffer.from(data.padEnd(Math.ceil(data.length / 512) * 512, '\0')),
    AFTER,
  );
}

function pax1(
  size: number,
  map: string,
  data: string,
  records: readonly (readonly [string, string])[] = [],
): Buffer {
  const mapBlocks = Buffer.from(map.padEnd(Math.ceil(map.length / 512) * 512, '\0'));
  return tarOf(
    paxMember([
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 'real-name'],
      ['GNU.sparse.realsize', String(size)],
      ...records,
    ]),
    rawMember({ name: 'GNUSparseFile.1/real-name' }, Buffer.concat([mapBlocks, Buffer.from(data)])),
    AFTER,
  );
}

function pax0(records: readonly (readonly [string, string])[], data: string, fields: RawHeader = {}): Buffer {
  return tarOf(paxMember(records), rawMember({ name: 'sparse', ...fields }, Buffer.from(data)), AFTER);
}

describe('a sparse file', () => {
  test.each(['gnu', '0.0', '0.1', '1.0'])('as GNU tar %s writes it reads as the file was', async (kind) => {
    const folder = makeDir();
    const original = path.join(folder, 'sparse');
    // 60 pieces: more than fit the header and one extension block.
    writeFileSync(original, '');
    truncateSync(original, 60 * 131_072 + 5000);
    const content = Buffer.alloc(60 * 131_072 + 5000);
    for (let piece = 0; piece < 60; piece++) content.write(`piece ${piece}`, piece * 131_072 + 4096);
    writeSparsely(original, content);
    writeFileSync(path.join(folder, 'after'), 'end');
    const format = kind === 'gnu' ? ['--format=gnu'] : ['--format=posix', `--sparse-version=${kind}`];
    const tar = path.join(folder, 'out.tar');
    execFileSync(
      'tar',
      ['-C', folder, '--sparse', '--hole-detection=raw', ...format, '-cf', tar, 'sparse', 'after'],
      { timeout: 20_000 },
    );
    const bytes = readFileSync(tar);
    expect(bytes.length).toBeLessThan(content.length / 4);
    const entry = await onlyEntry(bytes);
    expect(entry).toMatchObject({ path: 'sparse', size: content.length });
    expect(entry.sparse?.length).toBeGreaterThanOrEqual(60);
    expect(contentOf(bytes, entry).equals(content)).toBe(true);
  });

  const rows: readonly (readonly [string, Buffer, Partial<Record<keyof Entry, unknown>>])[] = [
    [
      'old GNU: regions in the header',
      oldGnu(
        100,
        [
          [0, 2],
          [50, 3],
          [100, 0],
        ],
        'abcde',
      ),
      {
        size: 100,
        sparse: [
          { offset: 0, length: 2 },
          { offset: 50, length: 3 },
        ],
      },
    ],
    [
      'old GNU: real size in base-256',
      oldGnu(base256(2n ** 40n, 12), [[2 ** 30, 1]], 'x'),
      { size: 2 ** 40, sparse: [{ offset: 2 ** 30, length: 1 }] },
    ],
    ['old GNU: all hole', oldGnu(1000, [[1000, 0]], ''), { size: 1000, sparse: [] }],
    [
      'old GNU: an empty extension block',
      oldGnu(
        8,
        [
          [0, 1],
          [2, 1],
          [4, 1],
          [6, 1],
          ['', ''],
        ],
        'abcd',
      ),
      { size: 8 },
    ],
    ['old GNU: no hole at all is a plain file', oldGnu(3, [[0, 3]], 'abc'), { size: 3, sparse: undefined }],
    ['old GNU: nothing at all', oldGnu(0, [], ''), { size: 0, sparse: undefined }],
    [
      'PAX 1.0',
      pax1(100, '2\n0\n2\n50\n3\n', 'abcde'),
      {
        path: 'real-name',
        size: 100,
        sparse: [
          { offset: 0, length: 2 },
          { offset: 50, length: 3 },
        ],
      },
    ],
    [
      'PAX 1.0: GNU.sparse.size before realsize',
      pax1(100, '1\n0\n2\n', 'ab', [['GNU.sparse.size', '70']]),
      { size: 70 },
    ],
    ['PAX 1.0: all hole', pax1(1000, '0\n', ''), { size: 1000, sparse: [] }],
    [
      'PAX 1.0: a map of two blocks',
      pax1(10_000, `60\n${Array.from({ length: 60 }, (_, n) => `${n * 100}\n1\n`).join('')}`, 'x'.repeat(60)),
      { size: 10_000 },
    ],
    [
      'PAX 0.1',
      pax0(
        [
          ['GNU.sparse.size', '100'],
          ['GNU.sparse.numblocks', '2'],
          ['GNU.sparse.map', '0,2,50,3'],
        ],
        'abcde',
      ),
      {
        size: 100,
        sparse: [
          { offset: 0, length: 2 },
          { offset: 50, length: 3 },
        ],
      },
    ],
    [
      'PAX 0.0',
      pax0(
        [
          ['GNU.sparse.size', '100'],
          ['GNU.sparse.numblocks', '2'],
          ['GNU.sparse.offset', '0'],
          ['GNU.sparse.numbytes', '2'],
          ['GNU.sparse.offset', '50'],
          ['GNU.sparse.numbytes', '3'],
        ],
        'abcde',
      ),
      {
        size: 100,
        sparse: [
          { offset: 0, length: 2 },
          { offset: 50, length: 3 },
        ],
      },
    ],
    [
      'PAX of a version nobody knows is a plain file (Go)',
      pax0(
        [
          ['GNU.sparse.major', '2'],
          ['GNU.sparse.minor', '0'],
          ['GNU.sparse.name', 'n'],
        ],
        'abc',
      ),
      { path: 'sparse', size: 3, sparse: undefined },
    ],
    [
      'E98 a hole of 60 GB',
      pax0(
        [
          ['GNU.sparse.size', '60000000000'],
          ['GNU.sparse.numblocks', '1'],
          ['GNU.sparse.map', '59999999999,1'],
        ],
        'x',
      ),
      { size: 60_000_000_000 },
    ],
  ];
  test.each(rows)('%s', async (_case, tar, expected) => {
    expect(await onlyEntry(tar)).toMatchObject(expected);
  });
});

describe('a sparse file is refused for', () => {
  const many = Array.from({ length: 65_537 }, (_, n) => `${n}\n0\n`).join('');
  const rows: readonly (readonly [string, Buffer, string])[] = [
    ['a region beyond its end', oldGnu(4, [[2, 3]], 'abc'), 'ERR_LAYER_INVALID'],
    [
      'regions that overlap',
      oldGnu(
        9,
        [
          [0, 2],
          [1, 2],
        ],
        'abcd',
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'regions out of order',
      oldGnu(
        9,
        [
          [4, 2],
          [0, 2],
        ],
        'abcd',
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'a region that wraps around',
      oldGnu(base256(2n ** 53n - 1n, 12), [[base256(2n ** 53n - 2n, 12), base256(2n ** 53n - 2n, 12)]], 'a'),
      'ERR_LAYER_INVALID',
    ],
    ['a negative region', oldGnu(9, [[base256(-1n, 12), 2]], 'ab'), 'ERR_LAYER_INVALID'],
    ['a region that is no number', oldGnu(9, [['9', '2']], 'ab'), 'ERR_LAYER_INVALID'],
    ['a real size that is no number', oldGnu(Buffer.from('99\0'), [[0, 2]], 'ab'), 'ERR_LAYER_INVALID'],
    ['more stored bytes than regions hold', oldGnu(9, [[0, 2]], 'abcd'), 'ERR_LAYER_INVALID'],
    ['fewer stored bytes than regions hold', oldGnu(9, [[0, 4]], 'ab'), 'ERR_LAYER_INVALID'],
    ['type S in a ustar header', oldGnu(9, [[0, 2]], 'ab', { magic: 'ustar\x0000' }), 'ERR_LAYER_INVALID'],
    ['type S in a v7 header', oldGnu(9, [[0, 2]], 'ab', { magic: V7 }), 'ERR_LAYER_INVALID'],
    [
      'extension blocks that do not come',
      rawMember({ type: 'S', magic: GNU, patches: [[482, '\x01']] }),
      'ERR_LAYER_INVALID',
    ],
    ['PAX 1.0 without a map', pax1(9, '', ''), 'ERR_LAYER_INVALID'],
    ['PAX 1.0 with letters in its map', pax1(9, '1\nx\n2\n', 'ab'), 'ERR_LAYER_INVALID'],
    ['PAX 1.0 with a negative count', pax1(9, '-1\n', ''), 'ERR_LAYER_INVALID'],
    ['PAX 1.0 with a map that is cut short', pax1(9, '2\n0\n2\n', ''), 'ERR_LAYER_INVALID'],
    [
      'PAX 1.0 for a symlink',
      tarOf(
        paxMember([
          ['GNU.sparse.major', '1'],
          ['GNU.sparse.minor', '0'],
        ]),
        rawMember({ type: '2', link: 'a' }),
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'PAX 0.1 for a directory',
      tarOf(
        paxMember([
          ['GNU.sparse.numblocks', '1'],
          ['GNU.sparse.map', '0,0'],
        ]),
        rawMember({ type: '5', name: 'd/' }),
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'PAX 0.1 with a wrong count',
      pax0(
        [
          ['GNU.sparse.size', '9'],
          ['GNU.sparse.numblocks', '2'],
          ['GNU.sparse.map', '0,2'],
        ],
        'ab',
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'PAX 0.1 with an odd map',
      pax0(
        [
          ['GNU.sparse.size', '9'],
          ['GNU.sparse.numblocks', '1'],
          ['GNU.sparse.map', '0,2,4'],
        ],
        'ab',
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'PAX 0.1 without a count',
      pax0(
        [
          ['GNU.sparse.size', '9'],
          ['GNU.sparse.map', '0,2'],
        ],
        'ab',
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'PAX 0.1 with a size that is no number',
      pax0(
        [
          ['GNU.sparse.size', '9x'],
          ['GNU.sparse.numblocks', '1'],
          ['GNU.sparse.map', '0,2'],
        ],
        'ab',
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'PAX 0.0 with its records out of turn',
      pax0(
        [
          ['GNU.sparse.numblocks', '1'],
          ['GNU.sparse.numbytes', '2'],
          ['GNU.sparse.offset', '0'],
        ],
        'ab',
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'PAX 0.0 with one record too many',
      pax0(
        [
          ['GNU.sparse.numblocks', '1'],
          ['GNU.sparse.offset', '0'],
          ['GNU.sparse.numbytes', '2'],
          ['GNU.sparse.offset', '4'],
        ],
        'ab',
      ),
      'ERR_LAYER_INVALID',
    ],
    [
      'PAX 0.1 with 2^53 regions declared',
      pax0(
        [
          ['GNU.sparse.size', '9'],
          ['GNU.sparse.numblocks', '9007199254740992'],
          ['GNU.sparse.map', '0,2'],
        ],
        'ab',
      ),
      'ERR_LIMIT_EXCEEDED',
    ],
    ['65,537 regions in PAX 1.0', pax1(65_537, `65537\n${many}`, ''), 'ERR_LIMIT_EXCEEDED'],
    [
      '65,537 regions in old GNU',
      oldGnu(
        9,
        Array.from({ length: 65_537 }, (_, n) => [n, 0] as const),
        '',
      ),
      'ERR_LIMIT_EXCEEDED',
    ],
  ];
  test.each(rows)('%s', async (_case, tar, code) => {
    const error: unknown = await tocOfBlob(tar).catch((e: unknown) => e);
    expect(isPeelError(error) ? error.code : error).toBe(code);
    expect(error).toMatchObject({ facts: { offset: expect.any(Number) as number } });
  });
});

function writeSparsely(file: string, content: Buffer): void {
  // dd seeks over what is not written, so that the file really has holes.
  for (let at = 0; at < content.length; at += 4096) {
    const page = content.subarray(at, at + 4096);
    if (page.every((byte) => byte === 0)) continue;
    execFileSync('dd', [`of=${file}`, 'bs=4096', `seek=${at / 4096}`, 'conv=notrunc', 'status=none'], {
      input: page,
      timeout: 20_000,
    });
  }
}
