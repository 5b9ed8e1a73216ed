/** Bytes that the native server reads from the cache by itself: what it may serve, and what it may never. */
import { readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256Hex } from '../support/digests.ts';
import { member, writeLayout } from '../support/image-layout.ts';
import { closeMounts, mountLiteral, python, temporaryFolder, whyNoMounts } from '../support/mount-child.ts';
import { MountCommand } from '../support/mount-command.ts';

const EVICTOR = readFileSync(path.join(import.meta.dirname, 'evictor.py'), 'utf8');
/** Some of it compresses, all of it differs from span to span. */
const CONTENT = Buffer.alloc(20_000_000);
for (let at = 0; at + 4 <= CONTENT.length; at += 4)
  CONTENT.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> (at % 13), at);
/** An entry of the map that is of this second is not trusted: it could be of an eviction and a store in between. */
const ENTRY_AGE_MS = 1100;
const EVICTIONS = 2000;

let command: MountCommand;
let layerFolder = '';

const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** The sha256 of the file, read through the kernel but not from its page cache. */
async function readAgain(name = 'data'): Promise<unknown> {
  return python(
    `import hashlib, json, os, sys
f = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
print(json.dumps(hashlib.sha256(open(f, "rb").read()).hexdigest()))`,
    path.join(command.place, name),
  );
}

describe.skipIf(whyNoMounts() !== undefined)('a cached file on a native mount', () => {
  const right = sha256Hex(CONTENT);

  beforeEach(async () => {
    command = new MountCommand();
    const layout = path.join(command.home, 'layout');
    const { layers } = writeLayout(layout, { layers: [[member('data', { content: CONTENT })]] });
    layerFolder = command.layerFolder(layers[0]?.digest ?? '');
    await command.start(`oci:${layout}`, ['--transport', 'native']);
  });

  afterEach(async () => {
    await command.end('SIGKILL');
    await closeMounts();
  });

  /** Read until all of it comes from the cache. */
  async function warm(): Promise<number> {
    for (let round = 0; round < 5; round += 1) {
      const before = (await command.requests())['missed'] ?? 0;
      expect(await readAgain()).toBe(right);
      await pause(ENTRY_AGE_MS);
      const { missed = 0 } = await command.requests();
      if (missed > 0 && missed === before) return missed;
    }
    throw new Error(`reads of cached bytes still come to JavaScript: ${command.said}`);
  }

  test('is read without JavaScript once its spans are verified and on disk', async () => {
    const missed = await warm();
    const { read: before = 0 } = await command.requests();
    for (let round = 0; round < 3; round += 1) expect(await readAgain()).toBe(right);
    const after = await command.requests();
    expect(after['missed']).toBe(missed);
    expect(after['read']).toBeGreaterThan(before + 3);
  });

  test.each([
    ['the cache is removed', () => rmSync(command.cacheDir, { recursive: true })],
    ['the cache is renamed', () => renameSync(command.cacheDir, path.join(command.home, 'cache/elsewhere'))],
    ['its bytes are cut off', () => truncateSync(path.join(layerFolder, 'spans'), 4096)],
    ['its map is cut off', () => truncateSync(path.join(layerFolder, 'spans.map'), 20)],
    [
      'its map is removed and its bytes cut, as where a file system has no holes',
      () => {
        rmSync(path.join(layerFolder, 'spans.map'));
        truncateSync(path.join(layerFolder, 'spans'), 0);
        truncateSync(path.join(layerFolder, 'spans'), CONTENT.length);
      },
    ],
    [
      'both files are replaced by others',
      () => {
        for (const name of ['spans', 'spans.map']) {
          rmSync(path.join(layerFolder, name));
          writeFileSync(path.join(layerFolder, name), Buffer.alloc(4_000_000, 'x'), { mode: 0o600 });
        }
      },
    ],
  ])('is right after %s (F41, F44), and comes from the cache again later', async (_what, damage) => {
    await warm();
    damage();
    for (let round = 0; round < 3; round += 1) expect(await readAgain()).toBe(right);
    await pause(ENTRY_AGE_MS);
    expect(await readAgain()).toBe(right);
    expect(command.hasEnded).toBe(false);
  });
});

describe.skipIf(whyNoMounts() !== undefined)('a file whose spans are evicted and stored beside', () => {
  afterEach(closeMounts);

  test('is right in every read, natively or not (F43)', async () => {
    const folder = temporaryFolder();
    const bytes = CONTENT.subarray(0, 1_000_000);
    const mounted = await mountLiteral({
      root: { kind: 'dir', children: { f: { kind: 'file', data: bytes.toString('base64') } } },
      cached: { folder, spanBytes: 256 * 1024 },
    });
    const file = path.join(mounted.mountPoint, 'f');
    const result = (await python(EVICTOR, file, sha256Hex(bytes), folder, String(EVICTIONS))) as {
      wrong: number;
      reads: number;
      evicted: number;
    };
    expect(result).toMatchObject({ wrong: 0, evicted: EVICTIONS });
    // Both ways were taken, often.
    const { read = 0, missed = 0 } = await mounted.requests();
    expect(missed).toBeGreaterThan(100);
    expect(read - missed).toBeGreaterThan(200);
  });
});
