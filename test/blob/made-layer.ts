/** Real layers, small: a tar of text-like files in each compression, indexed by the real scanner. */
import { execFileSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import type { LayerIndex } from '../../src/blob/decode-run.ts';
import { bytesOfText } from '../../src/units.ts';
import { layerIndexOf, tocOfBlob } from '../support/layer-toc.ts';
import { type Member, writeTar } from '../support/tar-bytes.ts';
import { madeBytes } from './made-toc.ts';

export const COMPRESSIONS = ['none', 'gzip', 'gzip-members', 'zstd', 'zstd-frames'] as const;
export type LayerCompression = (typeof COMPRESSIONS)[number];

export interface MadeLayer {
  readonly tar: Buffer;
  readonly blob: Buffer;
  readonly index: LayerIndex;
}

/** Words in random order: compresses about as well as the files of an image, and matches reach far back. */
function textOf(length: number, seed: number): Buffer {
  const random = madeBytes(length, seed);
  const words = Array.from({ length: 256 }, (_, index) =>
    madeBytes(3 + (index % 9), index + 1)
      .toString('hex')
      .slice(0, 3 + (index % 9)),
  );
  const parts: string[] = [];
  let total = 0;
  for (let index = 0; total < length; index += 1) {
    const word = words[random[index % length] ?? 0] ?? '';
    parts.push(word);
    total += word.length + 1;
  }
  return Buffer.from(parts.join(' ')).subarray(0, length);
}

/** A tar of about `size` bytes: files of growing length, some of bytes that do not compress. */
function madeTar(size: number): Buffer {
  const members: Member[] = [];
  let total = 0;
  for (let index = 0; total < size; index += 1) {
    const length = 1000 + ((index * 77_777) % 700_000);
    const content = index % 7 === 3 ? madeBytes(length, index) : textOf(length, index + 1);
    members.push({
      name: bytesOfText(`dir/file-${index}`),
      type: 'file',
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtimeSec: 1_700_000_000,
      mtimeNsec: 0,
      content,
    });
    total += length;
  }
  return Buffer.from(writeTar(members).bytes);
}

function piecesOf(tar: Buffer, size: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < tar.length; at += size) pieces.push(tar.subarray(at, at + size));
  return pieces;
}

function zstd(bytes: Buffer): Buffer {
  return execFileSync('zstd', ['-3', '-c', '-q'], { input: bytes, maxBuffer: 1 << 30, timeout: 60_000 });
}

function compress(tar: Buffer, compression: LayerCompression): Buffer {
  if (compression === 'none') return tar;
  if (compression === 'gzip') return gzipSync(tar, { level: 6 });
  if (compression === 'zstd') return zstd(tar);
  if (compression === 'zstd-frames') return Buffer.concat(piecesOf(tar, 900_000).map(zstd));
  return Buffer.concat(piecesOf(tar, 700_000).map((piece) => gzipSync(piece)));
}

export async function madeLayer(compression: LayerCompression, size: number): Promise<MadeLayer> {
  const tar = madeTar(size);
  const blob = compress(tar, compression);
  return { tar, blob, index: layerIndexOf(await tocOfBlob(blob)) };
}
