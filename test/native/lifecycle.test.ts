/** Misuse, closing at any time, and a process that ends while the threads work. */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { createLayerScanner, createSpanDecoder } from '../../src/native.ts';
import { writeAll } from './support.ts';

const blob = gzipSync(Buffer.alloc(32 * 1024 * 1024));

describe('LayerScanner', () => {
  test('refuses a second write while one is under way', async () => {
    const scanner = createLayerScanner();
    const first = writeAll(scanner, blob);
    await expect(writeAll(scanner, blob)).rejects.toThrow(TypeError);
    await first;
    await scanner.end();
    scanner.close();
  });

  test('refuses options out of range and chunks that are not bytes', async () => {
    expect(() => createLayerScanner({ spanSize: 1000 })).toThrow(RangeError);
    expect(() => createLayerScanner({ spanSize: Number.NaN })).toThrow(RangeError);
    expect(() => createLayerScanner({ limits: { entries: 0 } })).toThrow(RangeError);
    const scanner = createLayerScanner();
    await expect(writeAll(scanner, 'text' as unknown as Uint8Array)).rejects.toThrow(TypeError);
    scanner.close();
  });

  test('close rejects a pending write, twice is fine, later writes reject', async () => {
    const scanner = createLayerScanner();
    const pending = writeAll(scanner, blob);
    scanner.close();
    scanner.close();
    await expect(pending).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    await expect(writeAll(scanner, blob)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    await expect(scanner.end()).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  });

  test('after an error every later call rejects', async () => {
    const scanner = createLayerScanner();
    await expect(writeAll(scanner, Buffer.alloc(600, 'no tar'))).rejects.toMatchObject({
      code: 'ERR_LAYER_INVALID',
    });
    await expect(writeAll(scanner, blob)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    scanner.close();
  });

  test.each(['sha256', 'sha512'] as const)(
    'after an error the whole blob is hashed on (%s), also what was not scanned any more',
    async (digestAlgorithm) => {
      const pieces = [Buffer.alloc(600, 'no tar'), randomBytes(300_000), randomBytes(1)];
      const scanner = createLayerScanner({ digestAlgorithm });
      await expect(writeAll(scanner, pieces[0] ?? blob)).rejects.toMatchObject({ code: 'ERR_LAYER_INVALID' });
      async function* rest(): AsyncGenerator<Uint8Array> {
        yield* pieces.slice(1);
      }
      const expected = createHash(digestAlgorithm).update(Buffer.concat(pieces)).digest('hex');
      expect(await scanner.digestWith(rest())).toBe(`${digestAlgorithm}:${expected}`);
      scanner.close();
      await expect(scanner.digestWith(rest())).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    },
  );

  test('batches that the caller does not take are done by end', async () => {
    const scanner = createLayerScanner();
    for await (const { frames } of scanner.write(blob)) {
      expect(frames).toEqual([]);
      break;
    }
    expect((await scanner.end()).result.uncompressedSize).toBe(32 * 1024 * 1024);
    scanner.close();
  });

  test('keepTar gives the bytes of the tar, from the part on that begins after it', async () => {
    const tar = Buffer.concat([...Array(60).keys()].map((byte) => Buffer.alloc(100_000, byte)));
    const member = Buffer.concat([gzipSync(Buffer.alloc(1024)), gzipSync(tar)]);
    const scanner = createLayerScanner();
    const kept: Buffer[] = [];
    let at: number | undefined;
    for (let from = 0; from < member.length; from += 700) {
      scanner.keepTar(from >= 2100);
      for await (const batch of scanner.write(member.subarray(from, from + 700))) {
        expect(batch.tar === undefined).toBe(from < 2100);
        if (batch.tar === undefined) continue;
        at ??= batch.tar.start;
        if (batch.tar.bytes.length > 0) expect(batch.tar.start).toBe(at + Buffer.concat(kept).length);
        kept.push(batch.tar.bytes);
        expect(batch.tar.bytes.length).toBeLessThan(3 * 1024 * 1024);
      }
    }
    const { result } = await scanner.end();
    scanner.close();
    const whole = Buffer.concat([Buffer.alloc(1024), tar]);
    expect(result.uncompressedSize).toBe(whole.length);
    expect(at).toBeGreaterThan(0);
    expect(Buffer.concat(kept).equals(whole.subarray(at))).toBe(true);
  });

  test('the caller may change its chunk at once', async () => {
    const copy = Buffer.from(blob);
    const scanner = createLayerScanner();
    const pending = writeAll(scanner, copy);
    copy.fill(0xff);
    await pending;
    expect((await scanner.end()).result.uncompressedSize).toBe(32 * 1024 * 1024);
    scanner.close();
  });

  test('hundreds of scanners closed in the middle leave no thread behind', async () => {
    const threads = (): number => readdirSync('/proc/self/task').length;
    const before = threads();
    for (let i = 0; i < 200; i++) {
      const scanner = createLayerScanner();
      await writeAll(scanner, blob.subarray(0, 1000));
      scanner.close();
    }
    expect(threads()).toBeLessThanOrEqual(before + 4);
  });
});

describe('SpanDecoder', () => {
  test('keeps input that was not used up and gives the rest to later calls', async () => {
    const bytes = randomBytes(100_000);
    const decoder = createSpanDecoder({ compression: 'none' });
    const parts = [await decoder.write(bytes, 30_000)];
    for (let i = 0; i < 4; i++) parts.push(await decoder.write(Buffer.alloc(0), 30_000));
    expect(parts.map((part) => part.length)).toEqual([30_000, 30_000, 30_000, 10_000, 0]);
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    decoder.close();
  });

  test('refuses an output above 8 MiB, odd bits, a second write at once', async () => {
    expect(() => createSpanDecoder({ compression: 'gzip', bits: 8 })).toThrow(RangeError);
    expect(() => createSpanDecoder({ compression: 'lzma' as 'gzip' })).toThrow(RangeError);
    const decoder = createSpanDecoder({ compression: 'none' });
    await expect(decoder.write(blob, 8 * 1024 * 1024 + 1)).rejects.toThrow(RangeError);
    const first = decoder.write(blob, 1000);
    await expect(decoder.write(blob, 1000)).rejects.toThrow(TypeError);
    await first;
    decoder.close();
  });

  test('close rejects a pending write and later ones', async () => {
    const decoder = createSpanDecoder({ compression: 'none' });
    const pending = decoder.write(blob, 1000);
    decoder.close();
    decoder.close();
    await expect(pending).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    await expect(decoder.write(blob, 1000)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  });
});

describe('the end of the process', () => {
  const addon = path.join(import.meta.dirname, '..', '..', 'build', 'Release', 'peel.node');
  const begin = `
    const addon = require(${JSON.stringify(addon)});
    const blob = require('node:zlib').gzipSync(require('node:crypto').randomBytes(4e6));
    for (let i = 0; i < 6; i++) {
      const scanner = addon.createScanner(65536, 1048576, 65536, 5000000, 0);
      addon.writeScanner(scanner, blob, false).catch(() => {});
    }`;
  for (const [name, end] of [
    ['process.exit', 'setImmediate(() => process.exit(7));'],
    ['an uncaught error', "setImmediate(() => { throw new Error('x'); });"],
    ['running dry', 'process.exitCode = 7;'],
    ['garbage collection', 'setTimeout(() => { gc(); process.exit(7); }, 20);'],
  ] as const) {
    test(`by ${name} comes cleanly while scans run`, () => {
      for (let i = 0; i < 3; i++) {
        const child = spawnSync(process.execPath, ['--expose-gc', '-e', begin + end], { timeout: 20_000 });
        expect([child.signal, child.status]).toEqual([null, name === 'an uncaught error' ? 1 : 7]);
      }
    });
  }

  test('of a worker thread comes cleanly while its scans run', () => {
    const source = `
      const { Worker } = require('node:worker_threads');
      const worker = new Worker(${JSON.stringify(`${begin} setTimeout(() => {}, 60000);`)}, { eval: true });
      setTimeout(async () => { await worker.terminate(); process.exit(7); }, 100);`;
    const child = spawnSync(process.execPath, ['-e', source], { timeout: 20_000 });
    expect([child.signal, child.status]).toEqual([null, 7]);
  });
});
