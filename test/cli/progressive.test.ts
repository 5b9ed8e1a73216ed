/**
 * `cat` of an image that nobody has looked at before (FAULTS P2): what is written before a layer is verified, and what
 * is said when it turns out to be wrong. The server withholds the rest of a layer, so that no test leans on time.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ByteString } from '../../src/units.ts';
import { sha256Digest } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { type PeelRun, PeelUser, type RunOptions } from '../support/run-peel.ts';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import { serveImage } from '../support/served-image.ts';
import { type Member, writeTar } from '../support/tar-bytes.ts';

const MiB = 1024 ** 2;
const MOTD = 'welcome to the first file\n';
/** What gzip cannot make smaller: places in the tar and in the blob are about the same. */
const filler = randomBytes(4 * MiB);
/** Of every layer here: well after its first file, well before its end. */
const HELD_AT = 2 * MiB;

function layerOf(...members: Member[]): Buffer {
  return gzipSync(writeTar([member('etc', { type: 'dir' }), ...members]).bytes, { level: 1 });
}

const file = (name: string, content: string | Buffer): Member =>
  member(name, { content: Buffer.from(content) });
const link = (name: string, target: string): Member =>
  member(name, { type: 'symlink', target: target as ByteString });

const plainLayer = layerOf(file('etc/motd', MOTD), file('etc/filler', filler), file('etc/last', 'end\n'));
const twiceLayer = layerOf(
  file('etc/motd', MOTD),
  file('etc/filler', filler),
  file('etc/motd', 'the last one\n'),
);

let server: ScriptedServer;
let user: PeelUser;

beforeAll(async () => {
  server = await startScriptedServer();
});
afterEach(() => {
  server.clearRules();
  user.close();
});
afterAll(async () => {
  await server.close();
});

/** A cache that knows nothing, and the image. */
function newUser(...layers: Buffer[]): string {
  user = new PeelUser();
  serveImage(server, 'app', layers);
  return `${server.address}/app`;
}

/** The rest of a blob comes when what is returned is called. */
function holdBlob(blob: Buffer, spoil: { flipBit?: number } = {}): () => void {
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  server.rule({
    path: `/v2/app/blobs/${sha256Digest(blob)}`,
    reply: (request) => ({ ...server.content(request), ...spoil, hold: { after: HELD_AT, until } }),
  });
  return release;
}

/** Spoils a blob of the image for whoever asks. */
function spoilBlob(blob: Buffer, spoil: { flipBit: number }): void {
  server.rule({
    path: `/v2/app/blobs/${sha256Digest(blob)}`,
    reply: (request) => ({ ...server.content(request), ...spoil }),
  });
}

const LAST_BYTE = -1;
/** Of the random bytes in the middle, where broken bytes still are valid deflate data. */
const MIDDLE = 3 * MiB;

function bitAt(blob: Buffer, byte: number): number {
  return 8 * (byte < 0 ? blob.length + byte : byte);
}

/** Runs peel; `onOutput` is called at its first output. */
function runUntilOutput(args: string[], onOutput: () => void, options: RunOptions = {}): Promise<PeelRun> {
  return user.run(args, { ...options, onStart: (child) => child.stdout?.once('data', onOutput) });
}

