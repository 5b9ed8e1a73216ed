/** Reads that are slow, that fail, and that succeed the next time: FAULTS P8, F28, F32, F49. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { dir, file } from '../support/literals.ts';
import {
  closeMounts,
  mountLiteral,
  python,
  run,
  TRANSPORTS,
  temporaryFolder,
  whyNoMounts,
} from '../support/mount-child.ts';

/** Reads a file of the mount; the answer is its text or the name of the errno. */
const READ = `import sys, json, errno
try:
    r = open(sys.argv[1], "rb").read().decode("latin-1")
except OSError as e:
    r = errno.errorcode[e.errno]
print(json.dumps(r))`;

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)('a read (%s)', (transport) => {
  afterEach(closeMounts);

  test('that is slow stops nobody else, not even forty of them', async () => {
    const gate = path.join(temporaryFolder(), 'open');
    const slow = Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [
        `slow-${index}`,
        file(`content ${index}`, { waitFor: gate }),
      ]),
    );
    const mounted = await mountLiteral({ transport, root: dir({ ...slow, fast: file('at once') }) });
    let done = 0;
    const waiting = Object.keys(slow).map(async (name) => {
      const text = await python(READ, path.join(mounted.mountPoint, name));
      done += 1;
      return text;
    });
    // All of them must have come to the layer before the fast one is asked for.
    await expect
      .poll(async () => (await run('fuser', ['-m', mounted.mountPoint])).stdout.trim().split(/\s+/).length, {
        timeout: 15_000,
      })
      .toBeGreaterThanOrEqual(40);
    expect(await python(READ, path.join(mounted.mountPoint, 'fast'))).toBe('at once');
    expect((await run('ls', ['-l', mounted.mountPoint])).stdout.split('\n')).toHaveLength(43);
    expect(done).toBe(0);
    writeFileSync(gate, '');
    expect(await Promise.all(waiting)).toEqual(Object.keys(slow).map((_, index) => `content ${index}`));
  });

  test('without bytes ends with EIO at the deadline, deaf to signals or not, and the next one succeeds (P8, F3, E234)', async () => {
    const gate = path.join(temporaryFolder(), 'open');
    const mounted = await mountLiteral({
      transport,
      root: dir({
        deaf: file('later', { waitFor: gate, isDeaf: true }),
        polite: file('later', { waitFor: gate }),
      }),
      options: { readTimeoutMs: 300 },
    });
    const read = (name: string) => python(READ, path.join(mounted.mountPoint, name));
    expect(await Promise.all([read('deaf'), read('polite')])).toEqual(['EIO', 'EIO']);
    expect(mounted.stderr).toMatch(
      /"code":"ERR_DEADLINE".*"file":"\/deaf".*layer 0, file bytes 0-\d+: no bytes after 0\.3 s/,
    );
    writeFileSync(gate, '');
    expect(await Promise.all([read('deaf'), read('polite')])).toEqual(['later', 'later']);
  });

  test.each([
    ['an unreachable registry', 'ERR_REGISTRY_UNREACHABLE'],
    ['bytes of another digest', 'ERR_DIGEST_MISMATCH'],
    ['refused credentials', 'ERR_AUTH_REFUSED'],
    ['a mistake of our own (F28)', 'TypeError'],
    ['too few bytes (F6)', 'short'],
  ])('is EIO after %s; the page is not cached, so the next read is right (F49)', async (_what, failWith) => {
    // Two, because the kernel may read ahead once and then ask again for the page itself.
    const mounted = await mountLiteral({
      transport,
      root: dir({ f: file('right', { failures: 2, failWith }), other: file('fine') }),
    });
    const answers: unknown[] = [];
    while (answers.at(-1) !== 'right' && answers.length < 4) {
      answers.push(await python(READ, path.join(mounted.mountPoint, 'f')));
    }
    expect(answers[0]).toBe('EIO');
    expect(answers.at(-1)).toBe('right');
    expect(await python(READ, path.join(mounted.mountPoint, 'other'))).toBe('fine');
    expect(mounted.stderr).toContain('"file":"/f"');
  });

  test.each([
    ['mmap: SIGBUS', 'mapped'],
    ['O_DIRECT: EIO', 'direct'],
    ['exec: it does not start', 'exec'],
  ])('that fails once is right the second time, by %s (F49)', async (_what, how) => {
    const program = readFileSync('/usr/bin/true');
    // Up to 64 pages may be asked for one by one before the first reader gives up.
    const mounted = await mountLiteral({
      transport,
      root: dir({ f: file(program, { mode: 0o755, failures: 1 }) }),
    });
    const statuses = await python(
      `import sys, json, os, mmap, subprocess
p, how = sys.argv[1:3]
code = {
  "mapped": "import sys, mmap, os, hashlib; m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_READ); print(hashlib.sha256(m[:]).hexdigest())",
  "direct": "import sys, mmap, os, hashlib; f = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT); b = mmap.mmap(-1, 1 << 17); h = hashlib.sha256()\\nwhile True:\\n  n = os.readv(f, [b])\\n  if n == 0: break\\n  h.update(b[:n])\\nprint(h.hexdigest())",
}
def go():
    try:
        command = [p] if how == "exec" else [sys.executable, "-c", code[how], p]
        r = subprocess.run(command, capture_output=True, text=True)
        return [r.returncode, r.stdout.strip()]
    except OSError as e:
        return [e.errno, ""]
tries = []
while len(tries) < 4 and (not tries or tries[-1][0] != 0): tries.append(go())
print(json.dumps(tries))`,
      path.join(mounted.mountPoint, 'f'),
      how,
    );
    const tries = statuses as [number, string][];
    const hash = (await run('sha256sum', ['/usr/bin/true'])).stdout.split(' ')[0] ?? '';
    expect(tries.at(-1)).toEqual([0, how === 'exec' ? '' : hash]);
    // Reading ahead may hide one failure from a mapping and from exec, but never give wrong bytes.
    for (const [status, output] of tries.slice(0, -1)) {
      expect(status).not.toBe(0);
      expect(output).toBe('');
    }
    expect(mounted.stderr).toContain('the registry does not answer');
  });

  test('whose reader is killed does not outlive the deadline (F32)', async () => {
    const mounted = await mountLiteral({
      transport,
      root: dir({ f: file('never', { waitFor: '/nowhere', isDeaf: true }), g: file('fine') }),
      options: { readTimeoutMs: 1000 },
    });
    const reader = spawn('cat', [path.join(mounted.mountPoint, 'f')], { stdio: 'ignore' });
    const ended = once(reader, 'exit');
    await mounted.untilAsked('read');
    reader.kill('SIGKILL');
    expect((await ended)[1]).toBe('SIGKILL');
    expect(await python(READ, path.join(mounted.mountPoint, 'g'))).toBe('fine');
  });
});
