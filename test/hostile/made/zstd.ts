/** B2: zstd frames written by hand (RFC 8878), of blocks that are stored or repeat one byte. */
import { sha256Digest } from '../../support/digests.ts';
import { DIFF_ID, EMPTY_DIFF_ID, INVALID_BLOB, type Made, TAR } from './blobs.ts';

const LEGACY = ['1eb52ffd', '22b52ffd', '23b52ffd', '24b52ffd', '25b52ffd', '26b52ffd', '27b52ffd'];
const KIND = { raw: 0, rle: 1, compressed: 2, reserved: 3 } as const;

function block(kind: keyof typeof KIND, size: number, bytes: Buffer, isLast = true): Buffer {
  const header = Buffer.alloc(3);
  header.writeUIntLE(size * 8 + KIND[kind] * 2 + (isLast ? 1 : 0), 0, 3);
  return Buffer.concat([header, bytes]);
}

const hex = (digits: string) => Buffer.from(digits, 'hex');
const stored = block('raw', TAR.length, TAR);
/** Frame header descriptor, what follows it in hexadecimal, and the blocks. */
const frame = (descriptor: string, fields: string, ...blocks: Buffer[]): Buffer =>
  Buffer.concat([hex(`28b52ffd${descriptor}${fields}`), ...blocks]);
const sizeHex = (size: number | bigint, bytes: number): string => {
  const field = Buffer.alloc(8);
  field.writeBigUInt64LE(BigInt(size));
  return field.toString('hex', 0, bytes);
};
/** Exponent and mantissa of a window. */
const windowHex = (exponent: number, mantissa = 0): string =>
  Buffer.from([exponent * 8 + mantissa]).toString('hex');
/** With a window of 128 KiB and no size. */
const plain = frame('00', windowHex(7), stored);
const skippable = (kind: number, size: number, length = size): Buffer => {
  const header = hex('502a4d1800000000');
  header[0] = 0x50 + kind;
  header.writeUInt32LE(size, 4);
  return Buffer.concat([header, Buffer.alloc(length, 9)]);
};

