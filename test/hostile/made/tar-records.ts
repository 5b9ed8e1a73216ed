/** B1: every PAX record that a reader gives a meaning to, with every value that it might choke on. */
import { paxMember, paxRecord, rawMember, tarOf } from '../../support/raw-tar.ts';
import { INVALID, LIMIT, type MadeCase } from './made-case.ts';

const after = rawMember({ name: 'after' }, Buffer.from('x'));
const AFTER = 'file after 1';

/** Text of a decimal number, and its value where Go takes it for a whole one, or for a time. */
const NUMBERS: readonly (readonly [text: string, whole: number | undefined, time: string | undefined])[] = [
  ['7', 7, '7.000000000'],
  ['007', 7, '7.000000000'],
  ['', 0, '0.000000000'],
  ['-7', -7, '-7.000000000'],
  ['-0', 0, '0.000000000'],
  ['+7', undefined, undefined],
  [' 7', undefined, undefined],
  ['7 ', undefined, undefined],
  ['7\n', undefined, undefined],
  ['7\0', undefined, undefined],
  ['0x7', undefined, undefined],
  ['0o7', undefined, undefined],
  ['1e1', undefined, undefined],
  ['7.5', undefined, '7.500000000'],
  ['-7.5', undefined, '-8.500000000'],
  ['7.', undefined, '7.000000000'],
  ['.5', undefined, undefined],
  ['7.5.5', undefined, undefined],
  ['7.1234567891', undefined, '7.123456789'],
  ['NaN', undefined, undefined],
  ['9223372036854775808', undefined, undefined],
];
const WHOLE_KEYS = ['uid', 'gid', 'size'] as const;
const TIME_KEYS = ['mtime', 'atime', 'ctime'] as const;

function wholeCase(key: (typeof WHOLE_KEYS)[number], text: string, whole: number | undefined): MadeCase {
  const payload = Buffer.from(key === 'size' && whole === 7 ? 'payload' : '');
  const says = key === 'size' ? `file file ${whole}` : `file file 0${whole === 0 ? '' : ` ${key}=${whole}`}`;
  return {
    name: `PAX ${key} ${JSON.stringify(text)}`,
    form: 'tar',
    bytes: tarOf(paxMember([[key, text]]), rawMember({ size: 0 }, payload), after),
    // The framer, which needs it first, has no zero below zero; Go has.
    expected: whole === undefined || whole < 0 || (key === 'size' && text === '-0') ? INVALID : [says, AFTER],
  };
}

function timeCase(key: (typeof TIME_KEYS)[number], text: string, time: string | undefined): MadeCase {
  const isShown = key === 'mtime' && time !== '0.000000000';
  return {
    name: `PAX ${key} ${JSON.stringify(text)}`,
    form: 'tar',
    bytes: tarOf(paxMember([[key, text]]), rawMember({}), after),
    expected: time === undefined ? INVALID : [`file file 0${isShown ? ` mtime=${time}` : ''}`, AFTER],
  };
}

const TEXTS = ['a=b', 'a\nb', 'a\0b', '', '\xff\xfe', ' ', 'e\u0301'.normalize('NFD'), '../../x'] as const;
const TEXT_KEYS = ['path', 'linkpath', 'uname', 'gname', 'comment', 'SCHILY.xattr.user.x'] as const;
const WITHOUT_NUL: ReadonlySet<string> = new Set(['path', 'linkpath', 'uname', 'gname']);

function textCase(key: (typeof TEXT_KEYS)[number], text: string): MadeCase {
  const value = Buffer.from(text, 'utf8').toString('latin1');
  const raw = text === '\xff\xfe' ? text : value;
  const name = key === 'path' && raw !== '' ? (raw === '../../x' ? 'x' : raw) : 'link';
  const target = key === 'linkpath' && raw !== '' ? raw : 'target';
  const attributes = key === 'SCHILY.xattr.user.x' && raw !== '' ? ' attributes=1' : '';
  return {
    name: `PAX ${key} ${JSON.stringify(text)}`,
    form: 'tar',
    bytes: tarOf(paxMember([[key, raw]]), rawMember({ name: 'link', type: '2', link: 'target' }), after),
    expected:
      WITHOUT_NUL.has(key) && raw.includes('\0')
        ? INVALID
        : [`symlink ${name} ${target.length} -> ${target}${attributes}`, AFTER],
  };
}

