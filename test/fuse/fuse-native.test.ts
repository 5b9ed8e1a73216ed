/** The pure parts of the fuse-native transport. */
import { describe, expect, test } from 'vitest';
import { PeelError } from '../../src/errors.ts';
import { withDeadline } from '../../src/fuse/deadline.ts';
import { ERRNO_OF, errnoOf } from '../../src/fuse/errno.ts';
import { encodeDevice } from '../../src/fuse/fuse-native-operations.ts';
import { fuseOptions } from '../../src/fuse/fuse-native-transport.ts';

describe('errnoOf', () => {
  test('gives the numbers of Linux, and EIO for mistakes of our own', () => {
    const numbers = (
      [
        'ERR_PATH_NOT_FOUND',
        'ERR_NOT_A_DIRECTORY',
        'ERR_NO_XATTR',
        'ERR_SYMLINK_LOOP',
        'ERR_READ_ONLY',
      ] as const
    ).map((code) => errnoOf(new PeelError(code, '')));
    expect(numbers).toEqual([2, 20, 61, 40, 30]);
    expect(errnoOf(new TypeError('x'))).toBe(5);
    expect(errnoOf(undefined)).toBe(5);
  });

  test('is EIO for whatever keeps bytes away (P8)', () => {
    for (const code of [
      'ERR_REGISTRY_UNREACHABLE',
      'ERR_DEADLINE',
      'ERR_DIGEST_MISMATCH',
      'ERR_AUTH_REFUSED',
    ] as const) {
      expect(ERRNO_OF[code]).toBe('EIO');
    }
  });
});

describe('encodeDevice', () => {
  // gnu_dev_makedev of glibc's sysmacros.h for numbers of 12 and 20 bits, computed with Python's os.makedev.
  test.each([
    [[1, 3], 259],
    [[5, 1], 1281],
    [[259, 300], 1114924],
    [[4095, 1048575], 4294967295],
    [[0, 0], 0],
  ] as const)('%j is %i', (device, number) => {
    expect(encodeDevice(device)).toBe(number);
  });
});

describe('fuseOptions', () => {
  test('are read-only, nosuid, nodev, noatime and checked by the kernel unless asked otherwise', () => {
    expect(fuseOptions({ source: 'peel:x' })).toMatch(
      /^-oro,nosuid,nodev,noatime,default_permissions,use_ino,fsname=peel:x,subtype=peel,/,
    );
    expect(fuseOptions({ source: 'peel:x' })).not.toContain('allow_other');
    expect(fuseOptions({ source: 'x', suid: true, dev: true, allowOther: true, nonEmpty: true })).toMatch(
      /^-oro,suid,dev,.*,allow_other,nonempty$/,
    );
  });

  test('no name of an image adds one, and the line fits what the binding copies', () => {
    const hostile = `peel:a,allow_other,suid\\,b\n\0 "${'x'.repeat(5000)}`;
    const line = fuseOptions({ source: hostile });
    expect(line).toContain('fsname=peel:a_allow_other_suid__b___');
    expect(line.split(',')).toHaveLength(fuseOptions({ source: 'x' }).split(',').length);
    expect(Buffer.byteLength(line)).toBeLessThan(1023);
  });
});

describe('withDeadline', () => {
  const never = new AbortController().signal;

  test('gives the value, or the failure, of work that ends in time', async () => {
    await expect(withDeadline(async () => 7, 1000, never)).resolves.toBe(7);
    await expect(withDeadline(() => Promise.reject(new Error('mine')), 1000, never)).rejects.toThrow('mine');
  });

  test('rejects with ERR_DEADLINE and aborts the work, which need not listen', async () => {
    let signal: AbortSignal | undefined;
    const work = (given: AbortSignal) => {
      signal = given;
      return new Promise<never>(() => undefined);
    };
    await expect(withDeadline(work, 5, never)).rejects.toMatchObject({ code: 'ERR_DEADLINE' });
    expect(signal?.aborted).toBe(true);
  });

  test('rejects with the reason of a stop, before and during the work', async () => {
    const stop = new AbortController();
    const waiting = withDeadline(() => new Promise<never>(() => undefined), 0, stop.signal);
    stop.abort(new Error('told to end'));
    await expect(waiting).rejects.toThrow('told to end');
    let isCalled = false;
    const late = withDeadline(
      async () => {
        isCalled = true;
      },
      0,
      stop.signal,
    );
    await expect(late).rejects.toThrow('told to end');
    expect(isCalled).toBe(false);
  });
});
