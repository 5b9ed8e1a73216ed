/** Reading a layer whole: by one request where that is enough, by several at once where one connection is slow. */
import { randomFillSync } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { readWholeBlob } from '../../src/blob/whole-blob.ts';
import type { CompressedRange } from '../../src/units.ts';
import { MemorySource } from './memory-source.ts';

const SIZE = 40 * 1024 * 1024 + 12_345;
const BLOB = randomFillSync(Buffer.alloc(SIZE));

/** Every piece of every connection comes late: a second connection brings twice as much. */
class SlowSource extends MemorySource {
  ignoresRanges = false;
  active = 0;
  mostActive = 0;

  override async *fetch(range: CompressedRange, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    this.active += 1;
    this.mostActive = Math.max(this.mostActive, this.active);
    try {
      for await (const chunk of super.fetch(range, signal)) {
        await delay(20);
        yield chunk;
      }
    } finally {
      this.active -= 1;
    }
  }
}

function slowSource(): SlowSource {
  const source = new SlowSource(BLOB);
  source.chunkSize = 512 * 1024;
  return source;
}

async function readAll(source: MemorySource): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readWholeBlob(source)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('readWholeBlob', () => {
  test('of a fast source is one request', async () => {
    const source = new MemorySource(BLOB);
    expect((await readAll(source)).equals(BLOB)).toBe(true);
    expect(source.requests).toEqual([{ start: 0, end: SIZE }]);
  });

  test('of nothing asks for nothing', async () => {
    const source = new MemorySource(Buffer.alloc(0));
    expect(await readAll(source)).toHaveLength(0);
    expect(source.requests).toEqual([]);
  });

  test('of a slow connection goes on with four at once, every byte once and in order', async () => {
    const source = slowSource();
    expect((await readAll(source)).equals(BLOB)).toBe(true);
    expect(source.mostActive).toBe(4);
    expect(source.active).toBe(0);
    const [first, ...others] = source.requests;
    expect(first).toEqual({ start: 0, end: SIZE });
    others.slice(1).forEach((range, index) => expect(range.start).toBe(others[index]?.end));
    expect(others.at(-1)?.end).toBe(SIZE);
    // The first request was left: at most what it had under way came twice.
    expect(source.bytes).toBeLessThanOrEqual(SIZE + 2 * source.chunkSize);
  });

  test('of a slow server that does not know ranges stays with one connection', async () => {
    const source = slowSource();
    source.ignoresRanges = true;
    expect((await readAll(source)).equals(BLOB)).toBe(true);
    expect(source.mostActive).toBe(1);
    expect(source.requests).toHaveLength(3);
  });

  test('that is left early ends all its requests', async () => {
    const source = slowSource();
    let bytes = 0;
    for await (const chunk of readWholeBlob(source)) {
      bytes += chunk.length;
      if (bytes > SIZE / 2) break;
    }
    await expect.poll(() => source.active).toBe(0);
    expect(source.cancelled).toBeGreaterThan(1);
  });

  test('fails when one of its segments fails, and leaves no request behind', async () => {
    const source = slowSource();
    source.fault = (request) => (request === 4 ? { failAfter: 600_000 } : undefined);
    await expect(readAll(source)).rejects.toThrow('connection reset');
    await expect.poll(() => source.active).toBe(0);
  });

  test('ends when its signal says so', async () => {
    const source = slowSource();
    const leaving = new AbortController();
    const reading = (async () => {
      for await (const _ of readWholeBlob(source, leaving.signal)) {
        if (source.mostActive === 4) leaving.abort(new Error('enough'));
      }
    })();
    await expect(reading).rejects.toThrow('enough');
    await expect.poll(() => source.active).toBe(0);
  });
});
