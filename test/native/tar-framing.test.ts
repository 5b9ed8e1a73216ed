/** Where members begin and end: tar dialects, end markers, hostile sizes (E73-E112, B1). */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { TarFrame } from '../../src/native.ts';
import { sha256Hex } from '../support/digests.ts';
import { imagesDir } from '../support/images.ts';
import { useSharedTempDirs } from '../support/temp-dirs.ts';
import { run, scan, scanError } from './support.ts';

const folder = useSharedTempDirs()();

interface HeaderFields {
  readonly name?: string;
  readonly size?: number | Buffer;
  readonly type?: string;
  readonly magic?: string;
  readonly signedSum?: boolean;
}

/** One header block, POSIX ustar unless told. */
function header(fields: HeaderFields = {}): Buffer {
  const block = Buffer.alloc(512);
  block.write(fields.name ?? 'file', 0, 'latin1');
  block.write('0000644\0', 100);
  block.write('0000000\0', 108);
  block.write('0000000\0', 116);
  const size = fields.size ?? 0;
  if (typeof size === 'number') block.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  else size.copy(block, 124);
  block.write('00000000000\0', 136);
  block.write(fields.type ?? '0', 156, 'latin1');
  block.write(fields.magic ?? 'ustar\x0000', 257, 'latin1');
  block.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of block) sum += fields.signedSum === true && byte > 127 ? byte - 256 : byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

function padded(payload: Buffer): Buffer {
  return Buffer.concat([payload, Buffer.alloc((512 - (payload.length % 512)) % 512)]);
}

function paxRecord(key: string, value: string): string {
  let length = key.length + value.length + 3;
  while (`${length} ${key}=${value}\n`.length !== length) length++;
  return `${length} ${key}=${value}\n`;
}

function part(type: string, payload: string | Buffer): Buffer {
  const bytes = Buffer.from(payload);
  return Buffer.concat([header({ type, size: bytes.length, name: 'part' }), padded(bytes)]);
}

const END = Buffer.alloc(1024);

/** How many are members; the last frame may be one of extended headers alone. */
function membersOf(frames: readonly TarFrame[]): number {
  return frames.filter((frame) => frame.header.some((byte) => byte !== 0)).length;
}

async function framesOf(...blocks: Buffer[]): Promise<TarFrame[]> {
  return (await scan(Buffer.concat(blocks))).frames;
}

function typeOf(frame: TarFrame): string {
  return String.fromCharCode(frame.header[156] ?? 0);
}

