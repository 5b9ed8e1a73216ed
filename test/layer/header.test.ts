/**
 * What a tar header means, case by case (FORMATS E73 to E109). Headers are written by hand; where a rule comes
 * from Go's archive/tar or a specification, the row says so.
 */
import { describe, expect, test } from 'vitest';
import { PeelError } from '../../src/errors.ts';
import { decodeFrame, isSkipped } from '../../src/layer/header.ts';
import type { Entry } from '../../src/layer/toc.ts';
import type { TarFrame } from '../../src/native.ts';
import {
  base256,
  frameOf,
  GNU,
  paxRecord,
  paxRecords,
  type RawHeader,
  rawHeader,
  V7,
} from '../support/raw-tar.ts';

type Part = TarFrame['parts'][number];
type Records = readonly (readonly [string, string | Uint8Array])[];

const x = (...records: Records): Part => ({ kind: 'x', data: paxRecords(records) });
const g = (...records: Records): Part => ({ kind: 'g', data: paxRecords(records) });
const long = (kind: 'L' | 'K', text: string): Part => ({ kind, data: Buffer.from(text, 'latin1') });

interface Member extends RawHeader {
  readonly parts?: readonly Part[];
  readonly stored?: number;
}

function decode({ parts = [], stored, ...fields }: Member): Entry {
  const size = typeof fields.size === 'number' && !'123456'.includes(fields.type ?? '0') ? fields.size : 0;
  const decoded = decodeFrame(frameOf(rawHeader(fields), { parts, storedSize: stored ?? size }));
  if (isSkipped(decoded)) throw new Error(decoded.warning);
  return decoded;
}

/** STAR: a ustar magic and `tar` at the end of the block; the prefix is shorter, the times follow it. */
const STAR = [[508, 'tar\0']] as const;