/** What of layers and trees the cache holds. */
function cachedOfLayers(): string[] {
  const folder = path.join(user.cacheDir, 'v1');
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .filter((name) => !/^(documents|images|names)\//.test(name));
}

function outcomeOf({ stdout, stderr, status }: PeelRun): [string, string, number | undefined] {
  return [stdout.toString(), stderr, status];
}

describe('cat, progressive', () => {
  test('writes a file while the rest of its layer has not come yet', async () => {
    const image = newUser(plainLayer);
    const run = await runUntilOutput(['cat', image, '/etc/motd'], holdBlob(plainLayer));
    expect(outcomeOf(run)).toEqual([MOTD, '', 0]);
    // The layer was read to its end: it is known now.
    const layers = await user.run(['layers', '--format', 'json', image]);
    expect(JSON.parse(layers.stdout.toString())).toMatchObject({ layers: [{ isIndexed: true }] });
    // And what was written is in the cache, though it was never fetched by itself.
    expect(outcomeOf(await user.run(['--offline', 'cat', image, '/etc/motd']))).toEqual([MOTD, '', 0]);
  });

  test('follows links, and knows what upper layers put in place of a file', async () => {
    const lower = layerOf(
      link('etc/link', 'sub/../motd'),
      file('etc/motd', MOTD),
      file('etc/replaced', 'old'),
      file('etc/filler', filler),
    );
    const upper = layerOf(file('etc/replaced', 'new'), link('etc/upper-link', '/etc/link'));
    const sub = layerOf(member('etc/sub', { type: 'dir' }));
    const image = newUser(lower, sub, upper);
    const args = ['cat', image, '/etc/replaced', '/etc/upper-link'];
    const run = await runUntilOutput(args, holdBlob(lower));
    expect(outcomeOf(run)).toEqual([`new${MOTD}`, '', 0]);
  });

  test('streams a file that is larger than what is held in memory, and a part of one', async () => {
    const image = newUser(plainLayer);
    const run = await user.run(['cat', image, '/etc/filler']);
    expect(run.stdout.equals(filler)).toBe(true);
    user.close();
    newUser(plainLayer);
    const part = await user.run(['cat', '--range', `${4 * MiB - 5}-`, image, '/etc/filler']);
    expect(part.stdout.equals(filler.subarray(-5))).toBe(true);
    expect([run.status, part.status]).toEqual([0, 0]);
  });

  test('reads one layer alone, and several files, each as it passes or when the layer is known', async () => {
    const image = newUser(plainLayer);
    const release = holdBlob(plainLayer);
    const args = ['cat', '--layer', '0', image, '/etc/motd', '/etc/motd', '/etc/last'];
    expect(outcomeOf(await runUntilOutput(args, release))).toEqual([`${MOTD}${MOTD}end\n`, '', 0]);
  });

  test('fails with status 6 where the last byte is wrong, says what not to trust, and keeps nothing', async () => {
    const image = newUser(plainLayer);
    spoilBlob(plainLayer, { flipBit: bitAt(plainLayer, LAST_BYTE) });
    const run = await user.run(['cat', image, '/etc/motd']);
    expect([run.stdout.toString(), run.status]).toEqual([MOTD, 6]);
    expect(run.stderr).toMatch(
      /^peel: layer sha256:.* want sha256:.*; do not trust what was printed of \/etc\/motd, it was not verified yet\n$/,
    );
    expect(cachedOfLayers()).toEqual([]);
    server.clearRules();
    expect(outcomeOf(await user.run(['cat', image, '/etc/motd']))).toEqual([MOTD, '', 0]);
  });

  test('says so of a file whose own bytes are wrong', async () => {
    const image = newUser(plainLayer);
    spoilBlob(plainLayer, { flipBit: bitAt(plainLayer, MIDDLE) });
    const run = await user.run(['cat', image, '/etc/filler']);
    expect([run.stdout.subarray(0, MiB).equals(filler.subarray(0, MiB)), run.status]).toEqual([true, 6]);
    expect(run.stderr).toContain('do not trust what was printed of /etc/filler');
    expect(cachedOfLayers()).toEqual([]);
  });

  test('goes on with the next path after a layer that turned out wrong', async () => {
    const image = newUser(plainLayer, layerOf(file('etc/above', 'fine\n')));
    spoilBlob(plainLayer, { flipBit: bitAt(plainLayer, LAST_BYTE) });
    const run = await user.run(['cat', image, '/etc/motd', '/etc/above']);
    expect([run.stdout.toString(), run.status]).toEqual([`${MOTD}fine\n`, 6]);
  });

  test('fails where a layer ends too early, in the registry or by itself', async () => {
    const image = newUser(plainLayer);
    server.rule({
      path: `/v2/app/blobs/${sha256Digest(plainLayer)}`,
      reply: (request, nth) =>
        nth === 1 ? { ...server.content(request), truncateAfter: HELD_AT } : { status: 400 },
    });
    const cut = await user.run(['cat', image, '/etc/motd']);
    expect([cut.stdout.toString(), cut.status]).toEqual([MOTD, 5]);
    expect(cut.stderr).toContain('do not trust what was printed of /etc/motd');
    expect(cachedOfLayers()).toEqual([]);
    user.close();
    server.clearRules();

    user = new PeelUser();
    const half = plainLayer.subarray(0, HELD_AT);
    serveImage(server, 'app', [half], [sha256Digest('of a layer that cannot be unpacked')]);
    const broken = await user.run(['cat', image, '/etc/motd']);
    expect([broken.stdout.toString(), broken.status]).toEqual([MOTD, 1]);
    expect(broken.stderr).toMatch(/truncated|ends inside/);
    expect(broken.stderr).toContain('do not trust what was printed of /etc/motd');
    expect(cachedOfLayers()).toEqual([]);
  });

  test('fails where a later entry replaces the file that was written; the next run writes that one', async () => {
    const image = newUser(twiceLayer);
    const run = await user.run(['cat', image, '/etc/motd']);
    expect([run.stdout.toString(), run.status]).toEqual([MOTD, 1]);
    expect(run.stderr).toMatch(/^peel: \/etc\/motd of .*: layer 0 replaces it by a later entry/);
    expect(outcomeOf(await user.run(['cat', image, '/etc/motd']))).toEqual(['the last one\n', '', 0]);
  });

  test('fails where a later entry replaces a folder on the way by a link', async () => {
    const layer = layerOf(
      file('etc/motd', MOTD),
      file('etc/filler', filler),
      member('usr', { type: 'dir' }),
      file('usr/motd', 'another\n'),
      link('etc', 'usr'),
    );
    const image = newUser(layer);
    const run = await user.run(['cat', image, '/etc/motd']);
    expect([run.stdout.toString(), run.status]).toEqual([MOTD, 1]);
    expect(run.stderr).toContain('layer 0 replaces it by a later entry');
  });

  test('ends without an error when its reader goes away, after the layer was found to be right', async () => {
    const image = newUser(plainLayer);
    const release = holdBlob(plainLayer);
    const head = ['bash', '-c', 'set -o pipefail; "$@" | head -c 7', 'bash'];
    const run = await runUntilOutput(['cat', image, '/etc/filler'], release, { wrapper: head });
    expect(run.stdout.equals(filler.subarray(0, 7))).toBe(true);
    expect([run.stderr, run.status]).toEqual(['', 0]);
  });

  test('says so where its reader goes away with bytes that turn out wrong', async () => {
    const image = newUser(plainLayer);
    const release = holdBlob(plainLayer, { flipBit: bitAt(plainLayer, LAST_BYTE) });
    const head = ['bash', '-c', 'set -o pipefail; "$@" | head -c 7', 'bash'];
    const run = await runUntilOutput(['cat', image, '/etc/filler'], release, { wrapper: head });
    expect(run.stderr).toContain('do not trust what was printed of /etc/filler');
    expect(run.status).toBe(6);
  });

  test('is interrupted while it waits for the end of the layer', async () => {
    const image = newUser(plainLayer);
    holdBlob(plainLayer);
    const run = await user.run(['cat', image, '/etc/motd'], {
      onStart: (child) => child.stdout?.once('data', () => child.kill('SIGINT')),
    });
    expect([run.stdout.toString(), run.status]).toEqual([MOTD, 130]);
    expect(cachedOfLayers()).toEqual([]);
  });
});

describe('ls and stat', () => {
  test.each([['ls -li'], ['stat -L'], ['ls --format jsonl'], ['stat --format jsonl']])(
    '%s of a file needs no layer below the one that has it, and says what the whole image says',
    async (words) => {
      const upper = layerOf(file('etc/above', 'fine\n'), link('etc/link', 'above'));
      const image = newUser(plainLayer, upper, layerOf(file('etc/other', 'o')));
      const [command = '', ...flags] = words.split(' ');
      const args = [command, ...flags, image, '/etc/above', '/etc/link'];
      const release = holdBlob(plainLayer);
      const early = await user.run(args);
      expect([early.stderr, early.status]).toEqual(['', 0]);
      release();
      expect((await user.run(['ls', image, '/etc'])).stdout.toString()).toBe(
        'above\nfiller\nlast\nlink\nmotd\nother\n',
      );
      expect((await user.run(args)).stdout.toString()).toBe(early.stdout.toString());
    },
  );

  test('ls of a folder that an upper layer has waits for the others', async () => {
    const image = newUser(plainLayer, layerOf(file('etc/above', 'fine\n')));
    const release = holdBlob(plainLayer);
    let isReleased = false;
    let isEarly = false;
    const run = runUntilOutput(['ls', image, '/etc'], () => {
      isEarly = !isReleased;
    });
    // The upper layer is known and stored: what it has of the folder could be listed.
    await expect.poll(() => cachedOfLayers().filter((name) => name.endsWith('/toc'))).toHaveLength(1);
    isReleased = true;
    release();
    expect(outcomeOf(await run)).toEqual(['above\nfiller\nlast\nmotd\n', '', 0]);
    expect(isEarly).toBe(false);
  });
});

describe('cat --trust-registry', () => {
  test('ends with the file, whatever the rest of the layer is', async () => {
    const image = newUser(plainLayer);
    holdBlob(plainLayer);
    const run = await user.run(['cat', '--trust-registry', image, '/etc/motd']);
    expect(outcomeOf(run)).toEqual([MOTD, '', 0]);
    expect(cachedOfLayers()).toEqual([]);
  });

  test('takes the next file as it passes too, and one that has passed when the layer is known', async () => {
    const layer = layerOf(file('etc/a', 'a\n'), file('etc/filler', filler), file('etc/b', 'b\n'));
    const image = newUser(layer);
    const args = ['cat', '--trust-registry', '--range', '0-1', image, '/etc/filler', '/etc/b', '/etc/a'];
    const run = await user.run(args);
    expect([run.stdout.subarray(2).toString(), run.stderr, run.status]).toEqual(['b\na\n', '', 0]);
  });

  test('excludes --verify strict', async () => {
    const image = newUser(plainLayer);
    const run = await user.run(['cat', '--trust-registry', '--verify', 'strict', image, '/a']);
    expect([run.stderr, run.status]).toEqual([
      'peel: cat: --trust-registry and --verify strict exclude each other\n',
      2,
    ]);
  });
});

describe('cat --verify strict', () => {
  test.each([
    ['--verify', ['--verify', 'strict'], {}],
    ['PEEL_VERIFY', [], { PEEL_VERIFY: 'strict' }],
  ])('writes nothing of a layer that turns out wrong (%s)', async (_how, flags, env) => {
    const image = newUser(plainLayer);
    spoilBlob(plainLayer, { flipBit: bitAt(plainLayer, LAST_BYTE) });
    const run = await user.run(['cat', ...flags, image, '/etc/motd'], { env });
    expect([run.stdout.toString(), run.status]).toEqual(['', 6]);
    expect(run.stderr).not.toContain('printed');
    expect(cachedOfLayers()).toEqual([]);
  });

  test('writes nothing while the rest of a layer is held back', async () => {
    const image = newUser(plainLayer);
    const release = holdBlob(plainLayer);
    let isReleased = false;
    let isEarly = false;
    const requests = server.requests.length;
    const strict = runUntilOutput(['cat', '--verify', 'strict', image, '/etc/motd'], () => {
      isEarly = !isReleased;
    });
    const blob = `/v2/app/blobs/${sha256Digest(plainLayer)}`;
    await expect
      .poll(() => server.requests.slice(requests).map((request) => request.path), { timeout: 20_000 })
      .toContain(blob);
    // Another user, who asks after that one and does not wait for the proof, has the file by now.
    const other = new PeelUser();
    try {
      const progressive = await other.run(['cat', image, '/etc/motd'], {
        onStart: (child) =>
          child.stdout?.once('data', () => {
            isReleased = true;
            release();
          }),
      });
      expect(outcomeOf(progressive)).toEqual([MOTD, '', 0]);
      expect([...outcomeOf(await strict), isEarly]).toEqual([MOTD, '', 0, false]);
    } finally {
      other.close();
    }
  });

  test('writes the last of two entries of the same path', async () => {
    const image = newUser(twiceLayer);
    const run = await user.run(['cat', '--verify', 'strict', image, '/etc/motd']);
    expect(outcomeOf(run)).toEqual(['the last one\n', '', 0]);
  });
});
