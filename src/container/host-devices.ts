/** The device nodes of the host, for --privileged. */
import { lstatSync, readdirSync } from 'node:fs';
import path from 'node:path';

export interface OciDevice {
  readonly path: string;
  readonly type: 'c' | 'b';
  readonly major: number;
  readonly minor: number;
  readonly fileMode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Folders whose content the container has of its own. */
const SKIPPED = ['pts', 'shm', 'mqueue', 'fd', 'console'];

/** gnu_dev_major(3), gnu_dev_minor(3): Linux has 12 bits of the one, 20 of the other. */
const majorOf = (rdev: number): number => Math.floor(rdev / 0x100) & 0xfff;
const minorOf = (rdev: number): number => (rdev & 0xff) + (Math.floor(rdev / 0x10_0000) & 0xfff) * 0x100;

export function hostDevices(folder = '/dev'): OciDevice[] {
  return readdirSync(folder)
    .filter((name) => folder !== '/dev' || !SKIPPED.includes(name))
    .flatMap((name) => {
      const file = path.join(folder, name);
      const stat = lstatSync(file, { throwIfNoEntry: false });
      if (stat === undefined) return [];
      if (stat.isDirectory()) return hostDevices(file);
      if (!stat.isCharacterDevice() && !stat.isBlockDevice()) return [];
      return [
        {
          path: file,
          type: stat.isCharacterDevice() ? 'c' : 'b',
          major: majorOf(stat.rdev),
          minor: minorOf(stat.rdev),
          fileMode: stat.mode & 0o7777,
          uid: stat.uid,
          gid: stat.gid,
        } satisfies OciDevice,
      ];
    });
}
