/** F51: what a mount keeps while the kernel forgets its inodes and asks for them again. */
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { dir, file } from '../support/literals.ts';
import {
  closeMounts,
  type MountChild,
  mountLiteral,
  python,
  TRANSPORTS,
  type TransportName,
  whyNoMounts,
} from '../support/mount-child.ts';

/** Entries times rounds is how often an inode is forgotten. */
const ENTRIES = { native: 20_000, 'native by /dev/fuse': 20_000, 'fuse-native': 2000 } as const;
const ROUNDS = 6;

/** How often a walk, after all inodes were dropped, was not the same as the first one. */
const DROP_AND_LOOK = `import json, os, sys
m, rounds = sys.argv[1], int(sys.argv[2])
def look():
    walked = []
    for folder, names, files in os.walk(m):
        for n in names + files:
            s = os.lstat(os.path.join(folder, n))
            walked.append((folder, n, s.st_ino, s.st_nlink, s.st_size))
    return sorted(walked)
before = look()
changed = 0
for _ in range(rounds):
    open("/proc/sys/vm/drop_caches", "w").write("2")
    changed += look() != before
print(json.dumps([changed, len(before)]))`;

async function mounted(transport: TransportName): Promise<MountChild> {
  const many = Object.fromEntries(
    Array.from({ length: ENTRIES[transport] }, (_, index) => [`entry-${index}`, file('')]),
  );
  const root = dir({ many: dir(many), f: file('x'), same: { kind: 'hardlink', to: '/f' }, d: dir({}) });
  return mountLiteral({ transport, root });
}

const residentBytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) * 1024;

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)(
  'inodes that the kernel forgets (%s)',
  (transport) => {
    afterEach(closeMounts);

    test('come back with the same numbers, links and sizes, and take no memory (F51)', async () => {
      const mount = await mounted(transport);
      const look = () => python(DROP_AND_LOOK, mount.mountPoint, String(ROUNDS));
      expect(await look()).toEqual([0, ENTRIES[transport] + 4]);
      const { forget = 0, batch_forget = 0, lookup = 0, readdirplus = 0 } = await mount.requests();
      // By now everything was touched that stays in use: pages of the tree, stacks, buffers.
      const before = residentBytes(mount.pid);
      await look();
      if (transport === 'fuse-native') return; // libfuse counts nothing, and has a heap of its own
      expect(forget + batch_forget).toBeGreaterThan(0);
      expect(lookup + readdirplus).toBeGreaterThan(ROUNDS * 100);
      // A list of what was looked up would be some MB.
      expect(residentBytes(mount.pid) - before).toBeLessThan(2e6);
    });
  },
);
