/** Readers that wait for bytes: which signals free them, and which do not disturb them (native transport). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { dir, file } from '../support/literals.ts';
import {
  closeMounts,
  mountLiteral,
  python,
  run,
  temporaryFolder,
  whyNoMounts,
} from '../support/mount-child.ts';

describe.skipIf(whyNoMounts() !== undefined)('a reader that waits for bytes', () => {
  const readers: ChildProcess[] = [];
  afterEach(async () => {
    for (const reader of readers.splice(0)) reader.kill('SIGKILL');
    await closeMounts();
  });

  /** Reads past the page cache, so that the request is the reader's own. SIGINT ends it as it ends `cat`. */
  const DIRECT = `import mmap, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
f = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
os.readv(f, [mmap.mmap(-1, 4096)])`;
  /** The same, after a signal that it catches. */
  const ALARMED = `import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
${DIRECT}`;

  test.each([
    ['SIGINT', DIRECT],
    ['SIGKILL', DIRECT],
    ['SIGTERM', DIRECT],
    ['SIGKILL', ALARMED],
    ['SIGKILL', 'import sys\nopen(sys.argv[1]).read()'],
  ] as const)('leaves at %s though no bytes ever come, and the fetch ends (F32)', async (signal, program) => {
    const mounted = await mountLiteral({
      // Polite: the read of the layer ends when its signal is aborted, and says so by ending at all.
      root: dir({ f: file('x'.repeat(4096), { waitFor: '/nowhere' }), g: file('fine') }),
      options: { readTimeoutMs: 0 },
    });
    const reader = spawn('python3', ['-c', program, path.join(mounted.mountPoint, 'f')], { stdio: 'ignore' });
    readers.push(reader);
    const ended = once(reader, 'exit');
    await mounted.untilAsked('missed');
    if (program === ALARMED) await mounted.untilAsked('interrupt');
    reader.kill(signal);
    // Without a deadline of the mount nothing else can end it: a reader that does not leave fails the test.
    await ended;
    expect((await run('cat', [path.join(mounted.mountPoint, 'g')])).stdout).toBe('fine');
    if (program === DIRECT) await mounted.untilAsked('interrupt');
  });

  test('is not disturbed by signals that it catches: no EINTR, no SIGBUS, the right bytes', async () => {
    const gate = path.join(temporaryFolder(), 'open');
    const text = 'x'.repeat(4096);
    const mounted = await mountLiteral({
      root: dir({ f: file(text, { waitFor: gate }), g: file(text, { waitFor: gate }) }),
    });
    const reading = python(
      `import ctypes, errno, json, mmap, os, signal, sys, threading
m = sys.argv[1] + "/"
signal.signal(signal.SIGALRM, lambda *_: None)
# Not through Python, which begins a read anew after EINTR.
libc = ctypes.CDLL(None, use_errno=True)
f = os.open(m + "f", os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, 4096)
place = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
g = mmap.mmap(os.open(m + "g", os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_READ)
g.madvise(mmap.MADV_RANDOM)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
n = libc.read(f, ctypes.c_void_p(place), 4096)
first = "ok" if n == 4096 else errno.errorcode[ctypes.get_errno()]
mapped = g[:]
signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps([first, buffer[:] == b"x" * 4096, mapped == b"x" * 4096]))`,
      mounted.mountPoint,
    );
    await mounted.untilAsked('interrupt');
    writeFileSync(gate, '');
    expect(await reading).toEqual(['ok', true, true]);
  });

  test('gets EIO at the deadline even while nothing runs in JavaScript (F27)', async () => {
    const mounted = await mountLiteral({
      root: dir({ f: file('never', { waitFor: 'block the event loop' }) }),
      options: { readTimeoutMs: 300 },
    });
    expect(
      await python(
        `import sys, json, errno
try:
    r = open(sys.argv[1]).read()
except OSError as e:
    r = errno.errorcode[e.errno]
print(json.dumps(r))`,
        path.join(mounted.mountPoint, 'f'),
      ),
    ).toBe('EIO');
    // JavaScript would have said so: it is the native side that has ended the read.
    expect(mounted.stderr).not.toContain('ERR_DEADLINE');
  });
});
