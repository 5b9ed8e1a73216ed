/** B1: every number of a header in every way that a number was ever written, right or wrong. */
import { base256, type RawHeader, rawMember, tarOf } from '../../support/raw-tar.ts';
import { INVALID, type MadeCase } from './made-case.ts';

/** The bytes for a field of that many, and what they are in Go's reading; undefined for no number. */
type Spelling = readonly [name: string, write: (room: number) => string | Buffer, value: number | undefined];

const SPELLINGS: readonly Spelling[] = [
  ['spaces before the digits', (room) => '7\0'.padStart(room, ' '), 7],
  ['a space behind the digits', () => '7 ', 7],
  ['digits up to the last byte', (room) => '7'.padStart(room, '0'), 7],
  ['nothing', () => '', 0],
  ['spaces alone', (room) => ' '.repeat(room), 0],
  ['a NUL before the digits', () => '\x007', 7],
  ['a NUL between digits', () => '7\x001', 7],
  ['a space between digits', () => '7 1', undefined],
  ['a minus', () => '-7', undefined],
  ['a plus', () => '+7', undefined],
  ['the digit 8', () => '8', undefined],
  ['a hexadecimal digit', () => '0x7', undefined],
  ['a point', () => '7.0', undefined],
  ['a letter behind the digits', () => '7a', undefined],
  ['a byte beyond ASCII behind the digits', () => '7\xff', undefined],
  ['base-256', (room) => base256(7n, room), 7],
  ['base-256 of nothing', (room) => base256(0n, room), 0],
  ['a negative number in base-256', (room) => base256(-7n, room), -7],
  ['base-256 of ones', (room) => Buffer.alloc(room, 0xff), -1],
  ['base-256 of 2^31', (room) => base256(2n ** 31n, room), 2 ** 31],
  ['base-256 of 2^53', (room) => base256(2n ** 53n, room), 2 ** 53],
  [
    'the largest number in base-256',
    (room) => Buffer.from([0xbf, ...new Uint8Array(room - 1).fill(255)]),
    Infinity,
  ],
];

interface NumberField {
  readonly field: keyof RawHeader & ('mode' | 'uid' | 'gid' | 'size' | 'mtime' | 'major' | 'minor');
  readonly room: number;
  readonly type: string;
  /** What an entry says of a number; undefined where that number is refused. */
  readonly shown: (value: number) => string | undefined;
}

const ID_LIMIT = 2 ** 32 - 1;
const unless = (isDefault: boolean, text: string): string => (isDefault ? '' : ` ${text}`);
const owner = (name: string) => (value: number) =>
  value < 0 || value >= ID_LIMIT ? undefined : `file file 0${unless(value === 0, `${name}=${value}`)}`;
const device = (numbers: (value: number) => string) => (value: number) =>
  value < 0 || value > ID_LIMIT ? undefined : `char file 0${unless(value === 0, `device=${numbers(value)}`)}`;

const FIELDS: readonly NumberField[] = [
  {
    field: 'mode',
    room: 8,
    type: '0',
    // The bits of permissions alone, of any number that is held exactly.
    shown: (value) =>
      Number.isSafeInteger(value)
        ? `file file 0 mode=${Number(BigInt(value) & 0o7777n).toString(8)}`
        : undefined,
  },
  { field: 'uid', room: 8, type: '0', shown: owner('uid') },
  { field: 'gid', room: 8, type: '0', shown: owner('gid') },
  {
    field: 'size',
    room: 12,
    type: '0',
    // Seven bytes are there.
    shown: (value) => (value === 7 || value === 0 ? `file file ${value}` : undefined),
  },
  {
    field: 'mtime',
    room: 12,
    type: '0',
    // One that no system can represent becomes 0.
    shown: (value) =>
      Number.isSafeInteger(value)
        ? `file file 0${unless(value === 0, `mtime=${value}.000000000`)}`
        : 'file file 0',
  },
  { field: 'major', room: 8, type: '3', shown: device((value) => `${value}:0`) },
  { field: 'minor', room: 8, type: '3', shown: device((value) => `0:${value}`) },
];

export const TAR_FIELDS: readonly MadeCase[] = FIELDS.flatMap(({ field, room, type, shown }) =>
  SPELLINGS.map(([name, write, value]): MadeCase => {
    const written = write(room);
    const bytes = typeof written === 'string' ? Buffer.from(written.padEnd(room, '\0'), 'latin1') : written;
    const isBeyond64Bits = value === Infinity && room === 12;
    const row = value === undefined || isBeyond64Bits ? undefined : shown(value);
    const payload = Buffer.from(field === 'size' && value === 7 ? 'payload' : '');
    return {
      name: `${field}: ${name}`,
      form: 'tar',
      bytes: tarOf(
        rawMember(
          { [field]: bytes, size: payload.length, type, ...(field === 'size' ? { size: bytes } : {}) },
          payload,
        ),
      ),
      expected: row === undefined ? INVALID : [row],
    };
  }),
);
