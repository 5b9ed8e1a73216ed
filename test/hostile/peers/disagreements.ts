/**
 * The kinds of tars that readers take for different things: what is in the tar, and which readers then differ from Go and
 * peel, or refuse. docs/SEMANTICS.md says how each of them reads it.
 */
import type { TarFrame } from '../../../src/native.ts';

export type Reader = 'python' | 'libarchive' | 'gnu';

export interface Disagreement {
  /** As in the table of docs/SEMANTICS.md. */
  readonly title: string;
  readonly readers: readonly Reader[];
  readonly isIn: (frames: readonly TarFrame[], tar: Buffer) => boolean;
}

const ALL: readonly Reader[] = ['python', 'libarchive', 'gnu'];
const KNOWN_TYPES = '\x0001234567S';
const GNU_MAGIC = 'ustar  \0';
/** Of the number fields of a header: where and how long. */
const NUMBERS = [
  [100, 8],
  [108, 8],
  [116, 8],
  [124, 12],
  [136, 12],
  [148, 8],
  [329, 8],
  [337, 8],
] as const;
const SIZE = 3;

const typeOf = ({ header }: TarFrame): string => header.toString('latin1', 156, 157);
const magicOf = ({ header }: TarFrame): string => header.toString('latin1', 257, 265);
const extensionsOf = ({ parts }: TarFrame) => parts.filter(({ kind }) => 'xgLK'.includes(kind));
const recordsOf = ({ parts }: TarFrame): string =>
  parts
    .filter(({ kind }) => kind === 'x' || kind === 'g')
    .map(({ data }) => data.toString('latin1'))
    .join('');
const hasNoMember = ({ header }: TarFrame): boolean => header.every((byte) => byte === 0);

function fieldsOf(header: Buffer): string[] {
  return NUMBERS.map(([at, length]) => header.toString('latin1', at, at + length));
}

/** Of extended headers too: whatever looks like a header. */
function allFields(frames: readonly TarFrame[], tar: Buffer): string[] {
  const headers = frames.filter((frame) => !hasNoMember(frame)).map(({ header }) => header);
  for (let at = 0; at + 512 <= tar.length; at += 512)
    if (tar.toString('latin1', at + 257, at + 262) === 'ustar') headers.push(tar.subarray(at, at + 512));
  return headers.flatMap(fieldsOf);
}

function isOddlyPadded(field: string): boolean {
  return field.trim() === '' || /^\0+[^\0]/.test(field) || /[0-7]\0+[^\0 ]/.test(field);
}

const some = (isIn: (frame: TarFrame) => boolean) => (frames: readonly TarFrame[]) => frames.some(isIn);

export const DISAGREEMENTS: readonly Disagreement[] = [
  {
    title: 'several extended headers in front of one member',
    readers: ALL,
    isIn: some((frame) => extensionsOf(frame).length > 1),
  },
  {
    title: 'a global PAX header',
    readers: ['python', 'gnu'],
    isIn: some(({ parts }) => parts.some(({ kind }) => kind === 'g')),
  },
  {
    title: 'an extended header that no member follows',
    readers: ['python', 'libarchive'],
    isIn: some(hasNoMember),
  },
  {
    title: 'a member of a type that nobody knows',
    readers: ALL,
    isIn: some((frame) => !hasNoMember(frame) && !KNOWN_TYPES.includes(typeOf(frame))),
  },
  {
    title: 'an empty value in a PAX record',
    readers: ['python', 'gnu'],
    isIn: some((frame) => /=\n/.test(recordsOf(frame))),
  },
  {
    title: 'a sparse file of PAX',
    readers: ALL,
    isIn: some((frame) => recordsOf(frame).includes('GNU.sparse.')),
  },
  {
    title: 'a number of spaces alone, or with a NUL before or in it',
    readers: ALL,
    isIn: (frames, tar) => allFields(frames, tar).some(isOddlyPadded),
  },
  {
    title: 'a number in base-256 that is negative or larger than any real one',
    readers: ALL,
    isIn: (frames, tar) => allFields(frames, tar).some((field) => field >= '\x80'),
  },
  {
    title: 'a PAX time before 1970 with a fraction',
    readers: ['libarchive', 'gnu'],
    isIn: some((frame) => /time=-\d+\.\d/.test(recordsOf(frame))),
  },
  {
    title: 'PAX text that is not UTF-8, or not composed',
    readers: ['libarchive'],
    isIn: some((frame) => /[\x80-\xff]/.test(recordsOf(frame))),
  },
  {
    title: 'a prefix in a header that is not USTAR',
    readers: ALL,
    isIn: some(
      (frame) =>
        !magicOf(frame).startsWith('ustar\0') && frame.header.subarray(345, 500).some((byte) => byte !== 0),
    ),
  },
  {
    title: 'a slash behind the name of a file',
    readers: ['libarchive', 'gnu'],
    isIn: some(
      (frame) => typeOf(frame) === '0' && /\/(?:\0|$)/.test(frame.header.toString('latin1', 0, 100)),
    ),
  },
  {
    title: 'a size for a link, a directory or a device',
    readers: ['libarchive', 'gnu'],
    isIn: some(
      (frame) =>
        '123456'.includes(typeOf(frame)) &&
        /[1-7]/.test(`${fieldsOf(frame.header)[SIZE]}${/\d size=\d+/.exec(recordsOf(frame))?.[0] ?? ''}`),
    ),
  },
  {
    title: 'a GNU long name in front of a header that is not GNU',
    readers: ['libarchive'],
    isIn: some(
      (frame) => magicOf(frame) !== GNU_MAGIC && frame.parts.some(({ kind }) => kind === 'L' || kind === 'K'),
    ),
  },
  {
    title: 'two spaces behind the length of a PAX record',
    readers: ['gnu'],
    isIn: some((frame) => /^\d+ {2}/.test(recordsOf(frame))),
  },
  {
    title: 'a tar without an end marker, or that ends in padding',
    readers: ALL,
    isIn: (_frames, tar) => tar.length % 512 !== 0 || !tar.subarray(-1024).equals(Buffer.alloc(1024)),
  },
];
