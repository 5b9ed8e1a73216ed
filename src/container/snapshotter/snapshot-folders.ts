/**
 * The folders of snapshots, as containerd's own overlay snapshotter has them:
 *
 *   ROOT/snapshots/12/fs      what the snapshot adds to its parents; of a lazy one, where the image is mounted
 *   ROOT/snapshots/12/work    overlayfs's own, of active ones
 */
import { chmod, lchown, lstat, mkdir, opendir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { systemCodeOf } from '../../errors.ts';
import { readMountTable } from '../../fuse/mount-table.ts';
import { unmountPath } from '../../fuse/unmount.ts';
import type { Usage } from './snapshot.ts';

/** stat(2): st_blocks counts these. */
const BLOCK_BYTES = 512;

export class SnapshotFolders {
  readonly #folder: string;

  constructor(root: string) {
    this.#folder = path.join(root, 'snapshots');
  }

  upper(id: number): string {
    return path.join(this.#folder, String(id), 'fs');
  }

  work(id: number): string {
    return path.join(this.#folder, String(id), 'work');
  }

  /** Of all folders that are there, also of those that no snapshot has. */
  async ids(): Promise<number[]> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    return (await readdir(this.#folder)).filter((name) => /^[1-9][0-9]*$/.test(name)).map(Number);
  }

  /** `parent`: whose root directory the new one's owner is taken from. */
  async make(id: number, options: { readonly isActive: boolean; readonly parent?: number }): Promise<void> {
    const upper = this.upper(id);
    await mkdir(path.dirname(upper), { mode: 0o700 });
    await mkdir(upper);
    // Whatever the umask: it is the root directory of a container.
    await chmod(upper, 0o755);
    if (options.isActive) await mkdir(this.work(id), { mode: 0o711 });
    if (options.parent === undefined) return;
    const { uid, gid } = await lstat(this.upper(options.parent));
    await lchown(upper, uid, gid);
  }

  /** Takes down what is mounted there first. */
  async remove(id: number): Promise<void> {
    const folder = path.join(this.#folder, String(id));
    for (const { mountPoint } of readMountTable().reverse()) {
      if (mountPoint.startsWith(`${folder}/`)) await unmountPath(mountPoint, { lazy: true });
    }
    await rm(folder, { recursive: true, force: true });
  }

  /** What the files of a snapshot take; each once, however many names it has. */
  async usage(id: number): Promise<Usage> {
    const seen = new Set<string>();
    let size = 0;
    const count = async (name: string): Promise<boolean> => {
      const { dev, ino, blocks } = await lstat(name, { bigint: true });
      const key = `${dev}:${ino}`;
      if (seen.has(key)) return false;
      seen.add(key);
      size += Number(blocks) * BLOCK_BYTES;
      return true;
    };
    const pending = [this.upper(id)];
    await count(this.upper(id));
    for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
      for await (const entry of await opendir(folder)) {
        const name = path.join(folder, entry.name);
        try {
          if ((await count(name)) && entry.isDirectory()) pending.push(name);
        } catch (error) {
          // Of an active snapshot files come and go while they are counted.
          if (systemCodeOf(error) !== 'ENOENT') throw error;
        }
      }
    }
    return { size, inodes: seen.size };
  }
}
