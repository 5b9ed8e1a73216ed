/** sha256 on the pool, holes in files, unmounting; and the script that builds the addon. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { punchHole, unmount } from '../../src/native/system-calls.ts';
import { sha256 } from '../../src/native.ts';
import { sha256Hex } from '../support/digests.ts';
import { useSharedTempDirs } from '../support/temp-dirs.ts';
import { run } from './support.ts';

const folder = useSharedTempDirs()();
const isRoot = process.getuid?.() === 0;

/** Root that may mount: a container's root often may not. */
function mayMount(): boolean {
  return isRoot && spawnSync('unshare', ['-m', 'true'], { timeout: 10_000 }).status === 0;
}

test('sha256 is the one of node:crypto, for any length and many at once', async () => {
  const inputs = [0, 1, 63, 64, 65, 4096, 1_000_003].map((length) => randomBytes(length));
  const digests = await Promise.all(inputs.map((input) => sha256(input)));
  expect(digests.map((digest) => digest.toString('hex'))).toEqual(inputs.map((input) => sha256Hex(input)));
  const bytes = randomBytes(500_000);
  const expected = sha256Hex(bytes);
  const pending = sha256(bytes);
  bytes.fill(0);
  expect((await pending).toString('hex')).toBe(expected);
});

describe('punchHole', () => {
  test('gives the bytes back, keeps the size, reads as zeros', () => {
    const file = path.join(folder, 'sparse');
    writeFileSync(file, Buffer.alloc(1024 * 1024, 1));
    const fd = openSync(file, 'r+');
    fsyncSync(fd);
    const before = fstatSync(fd).blocks;
    const worked = punchHole(fd, 256 * 1024, 512 * 1024);
    fsyncSync(fd);
    expect(fstatSync(fd).size).toBe(1024 * 1024);
    if (worked) {
      expect(fstatSync(fd).blocks).toBeLessThan(before);
      const bytes = readFileSync(file);
      expect(bytes.subarray(256 * 1024, 768 * 1024).equals(Buffer.alloc(512 * 1024))).toBe(true);
      expect(bytes[256 * 1024 - 1]).toBe(1);
      expect(bytes[768 * 1024]).toBe(1);
    }
    closeSync(fd);
  });

  test('of a closed descriptor is an error, a negative length a RangeError', () => {
    expect(() => punchHole(999_999, 0, 1)).toThrow(/EBADF/);
    expect(() => punchHole(0, 0, -1)).toThrow(RangeError);
  });
});

describe('unmount', () => {
  function failure(target: string | Uint8Array): { code: string; errno: unknown } {
    try {
      unmount(target, { lazy: false });
    } catch (error) {
      if (isPeelError(error)) return { code: error.code, errno: error.facts['errno'] };
      throw error;
    }
    throw new Error('unmounted');
  }

  test.skipIf(!isRoot)('names the errno of what is missing or not mounted', () => {
    expect(failure(path.join(folder, 'nowhere')).errno).toMatch(/ENOENT|EPERM/);
    const plain = path.join(folder, 'plain');
    mkdirSync(plain);
    expect(failure(Buffer.from(plain)).errno).toMatch(/EINVAL|EPERM/);
  });

  test('refuses an empty path and a NUL in it', () => {
    expect(() => unmount('', { lazy: true })).toThrow(RangeError);
    expect(() => unmount('/a\0b', { lazy: true })).toThrow(RangeError);
  });

  test.skipIf(!mayMount())('takes a mount away, follows no link, and only lazily while it is in use', () => {
    // In a mount namespace of its own, so that nothing can be left behind.
    const target = path.join(folder, 'mnt');
    const link = path.join(folder, 'link');
    mkdirSync(target);
    symlinkSync(target, link);
    const addon = path.join(import.meta.dirname, '..', '..', 'build', 'Release', 'peel.node');
    const script = `
      const { execFileSync } = require('node:child_process');
      const { openSync, readFileSync } = require('node:fs');
      const addon = require(${JSON.stringify(addon)});
      const target = ${JSON.stringify(target)};
      const mounted = () => readFileSync('/proc/self/mounts', 'utf8').includes(' ' + target + ' ');
      execFileSync('mount', ['-t', 'tmpfs', 'none', target]);
      const found = [mounted(), addon.unmount(Buffer.from(${JSON.stringify(link)}), false)];
      const fd = openSync(target, 'r');
      found.push(addon.unmount(Buffer.from(target), false), mounted());
      found.push(addon.unmount(Buffer.from(target), true), mounted());
      console.log(JSON.stringify(found));`;
    const output = run('unshare', ['-m', process.execPath, '-e', script]);
    const EINVAL = 22;
    const EBUSY = 16;
    expect(JSON.parse(output.toString())).toEqual([true, EINVAL, EBUSY, true, 0, false]);
  });
});

describe('scripts/build-native.mjs', () => {
  const repository = path.join(import.meta.dirname, '..', '..');

  test('names everything that is missing, with the packages that bring it', () => {
    const copy = path.join(folder, 'checkout');
    const empty = path.join(folder, 'empty');
    mkdirSync(copy);
    mkdirSync(empty);
    run('cp', [
      '-r',
      ...['native', 'scripts', 'binding.gyp'].map((name) => path.join(repository, name)),
      copy,
    ]);
    const child = spawnSync(process.execPath, [path.join(copy, 'scripts', 'build-native.mjs')], {
      env: { PATH: empty },
      timeout: 30_000,
    });
    expect(child.status).toBe(1);
    expect(child.stderr.toString()).toMatch(/apt-get install python3 make g\+\+/);
    expect(child.stderr.toString()).toMatch(/dnf install python3 make gcc-c\+\+/);
  });
});
