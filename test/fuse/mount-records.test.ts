/** The runtime folder: what is written, what is believed, what is refused (F47, F48). */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  isServerAlive,
  type MountRecord,
  openRuntimeDir,
  readRecords,
  removeRecord,
  startTicksOf,
  writeRecord,
} from '../../src/fuse/mount-records.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const makeDir = useTempDirs();
let folder = '';
beforeEach(() => {
  folder = makeDir();
});

const record = (fields: Partial<MountRecord> = {}): MountRecord => ({
  pid: process.pid,
  startTicks: startTicksOf(process.pid) ?? '',
  mountPoint: '/mnt/x',
  image: 'docker.io/library/alpine:latest',
  digest: 'sha256:00',
  startedAt: '2026-01-01T00:00:00.000Z',
  ownsMountPoint: false,
  state: 'whole',
  log: undefined,
  ...fields,
});

describe('records', () => {
  test('come back as they were written, until they are removed', () => {
    const first = record({ log: '/run/peel/log/x.log', ownsMountPoint: true });
    const second = record({ mountPoint: '/mnt/ü y' });
    writeRecord(folder, first);
    writeRecord(folder, second);
    expect(readRecords(folder)).toHaveLength(2);
    expect(readRecords(folder)).toContainEqual(first);
    expect(readRecords(folder)).toContainEqual(second);
    removeRecord(folder, first);
    removeRecord(folder, record({ mountPoint: '/mnt/never' }));
    expect(readRecords(folder)).toEqual([second]);
    expect(readdirSync(path.join(folder, 'mounts'))).toHaveLength(1);
  });

  test.each([
    ['no JSON', 'x'],
    ['an array', '[]'],
    ['null', 'null'],
    ['no pid', '{"mountPoint":"/x"}'],
    ['a negative pid', '{"pid":-1,"mountPoint":"/x"}'],
    ['a pid that is text', '{"pid":"1","mountPoint":"/x"}'],
    ['a relative mount point', '{"pid":1,"mountPoint":"x"}'],
    ['too much', `{"pid":1,"mountPoint":"/x","image":"${'x'.repeat(70_000)}"}`],
  ])('with %s are passed over', (_what, text) => {
    mkdirSync(path.join(folder, 'mounts'));
    writeFileSync(path.join(folder, 'mounts', 'a.json'), text);
    symlinkSync('/etc/passwd', path.join(folder, 'mounts', 'b.json'));
    expect(readRecords(folder)).toEqual([]);
  });

  test('of a process that has ended, or whose number has another now, is not alive', () => {
    expect(isServerAlive(record())).toBe(true);
    expect(isServerAlive(record({ startTicks: '1' }))).toBe(false);
    expect(isServerAlive(record({ startTicks: '' }))).toBe(false);
    expect(isServerAlive(record({ pid: 2 ** 30 }))).toBe(false);
  });
});

describe('the runtime folder', () => {
  test('lies in XDG_RUNTIME_DIR and is for its user alone', async () => {
    const opened = await openRuntimeDir({ XDG_RUNTIME_DIR: folder });
    expect(opened).toBe(path.join(folder, 'peel'));
    expect(statSync(opened).mode & 0o777).toBe(0o700);
    expect(await openRuntimeDir({ XDG_RUNTIME_DIR: folder })).toBe(opened);
  });

  test('is refused where others may write to it, or where it is a link or a file', async () => {
    const opened = await openRuntimeDir({ XDG_RUNTIME_DIR: folder });
    chmodSync(opened, 0o777);
    await expect(openRuntimeDir({ XDG_RUNTIME_DIR: folder })).rejects.toThrow('nobody else may write');
    rmSync(opened, { recursive: true });
    symlinkSync(os.tmpdir(), opened);
    await expect(openRuntimeDir({ XDG_RUNTIME_DIR: folder })).rejects.toThrow('nobody else may write');
    rmSync(opened);
    writeFileSync(opened, '');
    await expect(openRuntimeDir({ XDG_RUNTIME_DIR: folder })).rejects.toThrow('must be a folder');
  });

  // Node's own recursive mkdir never returns there.
  test('is an error, not a wait, where the file system answers ENOENT to every mkdir', async () => {
    const opening = openRuntimeDir({ XDG_RUNTIME_DIR: '/proc/self/fdinfo/nobody' });
    await expect(opening).rejects.toThrow('creating the runtime folder');
  });

  test.skipIf(process.geteuid?.() !== 0)('is refused where it belongs to somebody else', async () => {
    chownSync(await openRuntimeDir({ XDG_RUNTIME_DIR: folder }), 65534, 65534);
    await expect(openRuntimeDir({ XDG_RUNTIME_DIR: folder })).rejects.toThrow('a folder of this user');
  });
});
