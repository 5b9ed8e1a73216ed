/**
 * Starts that are noted and replayed: what that costs is counted at the server, and what is read is compared with what
 * was put into the image. The "start" reads the beginnings of files in an order of its own, as programs do.
 */
import { randomFillSync } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { countingProxy } from '../../scripts/counting-proxy.mjs';
import { sha256Digest, sha256Hex } from '../support/digests.ts';
import { member, writeLayout } from '../support/image-layout.ts';
import { closeMounts, python, whyNoMounts } from '../support/mount-child.ts';
import { MountCommand } from '../support/mount-command.ts';
import { hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';

const FILE_BYTES = 256 * 1024;
const FILES = 48;
/** The start reads the first of them; 13 has no divisor with 32 in common. */
const READ = 32;
const ORDER = Array.from({ length: READ }, (_, index) => `f${(index * 13) % READ}`);
/** No request for so long: whatever was begun has ended. */
const SETTLED_MS = 500;

interface ShownProfile {
  readonly image: string;
  readonly starts: number;
  readonly ranges: readonly {
    readonly layer: string;
    readonly starts: number;
    readonly isReplayed: boolean;
  }[];
}

describe.skipIf(whyNoMounts() !== undefined || !hasRegistry())('a start of a mounted image', () => {
  /** Gzip halves it, and no two places are alike. */
  const files = Array.from({ length: FILES }, () =>
    Buffer.from(randomFillSync(Buffer.alloc(FILE_BYTES / 2)).toString('hex'), 'latin1'),
  );
  const right = ORDER.map((name) => sha256Hex(files[Number(name.slice(1))]?.subarray(0, 4096) ?? ''));
  let registry: TestRegistry;
  let proxy: Awaited<ReturnType<typeof countingProxy>>;
  let image = '';
  let command: MountCommand;
  let exported = '';

  beforeAll(async () => {
    command = new MountCommand();
    const layout = path.join(command.home, 'layout');
    const members = files.map((content, index) => member(`f${index}`, { content }));
    writeLayout(layout, { layers: [members] });
    registry = await startRegistry();
    await registry.pushLayout('start', 'latest', `oci:${layout}`);
    rmSync(layout, { recursive: true });
    proxy = await countingProxy(registry.address);
    image = `${proxy.address}/start`;
    await indexed(command);
  }, 60_000);

  afterEach(() => command.end('SIGTERM'));

  afterAll(async () => {
    await closeMounts();
    proxy.close();
    await registry.close();
  });

  async function indexed(user: MountCommand): Promise<void> {
    const { status, stderr } = await user.peel('ls', image, '/');
    expect([status, stderr]).toEqual([0, '']);
  }

  async function settle(): Promise<void> {
    for (let before = -1; before !== proxy.counts.requests; ) {
      before = proxy.counts.requests;
      await new Promise((resolve) => {
        setTimeout(resolve, SETTLED_MS);
      });
    }
  }

  async function read(user: MountCommand, names: readonly string[]): Promise<unknown> {
    return python(
      `import hashlib, json, os, sys
def head(name):
  with open(os.path.join(sys.argv[1], name), "rb", buffering=0) as file: return hashlib.sha256(file.read(4096)).hexdigest()
print(json.dumps([head(name) for name in sys.argv[2:]]))`,
      user.place,
      ...names,
    );
  }

  /** The first file, and the others when nothing is on its way any more. What came from the server meanwhile. */
  async function start(user: MountCommand, flags: readonly string[] = []) {
    proxy.reset();
    await user.start(image, flags);
    const first = await read(user, ORDER.slice(0, 1));
    await settle();
    const others = await read(user, ORDER.slice(1));
    await settle();
    expect([first, others]).toEqual([right.slice(0, 1), right.slice(1)]);
    return { ...proxy.counts };
  }

  async function prune(user: MountCommand): Promise<void> {
    expect((await user.peel('cache', 'prune', '--content')).status).toBe(0);
  }

  async function shown(user: MountCommand): Promise<ShownProfile> {
    const { status, stdout, stderr } = await user.peel('profile', 'show', '--format', 'json', image);
    expect([status, stderr]).toEqual([0, '']);
    return JSON.parse(stdout) as ShownProfile;
  }

  let without: Awaited<ReturnType<typeof start>>;

  test('with --no-profile is not noted', async () => {
    without = await start(command, ['--no-profile']);
    await command.end('SIGTERM');
    const { status, stderr } = await command.peel('profile', 'show', image);
    expect(status).toBe(2);
    expect(stderr).toContain('no start of it was noted here');
  }, 60_000);

  test('is noted when the mount ends', async () => {
    await prune(command);
    await start(command);
    await command.end('SIGTERM');
    const profile = await shown(command);
    expect(profile.starts).toBe(1);
    expect(profile.ranges.length).toBeGreaterThan(READ / 2);
  }, 60_000);

  test('is replayed by the next one in few requests, with hardly a byte more', async () => {
    await prune(command);
    const replayed = await start(command);
    expect(replayed.blobRequests * 3).toBeLessThan(without.blobRequests);
    expect(replayed.blobBytes).toBeLessThan(without.blobBytes * 1.05);
  }, 60_000);

  test('is noted, too, where all that it read was replayed', async () => {
    const { starts, ranges } = await shown(command);
    expect(starts).toBe(2);
    expect(ranges.filter(({ isReplayed }) => !isReplayed)).toEqual([]);
    expect(ranges.filter((range) => range.starts === 0b11).length).toBeGreaterThan(READ / 2);
  });

  test('costs nothing where nobody reads', async () => {
    await prune(command);
    proxy.reset();
    await command.start(image);
    await settle();
    expect(proxy.counts.blobRequests).toBe(0);
  }, 60_000);

  test('is replayed on another machine from a profile, before anything is read', async () => {
    exported = path.join(command.home, 'profile.json');
    expect((await command.peel('profile', 'export', image, exported)).status).toBe(0);
    const other = new MountCommand();
    await indexed(other);
    proxy.reset();
    await other.start(image, ['--profile', exported]);
    await settle();
    const { blobRequests } = proxy.counts;
    expect(blobRequests).toBeGreaterThan(0);
    expect(blobRequests * 3).toBeLessThan(without.blobRequests);
    expect(await read(other, ORDER)).toEqual(right);
    expect(proxy.counts.blobRequests).toBe(blobRequests);
    expect(other.said).not.toContain('profile');
    await other.end('SIGTERM');
  }, 60_000);

  test('of which a profile was imported is replayed as if it had been noted here', async () => {
    const other = new MountCommand();
    await indexed(other);
    const { status, stdout } = await other.peel('profile', 'import', exported);
    const { image: digest } = await shown(command);
    expect([status, stdout]).toEqual([0, `${digest}\n`]);
    const replayed = await start(other);
    expect(replayed.blobRequests * 3).toBeLessThan(without.blobRequests);
    await other.end('SIGTERM');
  }, 60_000);

  test('is what it is without where a profile names what is not there, but for one warning', async () => {
    await prune(command);
    const [layer = ''] = (await shown(command)).ranges.map((range) => range.layer);
    const bad = path.join(command.home, 'bad.json');
    const ranges = [
      [0, 0, FILE_BYTES, 1],
      [0, 10 ** 15, FILE_BYTES, 1],
      [1, 0, FILE_BYTES, 1],
    ];
    writeFileSync(
      bad,
      JSON.stringify({
        schemaVersion: 1,
        image: sha256Digest('another image'),
        starts: 1,
        layers: [layer, sha256Digest('another layer')],
        ranges,
      }),
    );
    await start(command, ['--profile', bad]);
    expect(command.said.match(/2 of 3 ranges of the profile are not in the image/g)).toHaveLength(1);
  }, 60_000);

  test('is not replayed from a file that is no profile', async () => {
    const bad = path.join(command.home, 'bad.json');
    writeFileSync(bad, '{"schemaVersion": 1');
    await expect(command.start(image, ['--profile', bad])).rejects.toThrow('is not valid JSON');
    await expect(command.start(image, ['--profile', path.join(command.home, 'none')])).rejects.toThrow(
      'ENOENT',
    );
    await expect(command.start(image, ['--profile', exported, '--no-profile'])).rejects.toThrow(
      'exclude each other',
    );
  }, 60_000);

  test('can be fetched before there is a mount, and is there without the registry then', async () => {
    await prune(command);
    proxy.reset();
    const fetched = await command.peel('prefetch', '--format', 'json', image);
    expect(fetched.status).toBe(0);
    const { requests } = JSON.parse(fetched.stdout) as { requests: number };
    expect(proxy.counts.blobRequests).toBe(requests);
    expect(requests * 3).toBeLessThan(without.blobRequests);
    await command.start(image, ['--offline', '--no-profile']);
    expect(await read(command, ORDER)).toEqual(right);
  }, 60_000);

  test('files are fetched by their paths, and not again', async () => {
    await prune(command);
    const last = `f${FILES - 1}`;
    expect(await command.peel('prefetch', image, '/f40', last)).toMatchObject({ status: 0, stderr: '' });
    for (const name of ['f40', last]) {
      const { status, stdout } = await command.peel('cat', '--offline', image, name);
      expect([status, sha256Hex(stdout)]).toEqual([0, sha256Hex(files[Number(name.slice(1))] ?? '')]);
    }
    proxy.reset();
    expect(await command.peel('prefetch', image, '/f40')).toMatchObject({ stdout: 'fetched 0 B\n' });
    expect(proxy.counts.blobRequests).toBe(0);
  }, 60_000);

  test('a registry that is gone fails the prefetch, with its own error', async () => {
    await prune(command);
    const { status, stderr } = await command.peel('prefetch', '--offline', image, '/f40');
    expect(status).toBe(5);
    expect(stderr).toContain('offline');
  }, 60_000);
});