describe('members', () => {
  test('headers lie where GNU tar finds them, payloads are the files', async () => {
    const root = path.join(folder, 'tree');
    mkdirSync(root);
    for (let i = 0; i < 60; i++) writeFileSync(path.join(root, `f${i}`), `${i}`.repeat(i * 37));
    const tar = run('tar', ['--format=ustar', '--sort=name', '-cf', '-', '-C', folder, 'tree']);
    const { frames } = await scan(tar, { pieceSize: 100 });
    writeFileSync(path.join(folder, 'tree.tar'), tar);
    const listed = run('tar', ['-tRf', path.join(folder, 'tree.tar')])
      .toString()
      .trim()
      .split('\n');
    const expected = listed
      .map((line) => /^block (\d+): (.*)$/.exec(line))
      .filter((match) => match !== null && !match[2]?.startsWith('**'))
      .map((match) => [Number(match?.[1]) * 512, match?.[2]]);
    const found = frames.map((frame) => [
      frame.headerOffset,
      frame.header.subarray(0, frame.header.indexOf(0)).toString(),
    ]);
    expect(found).toEqual(expected);
    for (const frame of frames.filter((candidate) => typeOf(candidate) === '0')) {
      const name = frame.header.subarray(0, frame.header.indexOf(0)).toString();
      const stored = tar.subarray(frame.dataOffset, frame.dataOffset + frame.storedSize);
      expect(stored.equals(readFileSync(path.join(folder, name))), name).toBe(true);
    }
  });

  test('E103: links, devices, directories and fifos have no payload whatever their size says', async () => {
    for (const type of '123456') {
      const frames = await framesOf(header({ type, size: 999 }), header({ name: 'next' }), END);
      expect(
        frames.map((frame) => frame.storedSize),
        type,
      ).toEqual([0, 0]);
    }
  });

  test('E102: an unknown type keeps its payload', async () => {
    for (const type of ['7', 'D', 'M', 'N', 'V', 'Z', 'X']) {
      const frames = await framesOf(header({ type, size: 5 }), padded(Buffer.from('12345')), header(), END);
      expect(
        frames.map((frame) => [frame.headerOffset, frame.storedSize]),
        type,
      ).toEqual([
        [0, 5],
        [1024, 0],
      ]);
    }
  });

  test('E100: an old-style name that ends in a slash is a directory without payload', async () => {
    const frames = await framesOf(
      header({ type: '\0', name: 'd/', size: 600 }),
      header({ name: 'next' }),
      END,
    );
    expect(frames.map((frame) => frame.headerOffset)).toEqual([0, 512]);
    const long = await framesOf(
      part('x', paxRecord('path', 'd/e/')),
      header({ type: '\0', size: 600 }),
      header(),
      END,
    );
    expect(long.map((frame) => frame.storedSize)).toEqual([0, 0]);
    const file = await framesOf(header({ type: '0', name: 'd/', size: 3 }), padded(Buffer.from('abc')), END);
    expect(file.map((frame) => frame.storedSize)).toEqual([3]);
  });

  test('parts come with the member they precede, in order and without padding', async () => {
    const records = paxRecord('path', 'long/name');
    const frames = await framesOf(
      part('g', paxRecord('comment', 'all')),
      part('x', paxRecord('mtime', '1')),
      part('L', 'a'.repeat(200)),
      part('K', 'b\0'),
      part('x', records),
      header({ size: 1 }),
      padded(Buffer.from('!')),
      header(),
      END,
    );
    expect(frames.map((frame) => frame.parts.map(({ kind }) => kind).join(''))).toEqual(['gxLKx', '']);
    expect(frames[0]?.parts[4]?.data.toString()).toBe(records);
    expect(frames[0]?.parts[2]?.data.length).toBe(200);
    expect(frames[0]?.headerOffset).toBe(5 * 1024);
    expect(frames[0]?.dataOffset).toBe(5 * 1024 + 512);
  });

  test('E78, E81, E82: the size of the last x header wins, an empty one keeps the header value', async () => {
    const payload = padded(Buffer.alloc(700));
    const wins = await framesOf(
      part('x', paxRecord('size', '5')),
      part('x', paxRecord('size', '0000700')),
      header({ size: 0 }),
      payload,
      header(),
      END,
    );
    expect(wins.map((frame) => frame.storedSize)).toEqual([700, 0]);
    const replaced = await framesOf(
      part('x', paxRecord('size', '5')),
      part('x', paxRecord('mtime', '5')),
      header({ size: 700 }),
      payload,
      END,
    );
    expect(replaced.map((frame) => frame.storedSize)).toEqual([700]);
    const empty = await framesOf(part('x', paxRecord('size', '')), header({ size: 700 }), payload, END);
    expect(empty.map((frame) => frame.storedSize)).toEqual([700]);
  });

  // node-tar GHSA-vmf3-w455-68vh: the size belongs to the member, not to the L header between.
  test('a PAX size does not apply to a long name that follows it', async () => {
    const frames = await framesOf(
      part('x', paxRecord('size', '700')),
      part('L', 'n'.repeat(150)),
      header(),
      padded(Buffer.alloc(700)),
      END,
    );
    expect(frames[0]?.parts.map(({ data }) => data.length)).toEqual([12, 150]);
    expect(frames[0]?.storedSize).toBe(700);
  });

  test('E91: base-256 sizes are read', async () => {
    const size = Buffer.alloc(12);
    size[0] = 0x80;
    size[11] = 3;
    expect((await framesOf(header({ size }), padded(Buffer.from('abc')), END))[0]?.storedSize).toBe(3);
  });

  test('E94: a checksum over signed bytes is accepted', async () => {
    expect((await framesOf(header({ name: '\xe9\xe8', signedSum: true }), END)).length).toBe(1);
  });

  test('E92: a size of spaces or NULs is 0', async () => {
    for (const size of [Buffer.alloc(12), Buffer.alloc(12, ' '), Buffer.from('        3 \0 ')]) {
      const frames = await framesOf(
        header({ size }),
        padded(Buffer.from('abc')).subarray(0, size.includes('3') ? 512 : 0),
        END,
      );
      expect(frames.length).toBe(1);
    }
  });
});