/** Records as they stand in an extended header, and the name that they give the member. */
const FORMS: readonly (readonly [name: string, records: string, path: string | undefined])[] = [
  ['no records', '', 'file'],
  ['a record of its least length', '5 a=\n', 'file'],
  ['a length with zeros in front', '0010 path=b\n', undefined],
  ['a length with zeros that count', '013 path=abc\n', 'abc'],
  ['a length with a plus', '+10 path=b\n', undefined],
  ['a length with a minus', '-10 path=b\n', undefined],
  ['a length in hexadecimal', '0xa path=b\n', undefined],
  ['a length of 0', '0 path=b\n', undefined],
  ['a length of 3', '3 a\n', undefined],
  ['a length one too small', '8 path=b\n', undefined],
  ['a length one too large', '11 path=b\n', undefined],
  ['no length', 'path=b\n', undefined],
  ['a space in front', ' 10 path=b\n', undefined],
  ['a tab behind the length', '10\tpath=b\n', undefined],
  ['two spaces behind the length', '11  path=b\n', 'file'],
  ['no equals sign', '10 path.b\n', undefined],
  ['an empty key', '5 =b\n', undefined],
  ['no newline', '10 path=bc', undefined],
  ['a carriage return and a newline', '11 path=b\r\n', 'b\r'],
  ['NULs behind the last record', '10 path=b\n\0\0\0', undefined],
  ['a record inside another', '20 a=10 path=evil\n\n', undefined],
  ['a newline inside the value', '22 comment=\n9 path=b\n', undefined],
  ['a key twice', '10 path=b\n10 path=c\n', 'c'],
  ['a key twice, empty at last', '10 path=b\n8 path=\n', 'file'],
  ['a key in capitals', '10 PATH=b\n', 'file'],
];

function formCase(name: string, records: string, path: string | undefined): MadeCase {
  return {
    name: `PAX records with ${name}`,
    form: 'tar',
    bytes: tarOf(rawMember({ name: 'pax', type: 'x' }, Buffer.from(records, 'latin1')), rawMember({}), after),
    expected: path === undefined ? INVALID : [`file ${path} 0`, AFTER],
  };
}

const SPARSE_KEYS = ['major', 'minor', 'numblocks', 'map', 'offset', 'numbytes', 'size', 'realsize'] as const;
const SPARSE_VALUES = ['-1', '1.5', 'x', '9223372036854775807', '1,2,3'] as const;

/** A file with a sparse map of version 0.1 that is right but for one record. */
function sparseCase(key: (typeof SPARSE_KEYS)[number], value: string): MadeCase {
  const records = new Map([
    ['GNU.sparse.numblocks', '1'],
    ['GNU.sparse.size', '1000'],
    ['GNU.sparse.map', '10,7'],
  ]);
  records.delete(`GNU.sparse.${key}`);
  const isVersion = key === 'major' || key === 'minor';
  // `size` counts where it is there; a version that nobody knows is no sparse file.
  const isFree = key === 'realsize';
  const refusal = key === 'numblocks' && value === '9223372036854775807' ? LIMIT : INVALID;
  return {
    name: `PAX GNU.sparse.${key} ${JSON.stringify(value)}`,
    form: 'tar',
    bytes: tarOf(
      Buffer.concat([
        rawMember(
          { name: 'pax', type: 'x' },
          Buffer.concat([...records, [`GNU.sparse.${key}`, value] as const].map(([k, v]) => paxRecord(k, v))),
        ),
      ]),
      rawMember({}, Buffer.from('payload')),
      after,
    ),
    expected: isVersion ? ['file file 7', AFTER] : isFree ? ['file file 1000', AFTER] : refusal,
  };
}

export const TAR_RECORDS: readonly MadeCase[] = [
  ...WHOLE_KEYS.flatMap((key) => NUMBERS.map(([text, whole]) => wholeCase(key, text, whole))),
  ...TIME_KEYS.flatMap((key) => NUMBERS.map(([text, , time]) => timeCase(key, text, time))),
  ...TEXT_KEYS.flatMap((key) => TEXTS.map((text) => textCase(key, text))),
  ...FORMS.map(([name, records, path]) => formCase(name, records, path)),
  ...SPARSE_KEYS.flatMap((key) => SPARSE_VALUES.map((value) => sparseCase(key, value))),
];