describe('a header gives', () => {
  const rows: readonly (readonly [string, Member, Partial<Record<keyof Entry, unknown>>])[] = [
    [
      'E73 v7: name and numbers without a magic',
      { magic: V7, name: 'a', mode: 0o444, uid: 73025 },
      { path: 'a', mode: 0o444, uid: 73025 },
    ],
    ['E73 v7: no prefix, whatever lies there', { magic: V7, name: 'a', prefix: 'junk' }, { path: 'a' }],
    [
      'E73 v7: no device numbers',
      { magic: V7, name: 'a', type: '3', patches: [[329, '0000001\0']] },
      { rdev: [0, 0] },
    ],
    [
      'E74 ustar: prefix and name',
      { name: 'n'.repeat(100), prefix: 'p'.repeat(155) },
      { path: `${'p'.repeat(155)}/${'n'.repeat(100)}` },
    ],
    [
      'E75 old Go: an ASCII prefix over GNU times',
      { magic: GNU, name: 'foo', prefix: 'a'.repeat(100) },
      { path: `${'a'.repeat(100)}/foo` },
    ],
    [
      'E75 GNU: no prefix where the times are times',
      {
        magic: GNU,
        name: 'foo',
        patches: [
          [345, '00000000001\0'],
          [357, '00000000002\0'],
        ],
      },
      { path: 'foo' },
    ],
    [
      'E75 GNU: no prefix where the bytes are not ASCII',
      { magic: GNU, name: 'foo', prefix: '\xe4bc' },
      { path: 'foo' },
    ],
    ['E76 L: the name ends at its first NUL', { parts: [long('L', 'long\0junk')] }, { path: 'long' }],
    ['E76 L: nothing before the NUL leaves the name', { parts: [long('L', '\0junk')] }, { path: 'file' }],
    ['E76 L: without a NUL at all', { parts: [long('L', 'bare')] }, { path: 'bare' }],
    [
      'E76 K: a target of 4,095 bytes',
      { type: '2', parts: [long('K', `${'t'.repeat(4095)}\0`)] },
      { target: 't'.repeat(4095), size: 4095 },
    ],
    ['E77 L twice: the last one', { parts: [long('L', 'one\0'), long('L', 'two\0')] }, { path: 'two' }],
    [
      'E77 L twice: the last one, even empty (Go)',
      { parts: [long('L', 'one\0'), long('L', '\0')] },
      { path: 'file' },
    ],
    [
      'E77 K twice: the last one',
      { type: '2', parts: [long('K', 'one\0'), long('K', 'two\0')] },
      { target: 'two' },
    ],
    [
      'E78 x twice: only the last one counts',
      { parts: [x(['path', 'a'], ['uid', '7']), x(['gid', '8'])] },
      { path: 'file', uid: 0, gid: 8 },
    ],
    ['E79 L before PAX path', { parts: [x(['path', 'pax']), long('L', 'gnu\0')] }, { path: 'gnu' }],
    [
      'E79 L before PAX path, in the other order',
      { parts: [long('L', 'gnu\0'), x(['path', 'pax'])] },
      { path: 'gnu' },
    ],
    [
      'E79 K before PAX linkpath',
      { type: '2', parts: [long('K', 'gnu\0'), x(['linkpath', 'pax'])] },
      { target: 'gnu' },
    ],
    [
      'E80 PAX path of 200 bytes and more',
      { prefix: 'p', parts: [x(['path', `${'a'.repeat(200)}/é`])] },
      { path: `${'a'.repeat(200)}/é` },
    ],
    [
      'E80 PAX linkpath',
      { type: '2', link: 'h', parts: [x(['linkpath', 'l'.repeat(200)])] },
      { target: 'l'.repeat(200) },
    ],
    [
      'E81 PAX size over the header',
      { size: 5, stored: 999, parts: [x(['size', '000000000000000000000000000000999'])] },
      { size: 999 },
    ],
    [
      'E81 PAX size beyond 8 GiB',
      { stored: 2 ** 40, parts: [x(['size', String(2 ** 40)])] },
      { size: 2 ** 40 },
    ],
    [
      'E82 an empty PAX value keeps the header',
      { name: 'h', uid: 3, parts: [x(['path', ''], ['uid', ''], ['mtime', ''])], mtime: 9 },
      { path: 'h', uid: 3, mtimeSec: 9 },
    ],
    ['E82 the last of equal keys counts', { parts: [x(['path', 'a'], ['path', 'b'])] }, { path: 'b' }],
    [
      'E82 the last of equal keys counts, even empty',
      { parts: [x(['path', 'a'], ['path', ''])] },
      { path: 'file' },
    ],
    [
      'E85 PAX mtime: nanoseconds',
      { parts: [x(['mtime', '1350244992.023960108'])] },
      { mtimeSec: 1350244992, mtimeNsec: 23960108 },
    ],
    ['E85 PAX mtime: few digits', { parts: [x(['mtime', '1.5'])] }, { mtimeSec: 1, mtimeNsec: 500_000_000 }],
    [
      'E85 PAX mtime: digits after the ninth are cut off',
      { parts: [x(['mtime', '1.9999999999999'])] },
      { mtimeSec: 1, mtimeNsec: 999_999_999 },
    ],
    ['E85 PAX mtime: negative', { parts: [x(['mtime', '-1.5'])] }, { mtimeSec: -2, mtimeNsec: 500_000_000 }],
    [
      'E85 PAX mtime: negative, less than a second',
      { parts: [x(['mtime', '-0.25'])] },
      { mtimeSec: -1, mtimeNsec: 750_000_000 },
    ],
    ['E85 PAX mtime: a negative whole', { parts: [x(['mtime', '-7'])] }, { mtimeSec: -7, mtimeNsec: 0 }],
    ['E85 PAX mtime: minus nothing', { parts: [x(['mtime', '-0.0'])] }, { mtimeSec: 0, mtimeNsec: 0 }],
    ['E85 PAX mtime: a point and no digits', { parts: [x(['mtime', '3.'])] }, { mtimeSec: 3, mtimeNsec: 0 }],
    [
      'E86 a global header is ignored',
      { parts: [g(['path', 'foo/bar'], ['mtime', '7'], ['uid', '9'])] },
      { path: 'file', mtimeSec: 0, uid: 0 },
    ],
    [
      'E86 a global header in front of an extended one',
      { parts: [g(['path', 'foo']), x(['path', 'own'])] },
      { path: 'own' },
    ],
    ['E90 a name that is not UTF-8', { name: 'hi\x80\x81\x82\x83bye' }, { path: 'hi\x80\x81\x82\x83bye' }],
    [
      'E90 a PAX path of any bytes',
      { parts: [x(['hdrcharset', 'BINARY'], ['path', '\xff\xfe/\xe4'])] },
      { path: '\xff\xfe/\xe4' },
    ],
    ['E91 base-256 size', { size: base256(2n ** 33n, 12), stored: 2 ** 33 }, { size: 2 ** 33 }],
    [
      'E91 base-256 uid and gid',
      { uid: base256(3_000_000_000n, 8), gid: base256(1n, 8) },
      { uid: 3_000_000_000, gid: 1 },
    ],
    ['E91 base-256 mtime, negative', { mtime: base256(-1n, 12) }, { mtimeSec: -1, mtimeNsec: 0 }],
    ['E91 base-256 mtime, far away', { mtime: base256(2n ** 40n, 12) }, { mtimeSec: 2 ** 40 }],
    [
      'E92 numbers of NULs only',
      { uid: '', gid: '', mode: '', mtime: '', size: '' },
      { uid: 0, gid: 0, mode: 0, mtimeSec: 0, size: 0 },
    ],
    ['E92 numbers of spaces only', { uid: '        ', size: '            ' }, { uid: 0, size: 0 }],
    [
      'E92 spaces and NULs around the digits',
      { uid: '  123 \0 ', mode: '\0\x00644 \0' },
      { uid: 0o123, mode: 0o644 },
    ],
    ['E92 what follows a NUL inside the field is nothing', { uid: '12\x009999' }, { uid: 0o12 }],
    ['E92 digits to the last byte of the field', { mtime: '777777777777' }, { mtimeSec: 0o777777777777 }],
    [
      'E99 star: a prefix of 131 bytes, then times',
      {
        name: 'n',
        prefix: 'p'.repeat(131),
        patches: [...STAR, [476, '00000000001 '], [488, '00000000002 ']],
      },
      { path: `${'p'.repeat(131)}/n` },
    ],
    ['E100 type NUL with a slash: a directory', { type: '\0', name: 'd/' }, { type: 'dir', path: 'd' }],
    ['E100 type NUL without: a file', { type: '\0', name: 'd' }, { type: 'file', path: 'd' }],
    [
      'E100 type NUL, the slash from a PAX path',
      { type: '\0', parts: [x(['path', 'd/'])] },
      { type: 'dir', path: 'd' },
    ],
    [
      'E100 type NUL, no slash left after L',
      { type: '\0', name: 'd/', parts: [long('L', 'd\0')] },
      { type: 'file', path: 'd' },
    ],
    [
      'E100 type 0 with a slash: a file',
      { type: '0', name: 'd/', size: 4 },
      { type: 'file', path: 'd', size: 4 },
    ],
    ['E101 type 7: a file', { type: '7', size: 3 }, { type: 'file', size: 3 }],
    ['E103 a directory with a size has no payload', { type: '5', size: 5 }, { type: 'dir', size: 0 }],
    [
      'E103 a hard link with a size has no payload',
      { type: '1', size: 5, link: 't' },
      { type: 'hardlink', size: 0, target: 't' },
    ],
    ['E104 device numbers of a file are ignored', { major: 1, minor: 1 }, { type: 'file', rdev: undefined }],
    [
      'E105 device numbers up to 32 bits',
      { type: '4', major: base256(2n ** 32n - 1n, 8), minor: 0 },
      { rdev: [2 ** 32 - 1, 0] },
    ],
    ['E106 character device 1:3', { type: '3', major: 1, minor: 3 }, { type: 'char', rdev: [1, 3] }],
    [
      'E106 block device 256:1000',
      { type: '4', major: 256, minor: 1000 },
      { type: 'block', rdev: [256, 1000] },
    ],
    ['E106 fifo', { type: '6' }, { type: 'fifo', rdev: undefined }],
    ['E107 setuid, setgid, sticky', { mode: 0o7755 }, { mode: 0o7755 }],
    ['E107 type bits in the mode are cut off', { type: '5', mode: 0o40755 }, { type: 'dir', mode: 0o755 }],
    ['E107 a mode in base-256', { mode: base256(0o104711n, 8) }, { mode: 0o4711 }],
    ['E108 mtime -1', { parts: [x(['mtime', '-1'])] }, { mtimeSec: -1 }],
    ['E108 mtime 2^33', { mtime: '100000000000' }, { mtimeSec: 2 ** 33 }],
    ['E108 mtime in the year 10000', { parts: [x(['mtime', '253402300800'])] }, { mtimeSec: 253402300800 }],
    [
      'E108 mtime that no number here holds is 1970',
      { parts: [x(['mtime', '9223372036854775807.5'])] },
      { mtimeSec: 0, mtimeNsec: 0 },
    ],
    [
      'E108 base-256 mtime that no number here holds is 1970',
      { mtime: base256(2n ** 62n, 12) },
      { mtimeSec: 0 },
    ],
    ['E109 an empty file', { size: 0 }, { type: 'file', size: 0 }],
    [
      'E110 a size just below 2^53',
      { size: base256(2n ** 53n - 1n, 12), stored: 2 ** 53 - 1 },
      { size: 2 ** 53 - 1 },
    ],
    ['E60 "./a"', { name: './a' }, { path: 'a' }],
    ['E60 "/a"', { name: '/a' }, { path: 'a' }],
    ['E60 "a/"', { type: '5', name: 'a/' }, { path: 'a' }],
    ['E60 "b//c"', { name: 'b//c' }, { path: 'b/c' }],
    ['E60 "b/./d"', { name: 'b/./d' }, { path: 'b/d' }],
    ['E61 "x/../.wh.etc"', { name: 'x/../.wh.etc' }, { path: '.wh.etc' }],
    ['E62 "../x"', { name: '../x' }, { path: 'x' }],
    ['E62 "/../y"', { name: '/../y' }, { path: 'y' }],
    ['E62 "a/../../../y"', { name: 'a/../../../y' }, { path: 'y' }],
    ['names that only look like dots', { name: '.../..a/.b/c..' }, { path: '.../..a/.b/c..' }],
    ['E59 "./": the root', { type: '5', name: './' }, { path: '', type: 'dir' }],
    ['E59 "/": the root', { type: '5', name: '/' }, { path: '', type: 'dir' }],
    ['E59 ".": the root', { type: '5', name: '.' }, { path: '' }],
    [
      'E65 a target is kept byte for byte',
      { type: '2', link: '../../..//x/' },
      { target: '../../..//x/', size: 12 },
    ],
    [
      'a component of 255 bytes',
      { parts: [x(['path', `${'c'.repeat(255)}/${'d'.repeat(255)}`])] },
      { path: `${'c'.repeat(255)}/${'d'.repeat(255)}` },
    ],
    [
      'a whiteout of a name of 255 bytes',
      { parts: [x(['path', `d/.wh.${'c'.repeat(255)}`])] },
      { path: `d/.wh.${'c'.repeat(255)}` },
    ],
    [
      'a path of 4,095 bytes',
      { parts: [x(['path', '/ab'.repeat(1365) + 'c'])] },
      { path: ('/ab'.repeat(1365) + 'c').slice(1) },
    ],
    [
      'the largest owner',
      { parts: [x(['uid', '4294967294'], ['gid', '4294967294'])] },
      { uid: 4294967294, gid: 4294967294 },
    ],
    [
      'E88 other spellings of xattrs are ignored',
      {
        parts: [
          x(['LIBARCHIVE.xattr.user.a', 'dg=='], ['RHT.security.selinux', 's'], ['SCHILY.acl.access', 'u']),
        ],
      },
      { xattrs: undefined },
    ],
    [
      'E87 an empty xattr value is none (Go)',
      { parts: [x(['SCHILY.xattr.user.a', ''])] },
      { xattrs: undefined },
    ],
  ];
  test.each(rows)('%s', (_case, member, expected) => {
    expect(decode(member)).toMatchObject(expected);
  });

  test('E87: xattr values exactly as their bytes stand, also with NUL, newline and =', () => {
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
    const entry = decode({
      parts: [
        x(
          ['SCHILY.xattr.security.selinux', 'unconfined_u:object_r:default_t:s0\0'],
          ['SCHILY.xattr.security.capability', capability],
          ['SCHILY.xattr.user.lines', 'a\nb=c\n'],
          ['LIBARCHIVE.xattr.user.lines', 'eA=='],
        ),
      ],
    });
    expect(Object.fromEntries(entry.xattrs ?? [])).toEqual({
      'security.selinux': Buffer.from('unconfined_u:object_r:default_t:s0\0'),
      'security.capability': capability,
      'user.lines': Buffer.from('a\nb=c\n'),
    });
  });

  test('E90: two names that are equal after U+FFFD replacement stay distinct', () => {
    expect(decode({ name: 'a\x80' }).path).not.toBe(decode({ name: 'a\x81' }).path);
  });

  test('where the bytes of a file begin', () => {
    const frame = frameOf(rawHeader({ size: 4 }), { storedSize: 4, headerOffset: 8192 });
    expect(decodeFrame({ ...frame, dataOffset: 8704 })).toMatchObject({ dataOffset: 8704 });
  });
});

