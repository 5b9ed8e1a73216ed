/** How a mount comes up, goes down, dies and is cleared: FAULTS F26, F31, F36, F47; CLI.md, the mount as a daemon. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, test } from 'vitest';
import { dir, file } from '../support/literals.ts';
import {
  closeMounts,
  type MountChild,
  type MountRequest,
  mountLiteral,
  mountTable,
  python,
  refusedMount,
  run,
  TRANSPORTS,
  temporaryFolder,
  whyNoMounts,
} from '../support/mount-child.ts';

const ROOT = dir({
  f: file('content'),
  other: file('other'),
  stuck: file('never', { waitFor: '/nowhere', isDeaf: true }),
});
const isMounted = (place: string): boolean => mountTable().includes(` ${place} `);
const recordsOf = (mounted: MountChild): string[] => readdirSync(path.join(mounted.folder, 'run/mounts'));

const users: ChildProcess[] = [];

/** A process that has `f` open in the mount, and prints what it reads there for each line that it gets. */
async function user(
  mounted: MountChild,
): Promise<{ ask: () => Promise<string>; leave: () => Promise<unknown> }> {
  const program = `import sys
f = open(sys.argv[1], "rb", buffering=0)
print("open", flush=True)
for line in sys.stdin:
    f.seek(0)
    try:
        print(f.read().decode(), flush=True)
    except OSError as e:
        print(e.errno, flush=True)`;
  const child = spawn('python3', ['-c', program, path.join(mounted.mountPoint, 'f')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  users.push(child);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  await lines.next();
  return {
    ask: async () => {
      child.stdin.write('\n');
      return String((await lines.next()).value);
    },
    leave: async () => {
      const end = once(child, 'exit');
      child.stdin.end();
      await end;
    },
  };
}

afterEach(async () => {
  for (const child of users.splice(0)) child.kill('SIGKILL');
  await closeMounts();
});

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)(
  'a mount that is told to end (%s)',
  (transport) => {
    test.each(['SIGTERM', 'SIGINT'] as const)(
      'by %s while idle unmounts and exits with 0 (F31)',
      async (signal) => {
        const mounted = await mountLiteral({ transport, root: ROOT });
        expect(recordsOf(mounted)).toHaveLength(1);
        mounted.kill(signal);
        expect(await mounted.exited).toEqual({ code: 0, signal: null });
        expect(isMounted(mounted.mountPoint)).toBe(false);
        expect(mounted.said.slice(1)).toEqual(['image closed', 'served']);
        expect(recordsOf(mounted)).toEqual([]);
      },
    );

    test('while in use is detached with a message and serves until the last user leaves (F31)', async () => {
      const mounted = await mountLiteral({ transport, root: ROOT });
      const reader = await user(mounted);
      mounted.kill('SIGTERM');
      expect(await mounted.heard('told')).toContain('is in use: detached');
      expect(isMounted(mounted.mountPoint)).toBe(false);
      expect(await reader.ask()).toBe('content');
      await reader.leave();
      expect(await mounted.exited).toEqual({ code: 0, signal: null });
    });

    test('twice ends at once, whoever uses it', async () => {
      const mounted = await mountLiteral({ transport, root: ROOT });
      const reader = await user(mounted);
      mounted.kill('SIGTERM');
      await mounted.heard('told');
      mounted.kill('SIGTERM');
      expect(await mounted.exited).toEqual({ code: 0, signal: null });
      expect(isMounted(mounted.mountPoint)).toBe(false);
      expect(await reader.ask()).not.toBe('content');
    });

    test('ends a read that waits for bytes with EIO', async () => {
      const mounted = await mountLiteral({ transport, root: ROOT });
      const reading = python(
        `import sys, json, os, errno
f = os.open(sys.argv[1], os.O_RDONLY)
try:
    r = os.read(f, 10).decode()
except OSError as e:
    r = errno.errorcode[e.errno]
print(json.dumps(r))`,
        path.join(mounted.mountPoint, 'stuck'),
      );
      await mounted.untilAsked('read');
      mounted.kill('SIGTERM');
      expect(await reading).toBe('EIO');
      expect(await mounted.exited).toEqual({ code: 0, signal: null });
      expect(isMounted(mounted.mountPoint)).toBe(false);
    });

    test.each([
      ['umount', ['--']],
      ['umount', ['-l', '--']],
      ['fusermount3', ['-u', '--']],
    ])('from outside by %s %j ends its server', async (program, args) => {
      const mounted = await mountLiteral({ transport, root: ROOT });
      expect(await run(program, [...args, mounted.mountPoint])).toMatchObject({ status: 0 });
      expect(await mounted.exited).toEqual({ code: 0, signal: null });
      expect(mounted.said).toContain('image closed');
    });

    test('from outside by umount -l while in use serves until the last user leaves', async () => {
      const mounted = await mountLiteral({ transport, root: ROOT });
      const reader = await user(mounted);
      expect(await run('umount', [mounted.mountPoint])).not.toMatchObject({ status: 0 });
      expect(await run('umount', ['-l', mounted.mountPoint])).toMatchObject({ status: 0 });
      expect(await reader.ask()).toBe('content');
      await reader.leave();
      expect(await mounted.exited).toEqual({ code: 0, signal: null });
    });

    test('HUP reads credentials again, USR1 writes statistics, and both leave it mounted', async () => {
      const mounted = await mountLiteral({ transport, root: ROOT });
      await run('cat', [path.join(mounted.mountPoint, 'f')]);
      mounted.kill('SIGHUP');
      mounted.kill('SIGUSR1');
      await mounted.heard('reloaded');
      await expect
        .poll(() => mounted.stderr, { timeout: 5000 })
        .toMatch(/"reads":1,.*"read":1.*"msg":"statistics"/);
      expect((await run('cat', [path.join(mounted.mountPoint, 'other')])).stdout).toBe('other');
      // Node opens a port for debuggers at this signal unless somebody listens to it.
      expect(mounted.stderr).not.toContain('Debugger');
    });
  },
);

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)(
  'a mount whose server died (%s)',
  (transport) => {
    async function killed(): Promise<MountChild> {
      const mounted = await mountLiteral({ transport, root: ROOT });
      mounted.kill('SIGKILL');
      await mounted.exited;
      expect(isMounted(mounted.mountPoint)).toBe(true);
      return mounted;
    }

    test('answers ENOTCONN, and the next mount on the same place clears it (F26)', async () => {
      const dead = await killed();
      // Who asks while the server is just going is told ECONNABORTED.
      await expect
        .poll(async () => (await run('ls', [dead.mountPoint])).stderr, { timeout: 1000 })
        .toContain('Transport endpoint is not connected');
      const next = await mountLiteral({
        transport,
        root: ROOT,
        place: dead.mountPoint,
        options: { runtimeDir: path.join(dead.folder, 'run') },
      });
      expect(next.stderr).toContain(`removed a mount whose server had died: ${dead.mountPoint}`);
      expect((await run('cat', [path.join(next.mountPoint, 'f')])).stdout).toBe('content');
      expect(
        mountTable()
          .split('\n')
          .filter((line) => line.includes(` ${dead.mountPoint} `)),
      ).toHaveLength(1);
    });

    test('is cleared also where its record is lost', async () => {
      const dead = await killed();
      const next = await mountLiteral({ transport, root: ROOT, place: dead.mountPoint });
      expect((await run('cat', [path.join(next.mountPoint, 'f')])).stdout).toBe('content');
    });

    test('is not taken for dead while its server is only stopped, and looking does not hang (F27)', async () => {
      const stopped = await mountLiteral({ transport, root: ROOT });
      stopped.kill('SIGSTOP');
      for (const runtimeDir of [path.join(stopped.folder, 'run'), path.join(stopped.folder, 'elsewhere')]) {
        expect(
          await refusedMount({ transport, root: ROOT, place: stopped.mountPoint, options: { runtimeDir } }),
        ).toMatch(/^ERR_MOUNT_POINT_BUSY .* is in use: peel:test\/literal \(fuse.peel\)/);
      }
      stopped.kill('SIGCONT');
      expect((await run('cat', [path.join(stopped.mountPoint, 'f')])).stdout).toBe('content');
    });
  },
);

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)('a mount is refused (%s)', (transport) => {
  const refusal = (request: Omit<MountRequest, 'root'>) =>
    refusedMount({ transport, root: ROOT, ...request });

  test('where the mount point is missing, or lies below a file', async () => {
    const folder = temporaryFolder();
    writeFileSync(path.join(folder, 'file'), '');
    for (const place of ['none', 'none/none']) {
      expect(await refusal({ place: path.join(folder, place) })).toMatch(
        /^ERR_MOUNT_POINT_MISSING the mount point .*none does not exist/,
      );
    }
    expect(await refusal({ place: path.join(folder, 'file/x') })).toMatch(/^ERR_MOUNT/);
  });

  test('where the mount point is a file', async () => {
    const place = path.join(temporaryFolder(), 'file');
    writeFileSync(place, '');
    expect(await refusal({ place })).toMatch(/^ERR_MOUNT .* is not a directory/);
  });

  test('where something is in the mount point, unless nonempty is asked for', async () => {
    const place = temporaryFolder();
    writeFileSync(path.join(place, 'file'), '');
    expect(await refusal({ place })).toMatch(/^ERR_MOUNT_POINT_BUSY .* is not empty: -o nonempty/);
    const mounted = await mountLiteral({ transport, root: ROOT, place, options: { nonEmpty: true } });
    expect(readFileSync(path.join(mounted.mountPoint, 'f'), 'utf8')).toBe('content');
  });

  test('where another of ours is mounted (F47), and the first goes on', async () => {
    const first = await mountLiteral({ transport, root: ROOT });
    expect(await refusal({ place: first.mountPoint })).toMatch(/^ERR_MOUNT_POINT_BUSY .* is mounted there/);
    expect((await run('cat', [path.join(first.mountPoint, 'f')])).stdout).toBe('content');
  });

  test('where the cache or the runtime folder would lie below it (F36)', async () => {
    const place = temporaryFolder();
    const link = path.join(temporaryFolder(), 'link');
    symlinkSync(place, link);
    for (const outside of [place, path.join(place, 'cache/deep'), path.join(link, 'cache')]) {
      expect(await refusal({ place, options: { outside: [outside] } })).toMatch(
        /^ERR_USAGE .* lies below the mount point/,
      );
    }
    expect(await refusal({ place, options: { runtimeDir: path.join(place, 'run') } })).toMatch(/^ERR_USAGE/);
  });

  test('where /dev/fuse is something else', async () => {
    const wrapper = ['unshare', '-m', 'sh', '-c', 'mount --bind /dev/null /dev/fuse && exec "$@"', 'sh'];
    expect(await refusal({ wrapper })).toMatch(/^ERR_NO_FUSE \/dev\/fuse is not the FUSE device/);
  });

  test('where there is no /dev/fuse, with what to do', async () => {
    const wrapper = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs tmpfs /dev && exec "$@"', 'sh'];
    expect(await refusal({ wrapper })).toMatch(/^ERR_NO_FUSE \/dev\/fuse does not exist: .*modprobe fuse/);
  });

  test('to root without CAP_SYS_ADMIN, as in a container', async () => {
    const wrapper = ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin'];
    expect(await refusal({ wrapper })).toMatch(/^ERR_PERMISSION .*--cap-add SYS_ADMIN/);
  });

  test('to a user who may not open /dev/fuse', async (context) => {
    const wrapper = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const reach = await run('setpriv', [
      ...wrapper.slice(1),
      'cat',
      path.join(import.meta.dirname, '../support/mount-server.mjs'),
    ]);
    if (reach.status !== 0) context.skip('the checkout is not readable for other users');
    const device = path.join(temporaryFolder(), 'fuse');
    expect(await run('mknod', ['-m', '600', device, 'c', '10', '229'])).toMatchObject({ status: 0 });
    const place = temporaryFolder();
    chmodSync(place, 0o777);
    const inNamespace = [
      'unshare',
      '-m',
      'sh',
      '-c',
      `mount --bind ${device} /dev/fuse && chmod 755 ${place}/.. && exec "$@"`,
      'sh',
    ];
    expect(
      await refusedMount({
        transport,
        root: ROOT,
        place,
        isForAll: true,
        wrapper: [...inNamespace, ...wrapper],
        options: { runtimeDir: path.join(place, 'run') },
      }),
    ).toMatch(/^ERR_PERMISSION opening \/dev\/fuse: EACCES; run as root/);
  });
});

