/** Small merged trees that use every part of the stored form, and the sums of its header, computed apart from `src/`. */
import { createHash } from 'node:crypto';
import type { Entry } from '../../src/layer/toc.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Tree } from '../../src/tree/node.ts';
import { type ByteString, uncompressed } from '../../src/units.ts';

export function madeEntry(path: string, type: Entry['type'], fields: Partial<Entry> = {}): Entry {
  return {
    path: path as ByteString,
    type,
    mode: type === 'dir' ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtimeSec: 1_700_000_000,
    mtimeNsec: 0,
    target: undefined,
    rdev: undefined,
    xattrs: undefined,
    dataOffset: uncompressed(0),
    sparse: undefined,
    ...fields,
  };
}

function xattrs(pairs: Readonly<Record<string, string>>): Entry['xattrs'] {
  return new Map(Object.entries(pairs).map(([name, value]) => [name as ByteString, Buffer.from(value)]));
}

/** Two layers with a node of each kind, hard links, sparse files, equal and different attributes, odd names. */
export function smallTree(): Tree {
  const lower = [
    madeEntry('', 'dir', { mode: 0o1777, uid: 1, gid: 2, mtimeSec: -5, mtimeNsec: 999_999_999 }),
    madeEntry('bin', 'dir'),
    madeEntry('bin/true', 'file', {
      mode: 0o4755,
      size: 31_000,
      dataOffset: uncompressed(1536),
      xattrs: xattrs({ 'user.z': '1', 'security.capability': '\0\u0001' }),
    }),
    madeEntry('bin/false', 'hardlink', { target: 'bin/true' as ByteString }),
    madeEntry('bin/sh', 'symlink', { target: 'true' as ByteString, size: 4 }),
    madeEntry('dev/null', 'char', { mode: 0o666, rdev: [1, 3] }),
    madeEntry('dev/sda', 'block', { mode: 0o660, rdev: [4095, 2 ** 32 - 1], uid: 2 ** 32 - 2 }),
    madeEntry('run/fifo', 'fifo', { mode: 0o600 }),
    madeEntry('true', 'file', { xattrs: xattrs({ 'security.capability': '\0\u0001', 'user.z': '1' }) }),
  ];
  const upper = [
    madeEntry('.wh.gone', 'file'),
    madeEntry('\u00ff\n', 'dir', { xattrs: xattrs({ 'user.empty': '' }) }),
    madeEntry('big', 'file', {
      size: 2 ** 53 - 1,
      dataOffset: uncompressed(2 ** 40),
      sparse: [
        { offset: 4096, length: 100 },
        { offset: 2 ** 52, length: 2 ** 51 },
      ],
    }),
    madeEntry('hole', 'file', { size: 12_345, dataOffset: uncompressed(512), sparse: [] }),
  ];
  return mergeLayers([lower, upper]);
}

const HEADER_BYTES = 256;
const BODY_SUM = 192;
const HEADER_SUM = 224;

/** Makes the sums of a stored tree right again, in place. */
export function resealTree(bytes: Buffer): Buffer {
  if (bytes.length < HEADER_BYTES) return bytes;
  bytes.set(sha256(bytes.subarray(HEADER_BYTES)), BODY_SUM);
  bytes.set(sha256(bytes.subarray(0, HEADER_SUM)), HEADER_SUM);
  return bytes;
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}
