/** FUSE over io_uring, where the kernel has it on: that it is used, what it falls back to, and what it costs. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { dir, file } from '../support/literals.ts';
import {
  closeMounts,
  mountLiteral,
  python,
  run,
  temporaryFolder,
  whyNoUring,
} from '../support/mount-child.ts';

/** More than a queue begins with, from one processor: all of them are requests of one queue. */
const WAITING = 300;
const PAGE = 4096;

/** Runs the rest of the command line without io_uring_setup(2), as many containers do. */
const FORBIDDEN = `import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = b"".join(struct.pack("HBBI", *each) for each in [
    (0x20, 0, 0, 0), (0x15, 0, 1, 425), (6, 0, 0, 0x50000 | 1), (6, 0, 0, 0x7fff0000)])
kept = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Program(4, ctypes.addressof(kept)))):
    sys.exit("no filter")
os.execv(sys.argv[1], sys.argv[1:])`;

/** Bytes in memory of the mappings whose pages come as they are touched: the entries' payloads. */
function residentPayloads(pid: number): number {
  const mappings = readFileSync(`/proc/${pid}/smaps`, 'latin1').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const payloads = mappings.filter((text) => /^VmFlags:(?=.* nr)(?=.* nh)/m.test(text));
  expect(payloads).not.toEqual([]);
  return payloads.reduce((sum, text) => sum + Number(/^Rss:\s+(\d+)/m.exec(text)?.[1]) * 1024, 0);
}

describe.skipIf(whyNoUring() !== undefined)('a mount over io_uring', () => {
  afterEach(closeMounts);

  test('takes its requests that way, and none where that is turned off', async () => {
    const root = dir({ f: file('content') });
    const [on, off] = [
      await mountLiteral({ root }),
      await mountLiteral({ root, options: { ioUring: false } }),
    ];
    for (const { mountPoint } of [on, off]) {
      expect((await run('cat', [path.join(mountPoint, 'f')])).stdout).toBe('content');
    }
    const { lookup = 0, getattr = 0, ...others } = await on.requests();
    expect(others['io_uring']).toBeGreaterThanOrEqual(lookup + getattr + (others['read'] ?? 0));
    expect(await off.requests()).not.toHaveProperty('io_uring');
  });

  test('falls back to /dev/fuse without a word where io_uring is forbidden', async () => {
    const mounted = await mountLiteral({
      root: dir({ f: file('content') }),
      wrapper: ['python3', '-c', FORBIDDEN],
    });
    expect((await run('cat', [path.join(mounted.mountPoint, 'f')])).stdout).toBe('content');
    expect(await mounted.requests()).not.toHaveProperty('io_uring');
    expect(mounted.stderr).not.toMatch(/"level":[45]0(?!.*statistics)/);
  });

  test('answers others while more reads wait than a queue had room for, and then all of them', async () => {
    const gate = path.join(temporaryFolder(), 'open');
    const pages = Array.from({ length: WAITING }, (_, page) => String(page).padEnd(PAGE, '.'));
    const mounted = await mountLiteral({
      root: dir({ f: file(pages.join(''), { waitFor: gate }), g: file(''), d: dir({}) }),
    });
    const reading = python(
      `import json, mmap, os, sys, threading
os.sched_setaffinity(0, {0})
f = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
right = []
def read(page):
    room = mmap.mmap(-1, ${PAGE})
    os.preadv(f, [room], page * ${PAGE})
    if room[:].rstrip(b".") == str(page).encode(): right.append(page)
threads = [threading.Thread(target=read, args=(page,)) for page in range(${WAITING})]
for each in threads: each.start()
for each in threads: each.join()
print(json.dumps(len(right)))`,
      path.join(mounted.mountPoint, 'f'),
    );
    const sameQueue = (...words: string[]) => run('taskset', ['-c', '0', ...words]);
    // A request that found no room is handed on when another of its queue is answered, as this one.
    while (((await mounted.requests())['missed'] ?? 0) < WAITING) {
      expect((await sameQueue('stat', '-f', mounted.mountPoint)).status).toBe(0);
    }
    expect((await sameQueue('ls', mounted.mountPoint)).stdout).toBe('d\nf\ng\n');
    writeFileSync(gate, '');
    expect(await reading).toBe(WAITING);
  });

  test('answers others while a read waits for the disk of the cache', async () => {
    const folder = temporaryFolder();
    const gate = path.join(folder, 'open');
    const mounted = await mountLiteral({
      root: dir({ f: file('from the cache') }),
      cached: { folder, spanBytes: 4096 },
    });
    // A disk that does not answer yet: the file of the cache is one of another mount, whose bytes wait.
    const spans = path.join(folder, 'spans');
    const disk = await mountLiteral({ root: dir({ spans: file(readFileSync(spans), { waitFor: gate }) }) });
    const sameQueue = (...words: string[]) => run('taskset', ['-c', '0', ...words]);
    await run('mount', ['--bind', path.join(disk.mountPoint, 'spans'), spans]);
    try {
      const reading = sameQueue('cat', path.join(mounted.mountPoint, 'f'));
      await disk.untilAsked('missed');
      expect((await sameQueue('stat', '-f', mounted.mountPoint)).status).toBe(0);
      expect((await sameQueue('ls', mounted.mountPoint)).stdout).toBe('f\n');
      writeFileSync(gate, '');
      expect((await reading).stdout).toBe('from the cache');
      expect(await mounted.requests()).not.toHaveProperty('missed');
    } finally {
      writeFileSync(gate, '');
      await run('umount', ['--lazy', spans]);
    }
  });

  test('gives back the memory of many large answers', async () => {
    const mounted = await mountLiteral({ root: dir({ f: file(Buffer.alloc(8 * 2 ** 20, 'large')) }) });
    const read = await python(
      `import json, mmap, os, sys, threading
f = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
def read(number):
    os.preadv(f, [mmap.mmap(-1, 1 << 20)], number % 8 << 20)
threads = [threading.Thread(target=read, args=(number,)) for number in range(96)]
for each in threads: each.start()
for each in threads: each.join()
print(json.dumps("done"))`,
      path.join(mounted.mountPoint, 'f'),
    );
    expect(read).toBe('done');
    // What is left is decided when a thread has nothing to do. 96 MiB came; a sanitizer's own memory looks the same.
    await run('ls', [mounted.mountPoint]);
    await expect.poll(() => residentPayloads(mounted.pid), { timeout: 5000 }).toBeLessThan(40 * 2 ** 20);
  });
});