describe('sparse files', () => {
  test('E97: a PAX 1.0 map is captured and excluded from the data', async () => {
    const records = paxRecord('GNU.sparse.major', '1') + paxRecord('GNU.sparse.minor', '0');
    const map = padded(Buffer.from('2\n0\n3\n100\n4\n'));
    const frames = await framesOf(
      part('x', records),
      header({ size: 512 + 7 }),
      map,
      padded(Buffer.from('abcdefg')),
      header(),
      END,
    );
    expect(frames.map((frame) => [frame.dataOffset - frame.headerOffset, frame.storedSize])).toEqual([
      [1024, 7],
      [512, 0],
    ]);
    expect(frames[0]?.parts.at(-1)?.kind).toBe('M');
    expect(frames[0]?.parts.at(-1)?.data.equals(map)).toBe(true);
  });

  test('E96: old GNU extension blocks are captured before the data', async () => {
    const first = header({ type: 'S', size: 4, magic: 'ustar  \0' });
    first[482] = 1;
    const sum = [...first].reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
    first.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    const more = Buffer.alloc(512, 1);
    const last = Buffer.alloc(512, 2);
    last[504] = 0;
    const frames = await framesOf(first, more, last, padded(Buffer.from('data')), header(), END);
    expect(frames.map((frame) => [frame.dataOffset - frame.headerOffset, frame.storedSize])).toEqual([
      [1536, 4],
      [512, 0],
    ]);
    expect(frames[0]?.parts).toEqual([{ kind: 'S', data: Buffer.concat([more, last]) }]);
  });

  test('endless maps and extension blocks pass a cap', async () => {
    const records = paxRecord('GNU.sparse.major', '1') + paxRecord('GNU.sparse.minor', '0');
    const big = await scanError(
      Buffer.concat([part('x', records), header({ size: 1 << 20 }), padded(Buffer.from('65537\n'))]),
    );
    expect(big.code).toBe('ERR_LIMIT_EXCEEDED');
    const first = header({ type: 'S', magic: 'ustar  \0' });
    first[482] = 1;
    const sum = [...first].reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
    first.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    const endless = await scanError(Buffer.concat([first, Buffer.alloc(4 << 20, 1)]));
    expect(endless.code).toBe('ERR_LIMIT_EXCEEDED');
  });

  test('a malformed map, and one longer than its file, are errors', async () => {
    const records = paxRecord('GNU.sparse.major', '1') + paxRecord('GNU.sparse.minor', '0');
    for (const text of ['\n', 'x\n', '-1\n', '1\n0\n', `${'0'.repeat(40)}1\n`]) {
      const blob = Buffer.concat([part('x', records), header({ size: 512 }), padded(Buffer.from(text)), END]);
      expect((await scanError(blob)).code, JSON.stringify(text)).toBe('ERR_LAYER_INVALID');
    }
  });
});

