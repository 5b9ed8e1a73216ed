/** B2: blobs of every compression, right, damaged, cut, and of formats that layers do not come in. */
import { execFileSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { sha256Digest } from '../../support/digests.ts';
import { DIFF_ID, EMPTY_DIFF_ID, INVALID_BLOB, type Made, TAR } from './blobs.ts';
import { GZIP } from './gzip.ts';
import type { MadeCase } from './made-case.ts';
import { ZSTD } from './zstd.ts';

const UNSUPPORTED = 'ERR_UNSUPPORTED';
const packed = (program: string, input: Buffer, ...options: string[]): Buffer =>
  execFileSync(program, ['-c', ...options], { input, timeout: 20_000 });
const XZ = packed('xz', TAR);
const BZIP2 = packed('bzip2', TAR);
const zero = (length: number) => Buffer.alloc(length);

function withByte(blob: Buffer, at: number, value: number): Buffer {
  const changed = Buffer.from(blob);
  changed[at < 0 ? blob.length + at : at] = value;
  return changed;
}

const XZ_CASES: readonly Made[] = [
  ['no check', packed('xz', TAR, '--check=none'), DIFF_ID],
  [
    'two streams',
    Buffer.concat([packed('xz', TAR.subarray(0, 700)), packed('xz', TAR.subarray(700))]),
    DIFF_ID,
  ],
  ['four bytes of padding', Buffer.concat([XZ, zero(4)]), DIFF_ID],
  ['an empty stream', packed('xz', zero(0)), EMPTY_DIFF_ID],
  ['flags that nobody knows', withByte(XZ, 6, 1), INVALID_BLOB],
  ['a wrong checksum of its flags', withByte(XZ, 8, (XZ[8] ?? 0) ^ 1), INVALID_BLOB],
  ['a wrong block header', withByte(XZ, 12, 0xff), INVALID_BLOB],
  ['a wrong index', withByte(XZ, -20, (XZ.at(-20) ?? 0) ^ 1), INVALID_BLOB],
  ['a wrong backward size', withByte(XZ, -8, 0xff), INVALID_BLOB],
  ['a wrong footer', withByte(XZ, -1, 0), INVALID_BLOB],
  ['a dictionary of 1 GiB', packed('xz', TAR, '--lzma2=preset=0,dict=1GiB'), UNSUPPORTED],
  ['a delta filter', packed('xz', TAR, '--delta', '--lzma2=preset=0'), DIFF_ID],
];

const BZIP2_CASES: readonly Made[] = [
  [
    'two streams',
    Buffer.concat([packed('bzip2', TAR.subarray(0, 700)), packed('bzip2', TAR.subarray(700))]),
    DIFF_ID,
  ],
  ['an empty stream', packed('bzip2', zero(0)), EMPTY_DIFF_ID],
  ['level 0', withByte(BZIP2, 3, 0x30), INVALID_BLOB],
  ['level ":"', withByte(BZIP2, 3, 0x3a), INVALID_BLOB],
  ['a wrong mark of its block', withByte(BZIP2, 4, 0), INVALID_BLOB],
  ['a wrong checksum of its block', withByte(BZIP2, 10, (BZIP2[10] ?? 0) ^ 1), INVALID_BLOB],
  ['a wrong checksum at its end', withByte(BZIP2, -2, (BZIP2.at(-2) ?? 0) ^ 1), INVALID_BLOB],
  ['the bit of a randomised block', withByte(BZIP2, 14, (BZIP2[14] ?? 0) ^ 0x80), INVALID_BLOB],
];

/** How files begin that are no layer. */
const FOREIGN: readonly (readonly [string, string, string])[] = [
  ['lz4', '04224d18', UNSUPPORTED],
  ['lz4 of before 1.0', '02214c18', INVALID_BLOB],
  ['lzma', '5d00000004', INVALID_BLOB],
  ['lzip', '4c5a495001', INVALID_BLOB],
  ['lzop', '894c5a4f000d0a1a0a', INVALID_BLOB],
  ['compress', '1f9d90', INVALID_BLOB],
  ['pack', '1f1e', INVALID_BLOB],
  ['zlib', '789c', INVALID_BLOB],
  ['snappy', 'ff060000734e61507059', INVALID_BLOB],
  ['zip', '504b0304', INVALID_BLOB],
  ['7-Zip', '377abcaf271c', INVALID_BLOB],
  ['RAR', '526172211a07', INVALID_BLOB],
  ['cpio', '303730373031', INVALID_BLOB],
  ['ar', '213c617263683e0a', INVALID_BLOB],
  ['squashfs', '68737173', INVALID_BLOB],
  ['an ELF program', '7f454c46', INVALID_BLOB],
  ['HTML', '3c21444f43545950', INVALID_BLOB],
  ['JSON', '7b226572726f7273', INVALID_BLOB],
  ['PNG', '89504e470d0a1a0a', INVALID_BLOB],
];

/** In how many pieces each is cut; every byte is tried in test/native. */
const CUTS = 9;

function cuts(name: string, blob: Buffer): Made[] {
  return Array.from({ length: CUTS }, (_, index): Made => {
    const length = Math.max(8, Math.floor((blob.length * (index + 1)) / (CUTS + 1)));
    return [`${name} cut in piece ${index + 1} of ${CUTS + 1}`, blob.subarray(0, length), INVALID_BLOB];
  });
}

const BOMB = Buffer.concat([TAR, zero(64 << 20)]);

const BLOBS: readonly Made[] = [
  ...GZIP,
  ...ZSTD,
  ...XZ_CASES.map(([name, blob, expected]): Made => [`xz with ${name}`, blob, expected]),
  ...BZIP2_CASES.map(([name, blob, expected]): Made => [`bzip2 with ${name}`, blob, expected]),
  ...FOREIGN.map(
    ([name, magic, expected]): Made => [
      name,
      Buffer.concat([Buffer.from(magic, 'hex'), Buffer.alloc(1500, 7)]),
      expected,
    ],
  ),
  ...cuts('gzip', gzipSync(TAR)),
  ...cuts('zstd', packed('zstd', TAR)),
  ...cuts('xz', XZ),
  ...cuts('bzip2', BZIP2),
  ['64 MiB of zeros in gzip', gzipSync(BOMB), [sha256Digest(BOMB)]],
];

export const COMPRESSIONS: readonly MadeCase[] = BLOBS.map(([name, bytes, expected]) => ({
  name,
  form: 'blob',
  bytes,
  expected,
}));
