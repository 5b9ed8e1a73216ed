/** B2: gzip as writers, liars and cut connections make it. */

import { deflateRawSync, gzipSync } from 'node:zlib';
import { crc32OfTrailer, DIFF_ID, INVALID_BLOB, type Made, TAR } from './blobs.ts';

const DEFLATED = deflateRawSync(TAR);

interface Member {
  readonly id?: string;
  readonly method?: number;
  readonly flags?: number;
  /** Between the ten bytes of the header and the deflated data. */
  readonly fields?: Buffer;
  readonly data?: Buffer;
  readonly crc?: number;
  readonly size?: number;
}

function member({ id = '1f8b', method = 8, flags = 0, fields, data, crc, size }: Member): Buffer {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc ?? crc32OfTrailer(TAR), 0);
  trailer.writeUInt32LE(size ?? TAR.length, 4);
  const header = Buffer.from([method, flags, 1, 2, 3, 4, 2, 255]);
  return Buffer.concat([
    Buffer.from(id, 'hex'),
    header,
    fields ?? Buffer.alloc(0),
    data ?? DEFLATED,
    trailer,
  ]);
}

const WHOLE = member({});
const EMPTY = gzipSync(Buffer.alloc(0));
const half = TAR.length >> 1;
const zero = (length: number) => Buffer.alloc(length);
const extra = (said: number, length: number) =>
  Buffer.concat([Buffer.from([said & 255, said >> 8]), Buffer.alloc(length, 7)]);
const text = (bytes: string) => Buffer.from(bytes, 'latin1');

const HEADERS: readonly Made[] = [
  ['FTEXT', member({ flags: 1 }), DIFF_ID],
  ['a name', member({ flags: 8, fields: text('layer.tar\0') }), DIFF_ID],
  ['an empty name', member({ flags: 8, fields: text('\0') }), DIFF_ID],
  ['a name of 70,000 bytes', member({ flags: 8, fields: text(`${'n'.repeat(70_000)}\0`) }), DIFF_ID],
  ['a name that does not end', text('\x1f\x8b\x08\x08\0\0\0\0\0\x03name'), INVALID_BLOB],
  ['a comment', member({ flags: 16, fields: text('\x1b]0;evil\x07\0') }), DIFF_ID],
  ['a name and a comment', member({ flags: 24, fields: text('n\0c\0') }), DIFF_ID],
  ['a comment where a name was to be', member({ flags: 8, fields: text('') }), INVALID_BLOB],
  ['an extra field', member({ flags: 4, fields: extra(5, 5) }), DIFF_ID],
  ['an empty extra field', member({ flags: 4, fields: extra(0, 0) }), DIFF_ID],
  ['an extra field of 65,535 bytes', member({ flags: 4, fields: extra(65_535, 65_535) }), DIFF_ID],
  ['an extra field one byte too short', member({ flags: 4, fields: extra(5, 4) }), INVALID_BLOB],
  ['an extra field longer than the blob', member({ flags: 4, fields: extra(65_535, 4) }), INVALID_BLOB],
  ['a checksum of the header that is wrong', member({ flags: 2, fields: zero(2) }), INVALID_BLOB],
  ['reserved flag 32', member({ flags: 32 }), INVALID_BLOB],
  ['reserved flag 64', member({ flags: 64 }), INVALID_BLOB],
  ['reserved flag 128', member({ flags: 128 }), INVALID_BLOB],
  ['method 0', member({ method: 0 }), INVALID_BLOB],
  ['method 7', member({ method: 7 }), INVALID_BLOB],
  ['method 255', member({ method: 255 }), INVALID_BLOB],
  ['a wrong second byte', member({ id: '1f8c' }), INVALID_BLOB],
  ['nothing but its magic', text('\x1f\x8b'), INVALID_BLOB],
  ['nothing but its header', WHOLE.subarray(0, 10), INVALID_BLOB],
];

const TRAILERS: readonly Made[] = [
  ['a CRC-32 of 0', member({ crc: 0 }), INVALID_BLOB],
  ['a CRC-32 of ones', member({ crc: 0xffffffff }), INVALID_BLOB],
  ['a CRC-32 one bit off', member({ crc: (crc32OfTrailer(TAR) ^ 1) >>> 0 }), INVALID_BLOB],
  ['a size of 0', member({ size: 0 }), INVALID_BLOB],
  ['a size one too small', member({ size: TAR.length - 1 }), INVALID_BLOB],
  ['a size of 4 GiB - 1', member({ size: 0xffffffff }), INVALID_BLOB],
  ['the trailer of another member', member({ crc: 0, size: 0 }), INVALID_BLOB],
];