describe('errors name the offset', () => {
  const cases: readonly [string, Buffer, RegExp, string?][] = [
    ['E93: a negative size', header({ size: Buffer.alloc(12, 0xff) }), /negative size -1/],
    [
      'E91: a size beyond 64 bits',
      header({ size: Buffer.concat([Buffer.from([0x80, 1]), Buffer.alloc(10)]) }),
      /size/,
    ],
    [
      'a size beyond 2^53',
      header({ size: Buffer.from([0x80, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0]) }),
      /2\^53/,
    ],
    ['a size that is not a number', header({ size: Buffer.from('12x45678901\0') }), /size is not a number/],
    ['E95: a wrong checksum', Buffer.from(header()).fill('x', 0, 1), /checksum/],
    ['a sparse type without the GNU magic', header({ type: 'S' }), /GNU magic/],
    [
      'E84: an extended header above the cap',
      header({ type: 'x', size: (1 << 20) + 1 }),
      /1048577/,
      'ERR_LIMIT_EXCEEDED',
    ],
    ['E83: a PAX record with a wrong length', part('x', '99 path=x\n'), /PAX record/],
    ['E83: a PAX record without newline', part('x', '9 path=xy'), /PAX record/],
    ['E83: a PAX record without key', part('x', '5 =x\n'), /PAX record/],
    ['a negative PAX size', part('x', paxRecord('size', '-1')), /PAX size/],
    ['a PAX size beyond 64 bits', part('x', paxRecord('size', '9'.repeat(20))), /PAX size/],
  ];
  for (const [name, block, message, code] of cases) {
    test(name, async () => {
      const error = await scanError(Buffer.concat([header(), header(), block, END]));
      expect(error.code).toBe(code ?? 'ERR_LAYER_INVALID');
      expect(error.message).toMatch(message);
      expect(error.facts['offset']).toBe(1024);
    });
  }

  test('endless extended headers before one member pass a cap', async () => {
    const blob = Buffer.concat(Array.from({ length: 10_000 }, () => header({ type: 'x' })));
    expect((await scanError(blob)).code).toBe('ERR_LIMIT_EXCEEDED');
  });

  test('more members than allowed pass a cap', async () => {
    const blob = Buffer.concat(Array.from({ length: 12 }, () => header()));
    expect((await scan(blob, { limits: { entries: 12 } })).frames.length).toBe(12);
    expect((await scanError(blob, { limits: { entries: 11 } })).code).toBe('ERR_LIMIT_EXCEEDED');
  });
});