describe.skipIf(whyNoMounts() !== undefined).each(TRANSPORTS)(
  'a mount without a place of its own (%s)',
  (transport) => {
    test('gets a folder below the runtime folder, which goes with it', async () => {
      const mounted = await mountLiteral({
        transport,
        root: ROOT,
        place: '',
        name: '127.0.0.1:5000/debian-python:12',
      });
      expect(path.relative(mounted.folder, mounted.mountPoint)).toBe('run/mnt/debian-python-12-000000000000');
      expect(readFileSync(path.join(mounted.mountPoint, 'f'), 'utf8')).toBe('content');
      const second = await mountLiteral({
        transport,
        root: ROOT,
        place: '',
        name: '127.0.0.1:5000/debian-python:12',
        options: { runtimeDir: path.join(mounted.folder, 'run') },
      });
      expect(second.mountPoint).toBe(`${mounted.mountPoint}.1`);
      for (const each of [mounted, second]) {
        each.kill('SIGTERM');
        await each.exited;
        expect(existsSync(each.mountPoint)).toBe(false);
      }
    });

    test('a name made of dots and slashes stays below the runtime folder', async () => {
      const mounted = await mountLiteral({ transport, root: ROOT, place: '', name: 'oci:/a/../../..' });
      expect(path.dirname(mounted.mountPoint)).toBe(path.join(mounted.folder, 'run/mnt'));
    });
  },
);
