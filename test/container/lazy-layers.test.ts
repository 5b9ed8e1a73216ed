/** Which layers `peel snapshotter` shows without unpacking them, and what is seen of them: asked as containerd asks. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256Digest } from '../support/digests.ts';
import { member } from '../support/image-layout.ts';
import { mountTable, run, whyNoMounts } from '../support/mount-child.ts';
import { hasRegistry, startRegistry, type TestRegistry } from '../support/registry.ts';
import { closeSnapshotters, type MountAnswer, SnapshotterServer } from '../support/snapshotter-server.ts';
import { type Member, writeTar } from '../support/tar-bytes.ts';

const skipped = whyNoMounts() ?? (hasRegistry() ? undefined : 'docker-registry is not installed');
const tarOf = (...members: readonly Member[]): Buffer => Buffer.from(writeTar(members).bytes);
const file = (name: string, text: string): Member => member(name, { content: Buffer.from(text) });

const TARS = [
  tarOf(file('a', 'lower a'), file('b', 'lower b')),
  tarOf(file('.wh.a', ''), file('b', 'middle b')),
  tarOf(file('c', 'upper c')),
];
const LAYERS = TARS.map((tar) => gzipSync(tar));
/** image-spec config.md, "Layer ChainID". */
const CHAINS: string[] = [];
for (const tar of TARS) {
  const below = CHAINS.at(-1);
  const diffID = sha256Digest(tar);
  CHAINS.push(below === undefined ? diffID : sha256Digest(`${below} ${diffID}`));
}