describe.skipIf(imagesDir() === undefined)('real dialects', () => {
  const dialects = path.join(imagesDir() ?? '', 'dialects', 'tar');
  const listings = path.join(imagesDir() ?? '', 'listings', 'dialects');
  type Row = [file: string, compression: string, count: number, error: string];
  const rows: Row[] =
    imagesDir() === undefined
      ? []
      : (JSON.parse(readFileSync(path.join(listings, 'summary.json'), 'utf8')) as Row[]).filter(
          (row) => row[1] !== 'bz2',
        );

  /** Errors of Go that are about what a header means, not about where members lie: found in src/layer/. */
  const meaning = /pax-bad-mtime-file|pax-nul-(path|xattrs)/;

  interface Listed {
    readonly type: string;
    readonly size: number;
    readonly sha256?: string;
  }

  test('are there', () => {
    expect(rows.length).toBeGreaterThan(100);
  });

  for (const [file, , , error] of rows) {
    test(`${file} is framed as Go's archive/tar reads it`, async () => {
      const blob = readFileSync(path.join(dialects, file));
      if (error !== '' && !meaning.test(file)) {
        expect(['ERR_LAYER_INVALID', 'ERR_LIMIT_EXCEEDED']).toContain((await scanError(blob)).code);
        return;
      }
      const { frames } = await scan(blob, { pieceSize: 511 });
      if (error !== '') return;
      const listed = readFileSync(path.join(listings, `${file}.golist.jsonl`), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Listed)
        .filter((entry) => entry.type !== 'g');
      expect(membersOf(frames)).toBe(listed.length);
      const tar = blob[0] === 0x1f ? gunzipSync(blob) : blob;
      for (const [i, frame] of frames.entries()) {
        const entry = listed[i];
        const isSparse = frame.parts.some(({ data }) => data.includes('GNU.sparse')) || typeOf(frame) === 'S';
        if (entry?.sha256 === undefined || isSparse) continue;
        const stored = tar.subarray(frame.dataOffset, frame.dataOffset + frame.storedSize);
        expect([stored.length, sha256Hex(stored)], `member ${i}`).toEqual([entry.size, entry.sha256]);
      }
    });
  }

  // The table of Go's TestReadTruncation: input, members, whether it is an error (E111).
  test('E111: truncated and continued archives end as in Go', async () => {
    const read = (name: string): Buffer => readFileSync(path.join(dialects, 'go', name));
    const gnu = read('gnu.tar');
    const reg = Buffer.concat([read('ustar-file-reg.tar'), Buffer.alloc(10 * 512)]);
    const pax = read('pax-path-hdr.tar');
    const sparse = read('sparse-formats.tar');
    const trash = Buffer.from('garbage '.repeat(64));
    const join = (a: Buffer, b: Buffer): Buffer => Buffer.concat([a, b]);
    const table: readonly [Buffer, number, boolean][] = [
      [gnu.subarray(0, 511), 0, true],
      [gnu.subarray(0, 512), 1, true],
      [gnu.subarray(0, 1024), 1, false],
      [gnu.subarray(0, 1536), 2, true],
      [gnu.subarray(0, 2048), 2, false],
      [gnu, 2, false],
      [join(gnu.subarray(0, 2048), reg.subarray(0, 1536)), 3, false],
      [reg.subarray(0, 511), 0, true],
      [reg.subarray(0, 512), 1, true],
      [reg.subarray(0, 1195), 1, true],
      [reg.subarray(0, 1196), 1, false],
      [reg.subarray(0, 1200), 1, false],
      [reg.subarray(0, 1535), 1, false],
      [reg.subarray(0, 1536), 1, false],
      [join(reg.subarray(0, 1536), trash.subarray(0, 1)), 1, true],
      [join(reg.subarray(0, 1536), trash.subarray(0, 511)), 1, true],
      [join(reg.subarray(0, 1536), trash), 1, true],
      [reg.subarray(0, 2048), 1, false],
      [join(reg.subarray(0, 2048), trash.subarray(0, 1)), 1, true],
      [join(reg.subarray(0, 2048), trash.subarray(0, 511)), 1, true],
      [join(reg.subarray(0, 2048), trash), 1, true],
      [reg.subarray(0, 2560), 1, false],
      [join(reg.subarray(0, 2560), trash.subarray(0, 1)), 1, false],
      [join(reg.subarray(0, 2560), trash.subarray(0, 511)), 1, false],
      [join(reg.subarray(0, 2560), trash), 1, false],
      [reg.subarray(0, 3072), 1, false],
      [pax, 0, false],
      [join(pax, trash.subarray(0, 1)), 0, true],
      [join(pax, trash.subarray(0, 511)), 0, true],
      [sparse.subarray(0, 511), 0, true],
      [sparse.subarray(0, 512), 0, true],
      [sparse.subarray(0, 3584), 1, false],
      [sparse.subarray(0, 9200), 1, false],
      [sparse.subarray(0, 9216), 1, false],
      [sparse.subarray(0, 9728), 2, true],
      [sparse.subarray(0, 10_240), 2, false],
      [sparse.subarray(0, 11_264), 2, true],
      [sparse, 5, false],
      [join(sparse, trash), 5, false],
    ];
    for (const [i, [input, count, isError]] of table.entries()) {
      const outcome = await scan(input).then(
        ({ frames }) => membersOf(frames),
        () => 'error',
      );
      expect(outcome, `row ${i}`).toBe(isError ? 'error' : count);
    }
  });
});
