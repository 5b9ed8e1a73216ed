/** Layers as reproducible builders write them, and one with more entries than any other (E185, E186). */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { buildToc } from '../../src/layer/build-toc.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Digest } from '../../src/units.ts';
import { tocOfBlob } from '../support/layer-toc.ts';
import { rawHeader } from '../support/raw-tar.ts';

const END = Buffer.alloc(1024);

describe('a layer of kaniko or bazel', () => {
  test('has all times 0 and names its root more than once: the last entry of a directory counts (E185)', async () => {
    const tar = Buffer.concat([
      rawHeader({ name: './', type: '5', mode: 0o700 }),
      rawHeader({ name: './etc/', type: '5', mode: 0o700 }),
      rawHeader({ name: 'etc/passwd' }),
      rawHeader({ name: '/', type: '5', mode: 0o755, uid: 7 }),
      rawHeader({ name: 'etc', type: '5', mode: 0o711 }),
      END,
    ]);
    const { toc } = await tocOfBlob(tar);
    const { root } = mergeLayers([toc.entries]);
    const etc = root.children?.get('etc' as never);
    expect([root.mode, root.uid, root.mtimeSec]).toEqual([0o755, 7, 0]);
    expect([etc?.mode, etc?.mtimeSec]).toEqual([0o711, 0]);
    expect([...(etc?.children?.keys() ?? [])]).toEqual(['passwd']);
  });
});

/** A thousand headers of empty files; written into, since making each anew takes most of the test's time. */
const FILES = Buffer.concat(Array<Buffer>(1000).fill(rawHeader({ name: './000/000' })));
const CHECKSUM = Number.parseInt(FILES.toString('latin1', 148, 154), 8);
const digitsOf = (number: number): string => String(number).padStart(3, '0');
const sumOf = (digits: string): number => digits.split('').reduce((sum, digit) => sum + Number(digit), 0);

/** 300 folders with 1000 empty files each, and the root; the bytes come as they are wanted. */
function* manyEntries(): Generator<Buffer> {
  yield rawHeader({ name: './', type: '5', mode: 0o755 });
  for (let folder = 0; folder < 300; folder += 1) {
    const name = digitsOf(folder);
    yield rawHeader({ name: `./${name}/`, type: '5', mode: 0o755 });
    for (let file = 0; file < 1000; file += 1) {
      const digits = digitsOf(file);
      const sum = CHECKSUM + sumOf(name) + sumOf(digits);
      FILES.write(`./${name}/${digits}`, file * 512, 'latin1');
      FILES.write(sum.toString(8).padStart(6, '0'), file * 512 + 148, 'latin1');
    }
    yield Buffer.from(FILES);
  }
  yield END;
}

test('a layer of 300,301 entries is indexed and merged in bounded memory (E186)', async () => {
  const hash = createHash('sha256');
  let size = 0;
  for (const bytes of manyEntries()) {
    hash.update(bytes);
    size += bytes.length;
  }
  const digest = `sha256:${hash.digest('hex')}` as Digest;
  const before = process.memoryUsage().rss;
  async function* blob(): AsyncGenerator<Uint8Array> {
    yield* manyEntries();
  }
  const { toc } = await buildToc(blob(), { digest, size });
  expect(toc.entries).toHaveLength(300_301);
  const { root } = mergeLayers([toc.entries]);
  expect(root.children?.size).toBe(300);
  expect(root.children?.get('299' as never)?.children?.size).toBe(1000);
  // The headers alone are 154 MB.
  expect(process.memoryUsage().rss - before).toBeLessThan(300 * 1024 * 1024);
}, 60_000);
