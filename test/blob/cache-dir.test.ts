import { chmod, chown, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCacheDir } from '../../src/blob/cache-dir.ts';
import type { Digest } from '../../src/units.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const makeDir = useTempDirs();
const isRoot = process.getuid?.() === 0;
const STRANGER = 12_345;
const unsafe = { code: 'ERR_CACHE', facts: { reason: 'unsafe' } };

describe('openCacheDir', () => {
  test('makes what is missing, for this user alone', async () => {
    const folder = path.join(makeDir(), 'a', 'b', 'cache');
    const cache = await openCacheDir(folder);
    for (const made of ['..', '.', 'v1']) {
      expect((await stat(path.join(folder, made))).mode & 0o7777).toBe(0o700);
    }
    expect(cache.path).toBe(folder);
  });

  test('opens one that is there, also one that others may read, and shows them nothing', async () => {
    const folder = makeDir();
    await chmod(folder, 0o755);
    await openCacheDir(folder);
    await openCacheDir(folder);
    expect((await stat(folder)).mode & 0o7777).toBe(0o755);
    expect((await stat(path.join(folder, 'v1'))).mode & 0o7777).toBe(0o700);
  });

  test('tightens its own folder inside', async () => {
    const folder = makeDir();
    await mkdir(path.join(folder, 'v1'), { mode: 0o755 });
    await openCacheDir(folder);
    expect((await stat(path.join(folder, 'v1'))).mode & 0o7777).toBe(0o700);
  });

  test.each(['0777', '0770', '0720', '0702', '1777'])(
    'F48: refuses a folder of mode %s, into which others may write',
    async (mode) => {
      const folder = path.join(makeDir(), 'cache');
      await mkdir(folder);
      await chmod(folder, Number.parseInt(mode, 8));
      await expect(openCacheDir(folder)).rejects.toMatchObject(unsafe);
      expect(await readdir(folder)).toEqual([]);
    },
  );

  test.skipIf(!isRoot)('F48: refuses a folder of another user, and writes nothing into it', async () => {
    const folder = path.join(makeDir(), 'cache');
    await mkdir(folder, { mode: 0o700 });
    await chown(folder, STRANGER, STRANGER);
    await expect(openCacheDir(folder)).rejects.toMatchObject(unsafe);
    expect(await readdir(folder)).toEqual([]);
  });

  test('F48: refuses a symbolic link', async () => {
    const folder = makeDir();
    await mkdir(path.join(folder, 'real'), { mode: 0o700 });
    await symlink('real', path.join(folder, 'cache'));
    await expect(openCacheDir(path.join(folder, 'cache'))).rejects.toMatchObject(unsafe);
    expect(await readdir(path.join(folder, 'real'))).toEqual([]);
  });

  test('F48: refuses a link that leads nowhere, and a file', async () => {
    const folder = makeDir();
    await symlink('nowhere', path.join(folder, 'link'));
    await writeFile(path.join(folder, 'file'), '');
    await expect(openCacheDir(path.join(folder, 'link'))).rejects.toMatchObject(unsafe);
    await expect(openCacheDir(path.join(folder, 'file'))).rejects.toMatchObject(unsafe);
    expect((await readdir(folder)).sort()).toEqual(['file', 'link']);
  });

  test('F48: refuses a place below a folder where anybody may exchange what lies in it', async () => {
    const folder = path.join(makeDir(), 'open');
    await mkdir(path.join(folder, 'between', 'cache'), { recursive: true, mode: 0o700 });
    await chmod(folder, 0o777);
    for (const name of ['between/cache', 'between/new', 'new', 'new/deeper']) {
      await expect(openCacheDir(path.join(folder, name))).rejects.toMatchObject(unsafe);
    }
    expect(await readdir(folder)).toEqual(['between']);
    expect(await readdir(path.join(folder, 'between'))).toEqual(['cache']);
  });

  test('F48: such a folder is fine when it is sticky', async () => {
    const folder = path.join(makeDir(), 'open');
    await mkdir(folder);
    await chmod(folder, 0o1777);
    await openCacheDir(path.join(folder, 'cache'));
  });

  test.skipIf(!isRoot)('F48: refuses a place below a folder of another user', async () => {
    const folder = path.join(makeDir(), 'theirs');
    await mkdir(path.join(folder, 'cache'), { recursive: true, mode: 0o755 });
    await chown(folder, STRANGER, STRANGER);
    for (const name of ['cache', 'new']) {
      await expect(openCacheDir(path.join(folder, name))).rejects.toMatchObject(unsafe);
    }
    expect(await readdir(folder)).toEqual(['cache']);
  });

  test.skipIf(!isRoot)('F48: refuses a way through a link of another user', async () => {
    const folder = makeDir();
    await mkdir(path.join(folder, 'mine', 'cache'), { recursive: true, mode: 0o700 });
    const { lchown } = await import('node:fs/promises');
    await symlink('mine', path.join(folder, 'theirs'));
    await lchown(path.join(folder, 'theirs'), STRANGER, STRANGER);
    await expect(openCacheDir(path.join(folder, 'theirs', 'cache'))).rejects.toMatchObject(unsafe);
  });

  test('F48: what lies inside under our folder name must be ours, too', async () => {
    const folder = makeDir();
    await mkdir(path.join(folder, 'elsewhere'), { mode: 0o700 });
    await symlink('elsewhere', path.join(folder, 'v1'));
    await expect(openCacheDir(folder)).rejects.toMatchObject(unsafe);
  });

  test('a place that cannot be made is named with the reason', async () => {
    const folder = makeDir();
    await writeFile(path.join(folder, 'file'), '');
    const below = path.join(folder, 'file', 'cache');
    await expect(openCacheDir(below)).rejects.toMatchObject({ code: 'ERR_CACHE', facts: { path: below } });
    await expect(openCacheDir('/proc/self/peel-cache')).rejects.toMatchObject({
      code: 'ERR_CACHE',
      facts: { reason: 'unusable' },
    });
  });

  test('the folder of a layer is built from a digest that was checked', async () => {
    const cache = await openCacheDir(makeDir());
    const hex = 'ab'.repeat(32);
    expect(cache.layerDir(`sha256:${hex}` as Digest)).toBe(
      path.join(cache.path, 'v1', 'layers', 'sha256', hex),
    );
    for (const hostile of ['sha256:../../etc', `sha256:${hex}/..`, `md5:${hex}`, `sha256:${hex}\n`, '']) {
      expect(() => cache.layerDir(hostile as Digest)).toThrow(RangeError);
    }
  });
});
