/** B1: names, types, sizes, extended headers and framing that some reader once fell for, each as one small tar. */
import {
  base256,
  GNU,
  longMember,
  paxMember,
  paxRecord,
  rawHeader,
  rawMember,
  tarOf,
  USTAR,
  V7,
} from '../../support/raw-tar.ts';
import { INVALID, LIMIT, type MadeCase } from './made-case.ts';

const file = (name: string, content = '') => rawMember({ name }, Buffer.from(content));
const after = file('after', 'x');
const AFTER = 'file after 1';

const ROWS: readonly (readonly [string, Buffer, string | readonly string[]])[] = [
  // Names.
  ['name ".."', tarOf(file('..')), INVALID],
  ['name "."', tarOf(file('.')), INVALID],
  ['name "/"', tarOf(file('/')), INVALID],
  ['name "../../../etc/passwd"', tarOf(file('../../../etc/passwd')), ['file etc/passwd 0']],
  ['name "/etc/passwd"', tarOf(file('/etc/passwd')), ['file etc/passwd 0']],
  ['name "//etc///passwd//"', tarOf(file('//etc///passwd//')), ['file etc/passwd 0']],
  ['name "a/b/../../../c"', tarOf(file('a/b/../../../c')), ['file c 0']],
  ['name of slashes only', tarOf(file('/'.repeat(100))), INVALID],
  ['directory of slashes only', tarOf(rawMember({ name: '///', type: '5' })), ['dir  0']],
  ['name with a NUL first', tarOf(file('\0hidden')), INVALID],
  ['name with a NUL inside', tarOf(file('a\0b')), ['file a 0']],
  ['name with a newline and an escape', tarOf(file('a\n\x1b[31mb')), ['file a\n\x1b[31mb 0']],
  ['name with a backslash and a colon', tarOf(file('C:\\..\\x')), ['file C:\\..\\x 0']],
  ['name "__proto__"', tarOf(file('__proto__'), after), ['file __proto__ 0', AFTER]],
  ['name "constructor"', tarOf(file('constructor/prototype')), ['file constructor/prototype 0']],
  ['name of 100 bytes without a NUL', tarOf(file('n'.repeat(100))), [`file ${'n'.repeat(100)} 0`]],
  ['prefix and an empty name', tarOf(rawMember({ name: '', prefix: 'p', type: '5' })), ['dir p 0']],
  ['prefix "..", name ".."', tarOf(rawMember({ name: '..', prefix: '..' })), INVALID],
  [
    '255 bytes in a component',
    tarOf(longMember('L', 'c'.repeat(255)), file('x')),
    [`file ${'c'.repeat(255)} 0`],
  ],
  ['256 bytes in a component', tarOf(longMember('L', 'c'.repeat(256)), file('x')), INVALID],
  ['4,096 bytes of path', tarOf(longMember('L', 'ab/'.repeat(1365) + 'c'), file('x')), INVALID],
  ['4,096 bytes that clean to one', tarOf(longMember('L', './'.repeat(2048) + 'c'), file('x')), ['file c 0']],
  ['1 MiB of "../"', tarOf(longMember('L', '../'.repeat(349_000) + 'c'), file('x')), ['file c 0']],
  ['1 MiB of depth', tarOf(longMember('L', 'a/'.repeat(520_000)), file('x')), INVALID],
  ['2 MiB of name', tarOf(longMember('L', 'a'.repeat(2 ** 21)), file('x')), LIMIT],
  [
    'whiteout forms are names like others here',
    tarOf(file('.wh.'), file('.wh..'), file('d/.wh...'), file('.wh..wh..opq')),
    ['file .wh. 0', 'file .wh.. 0', 'file d/.wh... 0', 'file .wh..wh..opq 0', 'no tree'],
  ],
  [
    'names that are not UTF-8, equal once replaced',
    tarOf(file('a\x80'), file('a\x81')),
    ['file a\x80 0', 'file a\x81 0'],
  ],

  // Types and payloads.
  [
    'type confusion: file, dir, link of one name',
    tarOf(file('a'), rawMember({ name: 'a', type: '5' }), rawMember({ name: 'a', type: '2', link: 'a' })),
    ['file a 0', 'dir a 0', 'symlink a 1 -> a'],
  ],
  [
    'hard link to itself',
    tarOf(rawMember({ name: 'a', type: '1', link: 'a' })),
    ['hardlink a 0 -> a', 'no tree'],
  ],
  [
    'hard link to a later name',
    tarOf(rawMember({ name: 'a', type: '1', link: 'after' }), after),
    ['hardlink a 0 -> after', AFTER],
  ],
  ['hard link to nothing', tarOf(rawMember({ name: 'a', type: '1' })), INVALID],
  ['symlink to nothing', tarOf(rawMember({ name: 'a', type: '2' })), INVALID],
  ['symlink to itself', tarOf(rawMember({ name: 'a', type: '2', link: 'a' })), ['symlink a 1 -> a']],
  [
    'symlink of 4,096 bytes',
    tarOf(longMember('K', 't'.repeat(4096)), rawMember({ name: 'a', type: '2' })),
    INVALID,
  ],
  [
    'link with a payload size and no payload',
    tarOf(rawHeader({ name: 'a', type: '2', link: 'x', size: 512 }), after),
    ['symlink a 1 -> x', AFTER],
  ],
  [
    'link with a payload size that PAX gives',
    tarOf(paxMember([['size', '512']]), rawHeader({ name: 'a', type: '2', link: 'x' }), after),
    ['symlink a 1 -> x', AFTER],
  ],
  [
    'directory by its slash, with a payload',
    tarOf(rawMember({ name: 'd/', type: '\0' }, Buffer.alloc(512, 1)), after),
    INVALID,
  ],
  [
    'fifo with a size beyond 64 bits',
    tarOf(rawHeader({ name: 'p', type: '6', size: Buffer.alloc(12, 0xbf) })),
    INVALID,
  ],
  ['device 2^32:0', tarOf(rawMember({ name: 'd', type: '3', major: base256(2n ** 32n, 8) })), INVALID],
  ['device of negative numbers', tarOf(rawMember({ name: 'd', type: '4', minor: base256(-1n, 8) })), INVALID],
  [
    'unknown type with a payload',
    tarOf(rawMember({ name: 'u', type: 'Q' }, Buffer.alloc(700, 1)), after),
    [AFTER],
  ],
  [
    'type of a byte beyond ASCII',
    tarOf(rawMember({ name: 'u', type: '\xff' }, Buffer.alloc(5, 1)), after),
    [AFTER],
  ],
  [
    'Solaris extended header (X)',
    tarOf(rawMember({ name: 'u', type: 'X' }, paxRecord('path', 'evil')), after),
    [AFTER],
  ],
  [
    'sparse file (S) of more than 2^53 bytes',
    tarOf(rawMember({ type: 'S', magic: GNU, patches: [[483, base256(2n ** 53n, 12)]] })),
    INVALID,
  ],
  [
    'sparse file (S) of a negative size',
    tarOf(rawMember({ type: 'S', magic: GNU, patches: [[483, base256(-1n, 12)]] })),
    INVALID,
  ],
  ['type S in a ustar header', tarOf(rawMember({ type: 'S', magic: USTAR })), INVALID],
  ['type S in a v7 header', tarOf(rawMember({ type: 'S', magic: V7 })), INVALID],

  // Sizes.
  ['size 2^63 in base-256', tarOf(rawHeader({ size: base256(2n ** 63n, 12) })), INVALID],
  ['size 2^63 - 1 in base-256', tarOf(rawHeader({ size: base256(2n ** 63n - 1n, 12) })), INVALID],
  ['size 2^53 in base-256', tarOf(rawHeader({ size: base256(2n ** 53n, 12) })), INVALID],
  ['size -1 in base-256', tarOf(rawHeader({ size: base256(-1n, 12) })), INVALID],
  ['size of 12 octal digits, without the bytes', tarOf(rawHeader({ size: '777777777777' })), INVALID],
  ['size with a sign', tarOf(rawHeader({ size: '+0000000001\0' })), INVALID],
  ['size in letters', tarOf(rawHeader({ size: 'zzzzzzzzzzz\0' })), INVALID],
  ['size of 1 TiB, without the bytes', tarOf(rawHeader({ size: base256(2n ** 40n, 12) })), INVALID],
  ['PAX size of 8 EiB', tarOf(paxMember([['size', '9223372036854775807']]), file('a')), INVALID],
  ['PAX size beyond 64 bits', tarOf(paxMember([['size', '18446744073709551616']]), file('a')), INVALID],
  ['PAX size negative', tarOf(paxMember([['size', '-512']]), file('a')), INVALID],
  ['PAX size in hexadecimal', tarOf(paxMember([['size', '0x10']]), file('a')), INVALID],
  [
    'PAX size 0 over a header with a payload',
    tarOf(paxMember([['size', '0']]), rawHeader({ name: 'a', size: 512 }), after),
    ['file a 0', AFTER],
  ],
  // node-tar CVE-2026-53655: the size of an x header is that of the member, not of the L header between.
  [
    'PAX size does not apply to the L header after it',
    tarOf(
      paxMember([['size', '3']]),
      longMember('L', 'long'),
      rawMember({ name: 'x', size: 0 }, Buffer.from('abc')),
      after,
    ),
    ['file long 3', AFTER],
  ],
  [
    'PAX size does not apply to an x header after it',
    tarOf(paxMember([['size', '1']]), paxMember([['path', 'renamed']]), file('x', 'abc'), after),
    ['file renamed 3', AFTER],
  ],

  // Extended headers.
  ['PAX before L', tarOf(paxMember([['path', 'pax']]), longMember('L', 'gnu'), file('x')), ['file gnu 0']],
  ['L before PAX', tarOf(longMember('L', 'gnu'), paxMember([['path', 'pax']]), file('x')), ['file gnu 0']],
  [
    'X7: PAX twice, the last one counts',
    tarOf(paxMember([['path', 'first']]), paxMember([['path', 'second']]), file('x')),
    ['file second 0'],
  ],
  [
    'X7: PAX twice, the last one empty',
    tarOf(paxMember([['path', 'first']]), rawMember({ type: 'x' }), file('x')),
    ['file x 0'],
  ],
  ['PAX at the end of the tar', tarOf(paxMember([['path', 'nothing']])), []],
  ['malformed PAX at the end of the tar', tarOf(rawMember({ type: 'x' }, Buffer.from('junk'))), INVALID],
  ['PAX with a time that is none at the end of the tar', tarOf(paxMember([['mtime', 'x']])), INVALID],
  ['the same where the tar just ends', paxMember([['mtime', 'x']]), INVALID],
  ['global PAX with a time that is none at the end', tarOf(paxMember([['mtime', 'x']], 'g')), INVALID],
  [
    'PAX with a time that is none in front of an unknown type',
    tarOf(paxMember([['mtime', 'x']]), rawMember({ type: 'Q' }), after),
    INVALID,
  ],
  ['L at the end of the tar', tarOf(longMember('L', 'nothing')), []],
  [
    'PAX in front of an unknown type',
    tarOf(paxMember([['path', 'evil']]), rawMember({ type: 'Q' }), after),
    [AFTER],
  ],
  ['global PAX with a path', tarOf(paxMember([['path', 'global']], 'g'), file('own')), ['file own 0']],
  [
    'global PAX with a size',
    tarOf(paxMember([['size', '1']], 'g'), file('own', 'abc'), after),
    ['file own 3', AFTER],
  ],
  [
    'global PAX between x and member',
    tarOf(paxMember([['path', 'x']]), paxMember([['path', 'g']], 'g'), file('own')),
    INVALID,
  ],
  [
    'global PAX that is malformed',
    tarOf(rawMember({ type: 'g' }, Buffer.from('junk')), file('own')),
    INVALID,
  ],
  [
    'PAX record of length 2^64',
    tarOf(rawMember({ type: 'x' }, Buffer.from('18446744073709551627 path=a\n')), file('a')),
    INVALID,
  ],
  [
    'PAX record longer than its header',
    tarOf(rawMember({ type: 'x' }, Buffer.from('50 path=a\n')), file('a')),
    INVALID,
  ],
  ['PAX record with a key of NUL', tarOf(paxMember([['pa\0th', 'a']]), file('a')), INVALID],
  ['PAX path with a NUL', tarOf(paxMember([['path', 'a\0../../b']]), file('a')), INVALID],
  ['PAX uid beyond 32 bits', tarOf(paxMember([['uid', '4294967296']]), file('a')), INVALID],
  ['PAX uid -1', tarOf(paxMember([['uid', '-1']]), file('a')), INVALID],
  ['PAX mtime beyond 64 bits', tarOf(paxMember([['mtime', '99999999999999999999']]), file('a')), INVALID],
  ['PAX mtime NaN', tarOf(paxMember([['mtime', 'NaN']]), file('a')), INVALID],
  ['PAX mtime Infinity', tarOf(paxMember([['mtime', 'Infinity']]), file('a')), INVALID],
  [
    'PAX key "__proto__"',
    tarOf(
      paxMember([
        ['__proto__', 'x'],
        ['SCHILY.xattr.__proto__', 'y'],
      ]),
      file('a'),
    ),
    ['file a 0 attributes=1'],
  ],
  ['PAX beyond 1 MiB', tarOf(paxMember([['comment', 'c'.repeat(2 ** 20)]]), file('a')), LIMIT],
  ['PAX of 1 TiB declared', tarOf(rawHeader({ type: 'x', size: base256(2n ** 40n, 12) })), LIMIT],
  [
    '10,000 x headers before one member',
    tarOf(...Array.from({ length: 10_000 }, () => paxMember([['path', 'a']])), file('a')),
    LIMIT,
  ],
  [
    '30,000 xattrs',
    tarOf(
      paxMember(Array.from({ length: 30_000 }, (_, n) => [`SCHILY.xattr.user.${n}`, 'v'] as const)),
      file('a'),
    ),
    ['file a 0 attributes=30000'],
  ],
  [
    'an xattr of 64 KiB and a byte',
    tarOf(paxMember([['SCHILY.xattr.user.a', 'v'.repeat(65_537)]]), file('a')),
    LIMIT,
  ],
  ['an xattr without a name', tarOf(paxMember([['SCHILY.xattr.', 'v']]), file('a')), INVALID],
  [
    'an xattr name of 300 bytes',
    tarOf(paxMember([[`SCHILY.xattr.${'n'.repeat(300)}`, 'v']]), file('a')),
    INVALID,
  ],

  // Framing.
  ['a wrong checksum', tarOf(rawMember({ name: 'a', checksum: '0777777\0' })), INVALID],
  ['a checksum in base-256', tarOf(rawMember({ name: 'a', checksum: base256(1n, 8) })), INVALID],
  ['an empty checksum', tarOf(rawMember({ name: 'a', checksum: '        ' })), INVALID],
  [
    'one zero block in the middle',
    Buffer.concat([file('a'), Buffer.alloc(512), after, Buffer.alloc(1024)]),
    INVALID,
  ],
  [
    'two zero blocks in the middle hide the rest',
    Buffer.concat([file('a'), Buffer.alloc(1024), after]),
    ['file a 0'],
  ],
  ['a header of 0xff', Buffer.alloc(1024, 0xff), INVALID],
  ['a last member cut in its padding', file('a', 'x').subarray(0, 600), ['file a 1']],
  ['nothing at all', Buffer.alloc(0), []],
  ['one byte', Buffer.from('x'), INVALID],
  ['511 zero bytes', Buffer.alloc(511), INVALID],
  ['GNU magic, ustar version', tarOf(rawMember({ name: 'a', magic: 'ustar 00', prefix: 'p' })), ['file a 0']],
  [
    'GNU with times of letters and a prefix that is not ASCII',
    tarOf(rawMember({ name: 'a', magic: GNU, prefix: '\xffbc' })),
    ['file a 0'],
  ],
];

export const TARS: readonly MadeCase[] = ROWS.map(([name, bytes, expected]) => ({
  name,
  form: 'tar',
  bytes,
  expected,
}));
