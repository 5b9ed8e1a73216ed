/** Which cgroup file systems this host has, as far as a runtime cares. */
import { readdirSync, readFileSync, rmdirSync, statfsSync } from 'node:fs';
import path from 'node:path';

/**
 * `unified`: version 2 alone. `legacy`: version 1, perhaps with version 2 beside it for names only. `hybrid`: version 1
 * with controllers in version 2 as well, which crun refuses. `none`: nothing is mounted.
 */
export type CgroupLayout = 'unified' | 'legacy' | 'hybrid' | 'none';

const ROOT = '/sys/fs/cgroup';
/** <linux/magic.h> */
const CGROUP2_MAGIC = 0x6367_7270;
const TMPFS_MAGIC = 0x0102_1994;
const CGROUP1_MAGIC = 0x0027_e0eb;

function typeOf(folder: string): number | undefined {
  try {
    return statfsSync(folder).type;
  } catch {
    return undefined;
  }
}

export function cgroupLayout(root: string = ROOT): CgroupLayout {
  const type = typeOf(root);
  if (type === CGROUP2_MAGIC) return 'unified';
  if (type !== TMPFS_MAGIC && type !== CGROUP1_MAGIC) return 'none';
  if (typeOf(`${root}/unified`) !== CGROUP2_MAGIC) return 'legacy';
  try {
    return readFileSync(`${root}/unified/cgroup.controllers`, 'latin1').trim() === '' ? 'legacy' : 'hybrid';
  } catch {
    return 'legacy';
  }
}

/** The cgroup that containers of ours are in, below the root of each hierarchy. */
export function cgroupsPathOf(id: string): string {
  return `/peel-${id}`;
}

/** Removes the cgroups of a container that is gone: a runtime that fails at its start may leave them. */
export function removeCgroups(id: string, root: string = ROOT): void {
  let hierarchies: string[];
  try {
    hierarchies = [root, ...readdirSync(root).map((name) => path.join(root, name))];
  } catch {
    return;
  }
  for (const hierarchy of hierarchies) {
    try {
      rmdirSync(path.join(hierarchy, cgroupsPathOf(id)));
    } catch {
      // there is none, or somebody is in it
    }
  }
}