const MEMBERS: readonly Made[] = [
  ['two members', Buffer.concat([gzipSync(TAR.subarray(0, half)), gzipSync(TAR.subarray(half))]), DIFF_ID],
  [
    'a member for each byte',
    Buffer.concat([...TAR].map((byte) => gzipSync(Buffer.from([byte]), { level: 1 }))),
    DIFF_ID,
  ],
  ['an empty member first', Buffer.concat([EMPTY, WHOLE]), DIFF_ID],
  ['an empty member last', Buffer.concat([WHOLE, EMPTY]), DIFF_ID],
  ['1,000 empty members', Buffer.concat([...Array.from({ length: 1000 }, () => EMPTY), WHOLE]), DIFF_ID],
  ['stored blocks', gzipSync(TAR, { level: 0 }), DIFF_ID],
  ['zeros behind', Buffer.concat([WHOLE, zero(512)]), DIFF_ID],
  ['garbage behind', Buffer.concat([WHOLE, text('garbage')]), DIFF_ID],
  ['one byte of its magic behind', Buffer.concat([WHOLE, text('\x1f')]), DIFF_ID],
  ['half a member behind', Buffer.concat([WHOLE, WHOLE.subarray(0, 30)]), INVALID_BLOB],
  ['a zstd frame behind', Buffer.concat([WHOLE, Buffer.from('28b52ffd2000010000', 'hex')]), DIFF_ID],
  ['gzip in gzip', gzipSync(WHOLE), INVALID_BLOB],
];

/** Groups of bits as they come in a deflate stream: numbers lowest bit first, codes highest first. */
function bits(groups: string): Buffer {
  const stream = groups.replaceAll(' ', '');
  return Buffer.from(
    Array.from({ length: Math.ceil(stream.length / 8) }, (_, index) =>
      Number.parseInt(
        stream
          .slice(index * 8, index * 8 + 8)
          .padEnd(8, '0')
          .split('')
          .reverse()
          .join(''),
        2,
      ),
    ),
  );
}

const DEFLATE: readonly (readonly [string, Buffer])[] = [
  ['a block of the reserved type', bits('1 11')],
  ['no last block', bits('0 10 0000000')],
  ['nothing', zero(0)],
  ['a stored block whose length has the wrong complement', Buffer.from('010500000061626364', 'hex')],
  ['a stored block that is cut', Buffer.from('010500faff6162', 'hex')],
  ['a match before the beginning', bits('1 10 0000001 00000 0000000')],
  ['length code 286', bits('1 10 11000110 00000 0000000')],
  ['length code 287', bits('1 10 11000111 00000 0000000')],
  ['distance code 30', bits('1 10 00110000 0000001 11110 0000000')],
  ['distance code 31', bits('1 10 00110000 0000001 11111 0000000')],
  ['287 length codes', bits('1 01 01111 00000 0000 100 100 100 100')],
  ['31 distance codes', bits('1 01 00000 01111 0000 100 100 100 100')],
  ['code lengths of which there are none', bits('1 01 00000 00000 0000 000 000 000 000')],
  ['too many code lengths of one bit', bits('1 01 00000 00000 0000 100 100 100 100')],
  ['a code length repeated before there is one', bits('1 01 00000 00000 0000 100 000 000 100 1 00')],
  [
    'code lengths repeated past their count',
    bits('1 01 00000 00000 0000 000 000 100 100 1 1111111 1 1111111'),
  ],
  ['no code for the end of a block', bits('1 01 00000 00000 0000 000 000 100 100 1 1111111 1 1011011')],
];

export const GZIP: readonly Made[] = [
  ...[...HEADERS, ...TRAILERS, ...MEMBERS].map(
    ([name, blob, expected]): Made => [`gzip with ${name}`, blob, expected],
  ),
  ...DEFLATE.map(([name, data]): Made => [`gzip that deflates to ${name}`, member({ data }), INVALID_BLOB]),
];
