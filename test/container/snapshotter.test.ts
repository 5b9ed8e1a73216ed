/**
 * `peel snapshotter` as containerd calls it: what it answers, with which status, and what it knows after it was killed.
 * containerd's own suite is scripts/snapshotter-suite.sh.
 */
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { whyNoMounts } from '../support/mount-child.ts';
import { closeSnapshotters, type MountAnswer, SnapshotterServer } from '../support/snapshotter-server.ts';

const skipped = whyNoMounts();

describe.skipIf(skipped !== undefined)(
  `the snapshotter${skipped === undefined ? '' : `: ${skipped}`}`,
  () => {
    let server: SnapshotterServer;

    beforeEach(async () => {
      server = new SnapshotterServer();
      await server.start();
    });
    afterEach(closeSnapshotters);

    const prepare = (key: string, parent = '', labels = {}): Promise<MountAnswer> =>
      server.call<MountAnswer>('Prepare', { key, parent, labels });
    const commit = (name: string, key: string, labels = {}): Promise<object> =>
      server.call('Commit', { name, key, labels });

    test('an empty snapshot is a folder to bind, later ones are overlays over it', async () => {
      expect((await prepare('a')).mounts).toMatchObject([
        { type: 'bind', source: server.upper(1), options: ['rw', 'rbind'] },
      ]);
      await commit('one', 'a');
      const [mount] = (await prepare('b', 'one')).mounts;
      expect(mount?.type).toBe('overlay');
      expect(mount?.options).toContain(`lowerdir=${server.upper(1)}`);
      expect(mount?.options).toContain(`upperdir=${server.upper(2)}`);
      expect((await server.call<MountAnswer>('View', { key: 'c', parent: 'one' })).mounts).toMatchObject([
        { type: 'bind', source: server.upper(1), options: ['ro', 'rbind'] },
      ]);
      expect(statSync(server.upper(2)).mode & 0o7777).toBe(0o755);
    });

    test('every refusal has the status that containerd goes by', async () => {
      await prepare('a');
      await commit('one', 'a');
      await prepare('b', 'one');
      await expect(prepare('b', 'one')).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
      await expect(prepare('c', 'b')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
      await expect(prepare('c', 'none')).rejects.toMatchObject({ code: status.NOT_FOUND });
      await expect(prepare('')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
      await expect(commit('one', 'b')).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
      await expect(commit('two', 'one')).rejects.toMatchObject({ code: status.FAILED_PRECONDITION });
      await expect(commit('two', 'none')).rejects.toMatchObject({ code: status.NOT_FOUND });
      for (const method of ['Stat', 'Mounts', 'Usage', 'Remove']) {
        await expect(server.call(method, { key: 'none' })).rejects.toMatchObject({ code: status.NOT_FOUND });
      }
      await expect(server.call('Mounts', { key: 'one' })).rejects.toMatchObject({
        code: status.FAILED_PRECONDITION,
      });
      await expect(server.call('Remove', { key: 'one' })).rejects.toMatchObject({
        code: status.FAILED_PRECONDITION,
      });
      await expect(server.list('labels."')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
      await expect(prepare('d', '', { long: 'x'.repeat(5000) })).rejects.toMatchObject({
        code: status.INVALID_ARGUMENT,
      });
      // What was refused left neither a snapshot nor a folder.
      expect(await server.list()).toEqual(['b', 'one']);
      expect(readdirSync(path.join(server.root, 'snapshots')).sort()).toEqual(['1', '2']);
    });

    test('a target whose image cannot be had is unpacked: Prepare gives a folder, as without labels', async () => {
      const labels = {
        'containerd.io/snapshot.ref': `sha256:${'0'.repeat(64)}`,
        'containerd.io/snapshot/cri.image-ref': '127.0.0.1:1/none:1',
        'containerd.io/snapshot/cri.layer-digest': `sha256:${'1'.repeat(64)}`,
      };
      expect((await prepare('a', '', labels)).mounts).toMatchObject([{ type: 'bind' }]);
      // A path is not the name of an image in a registry, whoever asks.
      const local = { ...labels, 'containerd.io/snapshot/cri.image-ref': 'oci:/etc' };
      expect((await prepare('b', '', local)).mounts).toMatchObject([{ type: 'bind' }]);
      expect(server.said).toContain('unpacked');
    });

    test('F26 what was answered is known after kill -9, and folders that nothing names are removed', async () => {
      await prepare('a', '', { l: '1' });
      writeFileSync(path.join(server.upper(1), 'file'), 'x'.repeat(5000));
      await commit('one', 'a', { l: '2' });
      await prepare('b', 'one');
      const before = await server.call('Stat', { key: 'one' });
      const usage = await server.call<{ size: number; inodes: number }>('Usage', { key: 'one' });
      expect(usage.inodes).toBe(2);
      expect(usage.size).toBeGreaterThanOrEqual(5000);
      await server.end('SIGKILL');
      mkdirSync(path.join(server.root, 'snapshots/77/fs'), { recursive: true });
      await server.start();
      expect(await server.call('Stat', { key: 'one' })).toEqual(before);
      expect(await server.call('Usage', { key: 'one' })).toEqual(usage);
      expect(await server.list()).toEqual(['b', 'one']);
      expect(existsSync(path.join(server.root, 'snapshots/77'))).toBe(false);
      await prepare('c', 'one');
      // Its number is not one that was ever taken.
      expect(existsSync(server.upper(78))).toBe(true);
      await server.call('Remove', { key: 'b' });
      expect(existsSync(server.upper(2))).toBe(false);
    });

    test('a damaged record is named, and nothing is served over it', async () => {
      await prepare('a');
      await server.end('SIGTERM');
      const file = path.join(server.root, 'metadata/1');
      writeFileSync(file, '{"version":1,"id":1');
      await expect(server.start()).rejects.toThrow(file);
    });

    test('F47 a second server on the same folder or socket is refused', async () => {
      await prepare('a');
      await expect(new SnapshotterServer().start(['--root', server.root])).rejects.toThrow(
        'another server answers there',
      );
      await expect(new SnapshotterServer().start(['--address', server.address])).rejects.toThrow(
        'another server answers there',
      );
      expect(await server.list()).toEqual(['a']);
    });

    test('the socket is for its owner alone, and TERM ends the server with status 0', async () => {
      expect(statSync(server.address).mode & 0o777).toBe(0o600);
      expect(await server.end('SIGTERM')).toBe(0);
    });
  },
);