const FRAMES: readonly Made[] = [
  ['a window and no size', plain, DIFF_ID],
  ['a size of eight bytes in one segment', frame('e0', sizeHex(TAR.length, 8), stored), DIFF_ID],
  ['a size of four bytes in one segment', frame('a0', sizeHex(TAR.length, 4), stored), DIFF_ID],
  ['a size of two bytes in one segment', frame('60', sizeHex(TAR.length - 256, 2), stored), DIFF_ID],
  ['a size one too small', frame('a0', sizeHex(TAR.length - 1, 4), stored), INVALID_BLOB],
  ['a size one too large', frame('a0', sizeHex(TAR.length + 1, 4), stored), INVALID_BLOB],
  ['a size of 2^63', frame('e0', sizeHex(2n ** 63n, 8), stored), INVALID_BLOB],
  ['a size of 2^64 - 1', frame('e0', 'ff'.repeat(8), stored), INVALID_BLOB],
  [
    'a size of 1 TiB and a small window',
    frame('c0', windowHex(7) + sizeHex(2 ** 40, 8), stored),
    INVALID_BLOB,
  ],
  ['the reserved bit', frame('08', windowHex(7), stored), INVALID_BLOB],
  ['the unused bit', frame('10', windowHex(7), stored), DIFF_ID],
  ['a dictionary of one byte', frame('01', `${windowHex(7)}07`, stored), INVALID_BLOB],
  ['a dictionary of two bytes', frame('02', `${windowHex(7)}0700`, stored), INVALID_BLOB],
  ['a dictionary of four bytes', frame('03', `${windowHex(7)}07000000`, stored), INVALID_BLOB],
  ['dictionary 0', frame('01', `${windowHex(7)}00`, stored), DIFF_ID],
  ['a window of 128 MiB', frame('00', windowHex(17), stored), DIFF_ID],
  ['a window just above 128 MiB', frame('00', windowHex(17, 1), stored), INVALID_BLOB],
  ['a window of 2 GiB', frame('00', windowHex(21), stored), INVALID_BLOB],
  ['the largest window', frame('00', windowHex(31, 7), stored), INVALID_BLOB],
  [
    'a block of the reserved kind',
    frame('00', windowHex(7), block('reserved', 4, Buffer.alloc(4))),
    INVALID_BLOB,
  ],
  [
    'a block larger than any may be',
    frame('00', windowHex(10), block('raw', 131_073, Buffer.alloc(131_073))),
    INVALID_BLOB,
  ],
  ['a block larger than the window', frame('00', windowHex(0), block('raw', TAR.length, TAR)), INVALID_BLOB],
  [
    'a compressed block of nothing',
    frame('00', windowHex(7), block('compressed', 0, Buffer.alloc(0))),
    EMPTY_DIFF_ID,
  ],
  [
    'a compressed block of zeros',
    frame('00', windowHex(7), block('compressed', 9, Buffer.alloc(9))),
    INVALID_BLOB,
  ],
  [
    'a compressed block of ones',
    frame('00', windowHex(7), block('compressed', 9, Buffer.alloc(9, 255))),
    INVALID_BLOB,
  ],
  [
    'a block that is cut',
    frame('00', windowHex(7), block('raw', TAR.length, TAR.subarray(0, 9))),
    INVALID_BLOB,
  ],
  ['no last block', frame('00', windowHex(7), block('raw', TAR.length, TAR, false)), INVALID_BLOB],
  [
    'an empty block first',
    frame('00', windowHex(7), block('raw', 0, Buffer.alloc(0), false), stored),
    DIFF_ID,
  ],
  [
    'an empty block last',
    frame('00', windowHex(7), block('raw', TAR.length, TAR, false), block('raw', 0, Buffer.alloc(0))),
    DIFF_ID,
  ],
  [
    '10,000 empty blocks',
    frame(
      '00',
      windowHex(7),
      ...Array.from({ length: 10_000 }, () => block('raw', 0, Buffer.alloc(0), false)),
      stored,
    ),
    DIFF_ID,
  ],
  [
    'a block for each byte',
    frame(
      '00',
      windowHex(7),
      ...[...TAR].map((byte, at) => block('raw', 1, Buffer.from([byte]), at === TAR.length - 1)),
    ),
    DIFF_ID,
  ],
  ['nothing in it', frame('20', '00', block('raw', 0, Buffer.alloc(0))), EMPTY_DIFF_ID],
  ['a checksum that is wrong', frame('04', windowHex(7), stored, Buffer.alloc(4)), INVALID_BLOB],
  ['a checksum that is missing', frame('04', windowHex(7), stored), INVALID_BLOB],
  ['nothing but its magic', hex('28b52ffd'), INVALID_BLOB],
  ['nothing but its header', frame('00', windowHex(7)), INVALID_BLOB],
  [
    'frames in a row',
    Buffer.concat([
      frame('00', windowHex(7), block('raw', 100, TAR.subarray(0, 100))),
      frame('00', windowHex(7), block('raw', TAR.length - 100, TAR.subarray(100))),
    ]),
    DIFF_ID,
  ],
  [
    'a frame for each byte',
    Buffer.concat([...TAR].map((byte) => frame('00', windowHex(7), block('raw', 1, Buffer.from([byte]))))),
    DIFF_ID,
  ],
  ['garbage behind', Buffer.concat([plain, Buffer.from('garbage')]), DIFF_ID],
  ['a gzip member behind', Buffer.concat([plain, hex('1f8b08000000000000030300000000000000')]), DIFF_ID],
  ['half a magic behind', Buffer.concat([plain, hex('28b5')]), DIFF_ID],
  ['half a frame behind', Buffer.concat([plain, plain.subarray(0, 40)]), INVALID_BLOB],
  [
    '64 MiB of one byte in 2 KiB',
    Buffer.concat([
      plain,
      frame(
        '00',
        windowHex(7),
        ...Array.from({ length: 512 }, (_, at) => block('rle', 131_072, Buffer.alloc(1), at === 511)),
      ),
    ]),
    [sha256Digest(Buffer.concat([TAR, Buffer.alloc(64 << 20)]))],
  ],
];

const SKIPPABLE: readonly Made[] = [
  ...Array.from(
    { length: 16 },
    (_, kind): Made => [`kind ${kind} in front`, Buffer.concat([skippable(kind, 4), plain]), DIFF_ID],
  ),
  ['no bytes', Buffer.concat([skippable(0, 0), plain]), DIFF_ID],
  ['nothing behind', skippable(0, 4), EMPTY_DIFF_ID],
  ['1,000 more', Buffer.concat([...Array.from({ length: 1000 }, () => skippable(1, 3)), plain]), DIFF_ID],
  ['4 GiB - 1 that are not there', skippable(0, 0xffffffff, 4), INVALID_BLOB],
  ['fewer bytes than it says', skippable(0, 100, 99), INVALID_BLOB],
  ['half a length', hex('502a4d180400'), INVALID_BLOB],
  ['a frame in it', Buffer.concat([skippable(0, plain.length, 0), plain]), EMPTY_DIFF_ID],
];

export const ZSTD: readonly Made[] = [
  ...FRAMES.map(([name, blob, expected]): Made => [`zstd with ${name}`, blob, expected]),
  ...SKIPPABLE.map(
    ([name, blob, expected]): Made => [`a skippable frame of zstd with ${name}`, blob, expected],
  ),
  ...LEGACY.map(
    (magic): Made => [
      `zstd of before 1.0 (${magic})`,
      Buffer.concat([hex(magic), Buffer.alloc(600, 7)]),
      INVALID_BLOB,
    ],
  ),
];
