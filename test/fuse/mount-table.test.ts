/** /proc/self/mountinfo as the kernel writes it. */
import { describe, expect, test } from 'vitest';
import { mountAt, mountsOf, parseMountTable, readMountTable } from '../../src/fuse/mount-table.ts';

const TEXT = [
  '22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw',
  '42 22 0:39 / /mnt/a\\040b\\134c ro,nosuid,nodev,noatime shared:7 master:1 - fuse.peel peel:x\\011y ro,user_id=0,group_id=0',
  '47 22 0:44 / /mnt/user ro - fuse.peel peel:user_id=0 ro,user_id=1000,group_id=0',
  '43 22 0:40 / /mnt/over rw - tmpfs tmpfs rw',
  '44 43 0:41 / /mnt/over ro - fuse.peel peel:y ro',
  '45 22 0:42 / /mnt/\xc3\xbc rw - tmpfs - rw',
  'no mount at all',
  '46 22 0:43 / /cut rw shared:1',
  '',
].join('\n');

describe('the mount table', () => {
  const table = parseMountTable(TEXT);

  test('gives every mount, with escapes undone and optional fields passed over', () => {
    expect(table.map(({ mountPoint, type, source }) => [mountPoint, type, source])).toEqual([
      ['/', 'ext4', '/dev/vda1'],
      ['/mnt/a b\\c', 'fuse.peel', 'peel:x\ty'],
      ['/mnt/user', 'fuse.peel', 'peel:user_id=0'],
      ['/mnt/over', 'tmpfs', 'tmpfs'],
      ['/mnt/over', 'fuse.peel', 'peel:y'],
      ['/mnt/ü', 'tmpfs', '-'],
    ]);
    expect(table[1]).toMatchObject({ id: 42, major: 0, minor: 39 });
  });

  test('finds the uppermost mount of a place, and none below it', () => {
    expect(mountAt('/mnt/over', table)?.id).toBe(44);
    expect(mountAt('/mnt', table)).toBeUndefined();
  });

  test('tells whose mounts of peel may be unmounted: root all, others their own', () => {
    const places = (uid: number): string[] => mountsOf(uid, table).map((entry) => entry.mountPoint);
    expect(places(0)).toEqual(['/mnt/a b\\c', '/mnt/user', '/mnt/over']);
    expect(places(1000)).toEqual(['/mnt/user']);
    expect(places(1001)).toEqual([]);
  });

  test('of this machine has a root', () => {
    expect(mountAt('/', readMountTable())?.type).toMatch(/./);
  });
});
