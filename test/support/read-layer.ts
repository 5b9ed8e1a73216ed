/** Stands in for buildToc until the addon is there: frames members, decodes headers with the real decoder. */

import { execFileSync } from 'node:child_process';
import { gunzipSync } from 'node:zlib';
import { decodeFrame, isSkipped } from '../../src/layer/header.ts';
import type { Entry } from '../../src/layer/toc.ts';
import type { TarFrame } from '../../src/native.ts';

export interface ReadLayer {
  readonly entries: readonly Entry[];
  /** The uncompressed layer. */
  readonly tar: Buffer;
}

export async function readLayer(blob: Buffer): Promise<ReadLayer> {
  const tar =
    blob.readUInt16BE(0) === 0x1f8b
      ? gunzipSync(blob)
      : blob.readUInt32LE(0) === 0xfd2fb528 || (blob.readUInt32LE(0) & 0xfffffff0) === 0x184d2a50
        ? execFileSync('zstd', ['-dc'], { input: blob, maxBuffer: 1 << 30 })
        : blob;
  const entries: Entry[] = [];
  let parts: { kind: 'x' | 'g' | 'L' | 'K'; data: Buffer }[] = [];
  for (let at = 0; at + 512 <= tar.length; ) {
    const header = tar.subarray(at, at + 512);
    if (header.every((byte) => byte === 0)) break;
    const flag = String.fromCharCode(header[156] ?? 0);
    let size = Number.parseInt(header.toString('latin1', 124, 136), 8) || 0;
    const pax = parts.findLast(({ kind }) => kind === 'x');
    const match = pax && /\d+ size=(\d+)\n/.exec(pax.data.toString('latin1'));
    if (match) size = Number(match[1]);
    if ('123456'.includes(flag)) size = 0;
    const data = tar.subarray(at + 512, at + 512 + size);
    if ('xgLK'.includes(flag)) {
      parts.push({ kind: flag as 'x', data });
    } else {
      const frame: TarFrame = { headerOffset: at, dataOffset: at + 512, storedSize: size, header, parts };
      const entry = decodeFrame(frame);
      if (!isSkipped(entry)) entries.push(entry);
      parts = [];
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return { entries, tar };
}