describe('E102: a member that is no file is skipped with a warning', () => {
  test.each(['D', 'M', 'V', 'N', 'A', 'Z', 'I', '8', '\x80', '\x1b'])('type %j', (type) => {
    const decoded = decodeFrame(frameOf(rawHeader({ type, size: 512 }), { storedSize: 512 }));
    expect(isSkipped(decoded) && decoded.warning).toContain('4096');
    expect(isSkipped(decoded) && decoded.warning).not.toContain('\x1b');
  });
});

describe('a header is refused for', () => {
  const rows: readonly (readonly [string, Member])[] = [
    ['E83 a PAX record longer than its header', { parts: [{ kind: 'x', data: Buffer.from('99 path=a\n') }] }],
    ['E83 a PAX record shorter than its key', { parts: [{ kind: 'x', data: Buffer.from('5 path=a\n') }] }],
    ['E83 a PAX record without a newline', { parts: [{ kind: 'x', data: Buffer.from('10 path=ab') }] }],
    ['E83 a PAX record without a length', { parts: [{ kind: 'x', data: Buffer.from(' path=a\n') }] }],
    ['E83 a PAX record with a negative length', { parts: [{ kind: 'x', data: Buffer.from('-9 path=a\n') }] }],
    ['E83 a PAX record with a signed length', { parts: [{ kind: 'x', data: Buffer.from('+10 path=a\n') }] }],
    [
      'E83 a PAX record with an endless length',
      { parts: [{ kind: 'x', data: Buffer.from(`${'0'.repeat(400)}9 path=a\n`) }] },
    ],
    ['E83 a PAX record of length 0', { parts: [{ kind: 'x', data: Buffer.from('0 a=b\n') }] }],
    ['E83 a PAX record without =', { parts: [{ kind: 'x', data: Buffer.from('8 paths\n') }] }],
    ['E83 a PAX record with an empty key', { parts: [{ kind: 'x', data: Buffer.from('6 =ab\n') }] }],
    [
      'E83 NULs after the PAX records',
      { parts: [{ kind: 'x', data: Buffer.concat([paxRecord('path', 'a'), Buffer.alloc(8)]) }] },
    ],
    [
      'E83 a malformed record in an x header that a later one replaces',
      { parts: [{ kind: 'x', data: Buffer.from('junk') }, x(['path', 'a'])] },
    ],
    ['E83 a malformed record in a global header', { parts: [{ kind: 'g', data: Buffer.from('junk') }] }],
    ['E83 PAX mtime that is no number', { parts: [x(['mtime', '1.2.3'])] }],
    ['E83 PAX mtime with letters', { parts: [x(['mtime', '1e9'])] }],
    ['E83 PAX mtime without seconds', { parts: [x(['mtime', '.5'])] }],
    ['E83 PAX atime that is no number', { parts: [x(['atime', 'now'])] }],
    ['E83 PAX mtime beyond 64 bits', { parts: [x(['mtime', '9223372036854775808'])] }],
    ['E83 PAX uid that is no number', { parts: [x(['uid', '0x10'])] }],
    ['E83 PAX size that is no number', { parts: [x(['size', '1 '])] }],
    ['E81 PAX size that is negative', { parts: [x(['size', '-1'])] }],
    ['E89 a NUL in a PAX path', { parts: [x(['path', 'a\0b'])] }],
    ['E89 a NUL in a PAX linkpath', { type: '2', parts: [x(['linkpath', 'a\0b'])] }],
    ['E89 a NUL in a PAX uname', { parts: [x(['uname', 'a\0b'])] }],
    ['E89 a NUL in a PAX key', { parts: [x(['SCHILY.xattr.user.a\0b', 'v'])] }],
    [
      'E89 a NUL in GNU.sparse.name',
      { parts: [x(['GNU.sparse.numblocks', '0'], ['GNU.sparse.map', ','], ['GNU.sparse.name', 'a\0'])] },
    ],
    ['E91 base-256 beyond 64 bits', { uid: Buffer.from([0x80, 0x80, 0, 0, 0, 0, 0, 0]) }],
    ['E91 base-256 size beyond 2^53', { size: base256(2n ** 53n, 12) }],
    ['E91 base-256 size beyond 2^63', { size: base256(2n ** 63n, 12) }],
    ['E92 a uid with a digit 8', { uid: '0000008\0' }],
    ['E92 a uid with a blank inside', { uid: '12 34\0' }],
    ['E92 a mode with a sign', { mode: '-000644\0' }],
    ['E92 a size in hexadecimal', { size: '0x10\0' }],
    ['E92 letters in device numbers of a file (Go)', { major: 'abc\0' }],
    ['E93 a negative size', { size: '-0000000001\0' }],
    ['E93 a negative size in base-256', { size: base256(-1n, 12) }],
    ['E99 letters in star times', { prefix: 'p', patches: [...STAR, [476, 'abc']] }],
    [
      'E100 a directory by its slash with a payload: readers disagree',
      { type: '\0', name: 'd/', size: 512, stored: 512 },
    ],
    ['E105 a negative device number', { type: '3', major: base256(-1n, 8) }],
    ['E105 a device number beyond 32 bits', { type: '4', minor: base256(2n ** 32n, 8) }],
    ['a size that the framer does not share', { size: 10, stored: 9 }],
    ['a payload of a directory that the framer found', { type: '5', stored: 512 }],
    [
      'a global header between an extended one and its member: readers disagree',
      { parts: [x(['path', 'a']), g(['comment', 'c'])] },
    ],
    ['a global header after L', { parts: [long('L', 'a\0'), g(['comment', 'c'])] }],
    ['a path of 4,096 bytes', { parts: [x(['path', 'ab/'.repeat(1365) + 'c'])] }],
    ['a component of 256 bytes', { parts: [x(['path', `a/${'c'.repeat(256)}`])] }],
    ['a component of 256 bytes that is not the last', { parts: [x(['path', `.wh.${'c'.repeat(256)}/a`])] }],
    ['a whiteout of a name of 256 bytes', { parts: [x(['path', `.wh.${'c'.repeat(256)}`])] }],
    ['a path of 1 MiB', { parts: [long('L', 'a/'.repeat(524_288))] }],
    ['a symlink target of 4,096 bytes', { type: '2', parts: [long('K', 't'.repeat(4096))] }],
    ['a hard link target of 4,096 bytes', { type: '1', parts: [x(['linkpath', 't'.repeat(4096)])] }],
    ['E59 the root as a file', { name: './' }],
    ['E59 the root as a symlink', { type: '2', name: '/', link: 'etc' }],
    ['E59 an empty name', { name: '' }],
    ['E62 a name that is the root after all', { name: 'a/..' }],
    ['a symlink without a target', { type: '2' }],
    ['a hard link without a target', { type: '1' }],
    ['a uid of -1', { uid: base256(-1n, 8) }],
    ['a gid of (gid_t)-1', { parts: [x(['gid', '4294967295'])] }],
    ['a uid beyond 32 bits (CVE-2024-40635)', { parts: [x(['uid', '4294967296'])] }],
    ['an xattr without a name', { parts: [x(['SCHILY.xattr.', 'v'])] }],
    ['an xattr name of 256 bytes', { parts: [x([`SCHILY.xattr.${'n'.repeat(256)}`, 'v'])] }],
  ];
  test.each(rows)('%s', (_case, member) => {
    const error = thrownBy(() => decode(member));
    expect(error).toMatchObject({ code: 'ERR_LAYER_INVALID', facts: { offset: 4096 } });
    expect((error as Error).message).toContain('4096');
  });

  const caps: readonly (readonly [string, Member])[] = [
    ['an xattr value beyond 64 KiB', { parts: [x(['SCHILY.xattr.user.a', Buffer.alloc(65_537, 1)])] }],
    [
      'xattrs beyond 1 MiB',
      {
        parts: [
          x(
            ...Array.from(
              { length: 17 },
              (_, n) => [`SCHILY.xattr.user.${n}`, Buffer.alloc(65_536, 1)] as const,
            ),
          ),
        ],
      },
    ],
  ];
  test.each(caps)('%s', (_case, member) => {
    expect(thrownBy(() => decode(member))).toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED',
      facts: { offset: 4096 },
    });
  });
});

function thrownBy(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof PeelError)) throw error;
    return error;
  }
}
