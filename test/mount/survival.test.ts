/** What is left of a mount when its server is stopped, cut off or killed: its readers, its watchdog, its place. */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { readRecords } from '../../src/fuse/mount-records.ts';
import { dir, file } from '../support/literals.ts';
import {
  closeMounts,
  mountLiteral,
  mountTable,
  python,
  run,
  TRANSPORTS,
  whyNoMounts,
} from '../support/mount-child.ts';

const isMounted = (place: string): boolean => mountTable().includes(` ${place} `);

/**
 * Waits for the bytes of a file by read(2) and by a mapping, and says what came in their place. The read goes past the
 * page cache: one through it may begin anew when its request is gone, and find the connection gone as well.
 */
const WAIT = `import errno, json, mmap, os, subprocess, sys
m = sys.argv[1]
mapping = "import mmap, os, sys; mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_READ)[0]"
mapped = subprocess.Popen([sys.executable, "-c", mapping, m + "/stuck"], stderr=subprocess.DEVNULL)
def go(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]
f = os.open(m + "/other", os.O_RDONLY | os.O_DIRECT)
room = mmap.mmap(-1, 4096)
read = go(lambda: os.readv(f, [room]))
print(json.dumps([read, -mapped.wait(), go(lambda: os.listdir(m)), go(lambda: os.readv(f, [room]))]))`;

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)('a server that is killed (%s)', (transport) => {
  afterEach(closeMounts);

  test('frees at once whoever waits for bytes: an error, SIGBUS in a mapping, ENOTCONN from then on (F26, X4)', async () => {
    const stuck = file('never', { waitFor: '/nowhere', isDeaf: true });
    const mounted = await mountLiteral({
      transport,
      root: dir({ stuck, other: stuck }),
      // Nothing but its death may end the reads.
      options: { readTimeoutMs: 0 },
    });
    const waiting = python(WAIT, mounted.mountPoint);
    await expect.poll(async () => (await mounted.requests())['read'], { timeout: 10_000 }).toBe(2);
    mounted.kill('SIGKILL');
    expect(await waiting).toEqual(['ECONNABORTED', os.constants.signals.SIGBUS, 'ENOTCONN', 'ENOTCONN']);
  });
});

describe.skipIf(whyNoMounts() !== undefined)('a server that is stopped or cut off', () => {
  afterEach(closeMounts);

  test('is cut off by its watchdog: readers get an error, and it cleans up when it goes on (P9, F27)', async () => {
    const mounted = await mountLiteral({
      root: dir({ f: file('content'), cached: file('cached') }),
      options: { watchdogMs: 1000 },
    });
    expect((await run('cat', [path.join(mounted.mountPoint, 'cached')])).stdout).toBe('cached');
    mounted.kill('SIGSTOP');
    const answers = await python(
      `import sys, json, errno, os
def go(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]
m = sys.argv[1] + "/"
print(json.dumps([go(lambda: open(m + "f").read()), go(lambda: os.listdir(m))]))`,
      mounted.mountPoint,
    );
    // Over io_uring the watchdog has to let the server go on, which may have cleaned up by now.
    expect(answers).toEqual(['ECONNABORTED', expect.toBeOneOf(['ENOTCONN', []])]);
    mounted.kill('SIGCONT');
    expect(await mounted.exited).toEqual({ code: 0, signal: null });
    expect(mounted.stderr).toContain('the connection to the kernel ended: ECONNABORTED');
    expect(isMounted(mounted.mountPoint)).toBe(false);
  });

  test('and cut off is a dead mount; going on, it leaves alone what was mounted in its place (F27)', async () => {
    const stopped = await mountLiteral({
      root: dir({ f: file('content') }),
      options: { watchdogMs: 1000 },
    });
    stopped.kill('SIGSTOP');
    // Returns when the connection is cut.
    expect((await run('cat', [path.join(stopped.mountPoint, 'f')])).stderr).not.toBe('');
    const runtimeDir = path.join(stopped.folder, 'run');
    const next = await mountLiteral({
      root: dir({ f: file('next') }),
      place: stopped.mountPoint,
      options: { runtimeDir },
    });
    stopped.kill('SIGCONT');
    expect(await stopped.exited).toEqual({ code: 0, signal: null });
    expect((await run('cat', [path.join(next.mountPoint, 'f')])).stdout).toBe('next');
    expect(readRecords(runtimeDir)).toMatchObject([{ mountPoint: next.mountPoint, pid: next.pid }]);
  });

  test('together with its watchdog, as by a freezer, is given time to show that it lives', async () => {
    const mounted = await mountLiteral({ root: dir({ f: file('content') }), options: { watchdogMs: 4000 } });
    const watchdog = Number(readFileSync(`/proc/${mounted.pid}/task/${mounted.pid}/children`, 'utf8'));
    process.kill(watchdog, 'SIGSTOP');
    mounted.kill('SIGSTOP');
    const pause = (ms: number) => new Promise((resolve) => void setTimeout(resolve, ms));
    await pause(5000); // more than the limit
    process.kill(watchdog, 'SIGCONT');
    await pause(100); // the watchdog runs first: its time-out has expired
    mounted.kill('SIGCONT');
    expect((await run('cat', [path.join(mounted.mountPoint, 'f')])).stdout).toBe('content');
    expect(existsSync(`/proc/${watchdog}`)).toBe(true);
  });

  test('leaves no dead mount after umount -f of one that is in use', async () => {
    const mounted = await mountLiteral({ root: dir({ f: file('content') }) });
    const user = openSync(path.join(mounted.mountPoint, 'f'), 'r');
    try {
      expect((await run('umount', ['-f', mounted.mountPoint])).stderr).toContain('busy');
      expect(await mounted.exited).toEqual({ code: 0, signal: null });
      expect(isMounted(mounted.mountPoint)).toBe(false);
    } finally {
      closeSync(user);
    }
  });

  test('is left alone by a watchdog while it lives, and takes the watchdog with it', async () => {
    const mounted = await mountLiteral({ root: dir({ f: file('content') }), options: { watchdogMs: 1500 } });
    const pid = readFileSync(`/proc/${mounted.pid}/task/${mounted.pid}/children`, 'utf8').trim();
    expect(pid).toMatch(/^\d+$/);
    // Between fork and exec it has no words yet.
    await expect
      .poll(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'), { timeout: 5000 })
      .toMatch(/peel-watchdog\0\d+\x001500\0(release\0)?$/);
    await new Promise((resolve) => {
      setTimeout(resolve, 4000); // more than two limits; it must have heard of us meanwhile
    });
    expect((await run('cat', [path.join(mounted.mountPoint, 'f')])).stdout).toBe('content');
    expect(await run('ls', ['-l', `/proc/${pid}/fd`])).toMatchObject({
      stdout: expect.not.stringContaining('/dev/fuse'),
    });
    mounted.kill('SIGKILL');
    await mounted.exited;
    await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 5000 }).toBe(false);
  });
});
