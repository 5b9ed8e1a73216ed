/** Every call that would change the mount, beside the same calls on a tmpfs that the kernel holds read-only. */
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  closeMounts,
  mountLiteral,
  python,
  run,
  TRANSPORTS,
  temporaryFolder,
  whyNoMounts,
} from '../support/mount-child.ts';

const script = readFileSync(path.join(import.meta.dirname, 'rofs-calls.py'), 'utf8');

/** Not EROFS on any read-only file system: the call fails for another reason first, or changes nothing. */
const OTHER: Readonly<Record<string, string>> = {
  'open O_CREAT|O_EXCL existing': 'EEXIST',
  'ftruncate of a reader': 'EINVAL',
  'fallocate of a reader': 'EBADF',
  'write of a reader': 'EBADF',
  'copy_file_range to a reader': 'EBADF',
  'mmap shared writable': 'EACCES',
  'mmap private writable': 'ok',
  'access R_OK': 'ok',
};
/** FUSE below 7.34 has no such call: ENOTTY, where file systems with inode flags say EROFS. */
const NOT_ON_FUSE = 'ioctl FS_IOC_SETFLAGS';

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)(
  'a mount refuses to change (%s)',
  (transport) => {
    let onMount: Record<string, string> = {};
    let onTmpfs: Record<string, string> = {};

    beforeAll(async () => {
      const content = Buffer.from('content').toString('base64');
      const mounted = await mountLiteral({
        transport,
        root: {
          kind: 'dir',
          children: {
            f: { kind: 'file', data: content, xattrs: { 'user.a': content } },
            e: { kind: 'dir' },
            d: { kind: 'dir', children: { x: { kind: 'file', data: content } } },
            l: { kind: 'symlink', target: 'f' },
          },
        },
      });
      onMount = (await python(script, mounted.mountPoint)) as Record<string, string>;

      const tmpfs = path.join(temporaryFolder(), 'tmpfs');
      mkdirSync(tmpfs);
      expect(await run('mount', ['-t', 'tmpfs', 'tmpfs', tmpfs])).toMatchObject({ status: 0 });
      writeFileSync(path.join(tmpfs, 'f'), 'content');
      mkdirSync(path.join(tmpfs, 'e'));
      mkdirSync(path.join(tmpfs, 'd'));
      writeFileSync(path.join(tmpfs, 'd/x'), 'content');
      symlinkSync('f', path.join(tmpfs, 'l'));
      chmodSync(tmpfs, 0o755);
      expect(await run('mount', ['-o', 'remount,ro', tmpfs])).toMatchObject({ status: 0 });
      onTmpfs = (await python(script, tmpfs)) as Record<string, string>;
    });
    afterAll(closeMounts);

    test('with EROFS, whichever of 45 and more calls is made (E231)', () => {
      const refused = Object.entries(onMount).filter(([name]) => !(name in OTHER) && name !== NOT_ON_FUSE);
      expect(refused.length).toBeGreaterThanOrEqual(45);
      expect(refused.filter(([, errno]) => errno !== 'EROFS')).toEqual([]);
    });

    test('or with the errno that comes first on every read-only file system', () => {
      for (const [name, errno] of Object.entries(OTHER)) expect([name, onMount[name]]).toEqual([name, errno]);
    });

    test('exactly as a read-only tmpfs does', () => {
      const { [NOT_ON_FUSE]: _fuse, ...mount } = onMount;
      const { [NOT_ON_FUSE]: _tmpfs, ...tmpfs } = onTmpfs;
      expect(mount).toEqual(tmpfs);
    });
  },
);
