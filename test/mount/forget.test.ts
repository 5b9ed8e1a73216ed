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

/**
 * Entries times rounds times walks is how often an inode is looked up and forgotten: a million times by the native
 * server, 20,000 times by libfuse, which needs as long for it.
 */
const ENTRIES = { native: 20_000, 'native by /dev/fuse': 20_000, 'fuse-native': 400 } as const;
const ROUNDS = 10;
const WALKS = 5;

/** How often a walk, after all inodes were dropped, was not the same as the first one. */
const DROP_AND_LOOK = `import json, os, sys
m, rounds = sys.argv[1], int(sys.argv[2])
def look():
    walked = []
    folders = [m]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for e in entries:
                s = e.stat(follow_symlinks=False)
                walked.append((e.name, s.st_ino, s.st_nlink, s.st_size))
                if e.is_dir(follow_symlinks=False):
                    folders.append(e.path)
    return walked
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

    test('come back with the same numbers, links and sizes, and take no memory (F51)', {
      timeout: 90_000,
    }, async () => {
      const mount = await mounted(transport);
      const look = async (): Promise<void> => {
        const found = await python(DROP_AND_LOOK, mount.mountPoint, String(ROUNDS));
        expect(found).toEqual([0, ENTRIES[transport] + 4]);
      };
      await look();
      // By now everything was touched that stays in use: pages of the tree, stacks, buffers.
      const before = residentBytes(mount.pid);
      for (let walk = 1; walk < WALKS; walk += 1) await look();
      if (transport === 'fuse-native') return; // libfuse counts nothing, and has a heap of its own
      const { forget = 0, batch_forget = 0, lookup = 0, readdirplus = 0 } = await mount.requests();
      expect(forget + batch_forget).toBeGreaterThan(0);
      expect(lookup + readdirplus).toBeGreaterThan(WALKS * ROUNDS * 100);
      // A list of what was looked up would be some MB.
      expect(residentBytes(mount.pid) - before).toBeLessThan(2e6);
    });
  },
);