describe.skipIf(skipped !== undefined)(`lazy layers${skipped === undefined ? '' : `: ${skipped}`}`, () => {
  let registry: TestRegistry;
  let server: SnapshotterServer;
  let image: string;

  beforeEach(async () => {
    registry = await startRegistry();
    await registry.pushImage('app', '1', LAYERS);
    image = `${registry.address}/app:1`;
    server = new SnapshotterServer();
    await server.start();
  });
  afterEach(async () => {
    await closeSnapshotters();
    await registry.close();
  });

  const labelsOf = (layer: number): Record<string, string> => ({
    'containerd.io/snapshot.ref': CHAINS[layer] ?? '',
    'containerd.io/snapshot/cri.image-ref': image,
    'containerd.io/snapshot/cri.layer-digest': sha256Digest(LAYERS[layer] ?? ''),
  });
  const parentOf = (layer: number): string => CHAINS[layer - 1] ?? '';
  const prepare = (key: string, parent: string, labels: Record<string, string>): Promise<MountAnswer> =>
    server.call<MountAnswer>('Prepare', { key, parent, labels });
  /** As containerd unpacks: one layer after the other, from the lowest. */
  const pull = async (count: number): Promise<void> => {
    for (let layer = 0; layer < count; layer += 1) {
      await expect(prepare(`extract-${layer}`, parentOf(layer), labelsOf(layer))).rejects.toMatchObject({
        code: status.ALREADY_EXISTS,
      });
    }
  };
  const isUnpacked = async (key: string, parent: string, labels: Record<string, string>): Promise<boolean> =>
    (await prepare(key, parent, labels)).mounts.length === 1;
  /** Where a view of a snapshot is bound from. */
  const view = async (parent: string): Promise<string> => {
    const { mounts } = await server.call<MountAnswer>('View', { key: `view of ${parent}`, parent });
    return mounts[0]?.source ?? '';
  };
  /** What a file says, read by a process that may hang. */
  const read = async (...names: readonly string[]): Promise<string> =>
    (await run('/bin/cat', [path.join(...names)])).stdout;

  test('E13 each stack of layers is shown as an image of these layers alone', async () => {
    await pull(3);
    expect(await server.list('kind==committed')).toEqual([...CHAINS].sort());
    expect(await server.list('kind==active')).toEqual([]);
    const [lowest, middle, whole] = [
      await view(CHAINS[0] ?? ''),
      await view(CHAINS[1] ?? ''),
      await view(CHAINS[2] ?? ''),
    ];
    expect(await read(lowest, 'a')).toBe('lower a');
    expect(await read(lowest, 'b')).toBe('lower b');
    expect(await read(middle, 'b')).toBe('middle b');
    expect((await run('/bin/ls', [middle])).stdout).toBe('b\n');
    expect((await run('/bin/ls', [whole])).stdout).toBe('b\nc\n');
    expect(await server.call('Usage', { key: CHAINS[2] ?? '' })).toEqual({ size: 0, inodes: 0 });
  });

  test('the labels of the stargz snapshotter say the same, and the digest of the manifest outlives its tag', async () => {
    const { digest } = await registry.pushImage('app', '2', LAYERS, { author: 'somebody' });
    await registry.pushImage('app', '2', [LAYERS[2] ?? Buffer.alloc(0)]);
    image = `${registry.address}/app:2`;
    const pinned = { ...labelsOf(0), 'containerd.io/snapshot/cri.manifest-digest': digest };
    await expect(prepare('x', '', pinned)).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
    await server.call('Remove', { key: CHAINS[0] ?? '' });
    const stargz = {
      'containerd.io/snapshot.ref': CHAINS[0] ?? '',
      'containerd.io/snapshot/remote/stargz.reference': `${registry.address}/app:1`,
      'containerd.io/snapshot/remote/stargz.digest': sha256Digest(LAYERS[0] ?? ''),
    };
    await expect(prepare('x', '', stargz)).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
  });

  test('a layer is unpacked where image, chainID and digest do not agree', async () => {
    const { 'containerd.io/snapshot.ref': target, ...rest } = labelsOf(0);
    expect(target).toBe(CHAINS[0]);
    expect(await isUnpacked('no target', '', rest)).toBe(true);
    const other = { ...labelsOf(0), 'containerd.io/snapshot/cri.layer-digest': sha256Digest('other') };
    expect(await isUnpacked('other layer', '', other)).toBe(true);
    const claimed = { ...labelsOf(0), 'containerd.io/snapshot.ref': sha256Digest('other') };
    expect(await isUnpacked('other chainID', '', claimed)).toBe(true);
    const moved = { ...labelsOf(0), 'containerd.io/snapshot/cri.manifest-digest': sha256Digest('none') };
    expect(await isUnpacked('other manifest', '', moved)).toBe(true);
    expect(await isUnpacked('no parent', '', labelsOf(1))).toBe(true);
    expect(await server.list('kind==committed')).toEqual([]);
  });

  test('what lies on an unpacked layer is unpacked, and an unpacked layer may lie on lazy ones', async () => {
    await prepare('extract', '', {});
    await server.call('Commit', { key: 'extract', name: 'unpacked' });
    expect(await isUnpacked('over unpacked', 'unpacked', labelsOf(1))).toBe(true);
    await pull(2);
    await prepare('extract', CHAINS[1] ?? '', {});
    await server.call('Commit', { key: 'extract', name: 'over lazy' });
    const { mounts } = await prepare('container', 'over lazy', {});
    const lower = mounts[0]?.options.find((option) => option.startsWith('lowerdir=')) ?? '';
    const [unpacked = '', lazy = '', ...more] = lower.slice('lowerdir='.length).split(':');
    expect(more).toEqual([]);
    expect(existsSync(unpacked)).toBe(true);
    expect(await read(lazy, 'b')).toBe('middle b');
  });

  test('what cannot be mounted is no snapshot, and can be asked for again', async () => {
    await pull(2);
    // Only the uppermost layer of an image is read ahead: of these nothing is known yet but the manifest.
    await server.end('SIGKILL');
    const cache = path.join(server.home, 'cache/peel');
    await run('/bin/rm', ['-rf', cache]);
    await registry.stop();
    await server.start();
    const container = { key: 'container', parent: CHAINS[1] ?? '' };
    await expect(server.call('Prepare', container)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    expect(await server.list('name==container')).toEqual([]);
    expect(mountTable()).not.toContain(server.root);
    expect(readFileSync(path.join(server.root, 'metadata/1'), 'utf8')).toContain(CHAINS[0]);
  });

  test('F33 what is in use is mounted again by a server that starts, from the cache', async () => {
    await pull(3);
    const place = await view(CHAINS[2] ?? '');
    expect(await read(place, 'c')).toBe('upper c');
    // A folder is listed once all layers are known.
    expect((await run('/bin/ls', [place])).stdout).toBe('b\nc\n');
    await server.end('SIGKILL');
    await registry.stop();
    expect((await run('/bin/ls', [path.join(place, 'unseen')])).stderr).toContain('not connected');
    await server.start();
    // Nobody asks for it.
    await expect.poll(() => read(place, 'c'), { timeout: 15_000 }).toBe('upper c');
    expect((await run('/bin/ls', [path.join(place, 'unseen')])).stderr).toContain('No such file');
  });

  test('a mount that somebody took down comes back for the next container', async () => {
    await pull(3);
    const place = await view(CHAINS[2] ?? '');
    await run('/bin/umount', ['-l', place]);
    await expect
      .poll(async () => {
        await server.call('Mounts', { key: `view of ${CHAINS[2]}` });
        return read(place, 'c');
      })
      .toBe('upper c');
    await server.call('Remove', { key: `view of ${CHAINS[2]}` });
    for (const chain of [...CHAINS].reverse()) await server.call('Remove', { key: chain });
    expect(mountTable()).not.toContain(server.root);
  });
});
