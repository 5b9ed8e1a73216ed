/** `peel mount`, `peel umount` and `peel doctor` as a user runs them, on a layout made for the test. */
import type { ChildProcess } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EXIT_STATUS_OF } from '../../src/errors.ts';
import { member, writeLayout } from '../support/image-layout.ts';
import {
  closeMounts,
  DIST,
  mountTable,
  type RunResult,
  run,
  temporaryFolder,
  whyNoMounts,
} from '../support/mount-child.ts';

let home = '';
let layout = '';
let place = '';
const pids = new Set<number>();
const servers = new Set<Server>();
const sockets = new Set<Socket>();

const isMounted = (where: string): boolean => mountTable().includes(` ${where} `);
const isRunning = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));

/** Everything below the runtime folder that is no folder. */
function runtimeFiles(): string[] {
  return readdirSync(path.join(home, 'run'), { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => entry.name);
}

function environment(): NodeJS.ProcessEnv {
  const mark = process.env['PEEL_TEST_RUN'];
  return {
    PATH: process.env['PATH'],
    HOME: home,
    LC_ALL: 'C',
    XDG_RUNTIME_DIR: path.join(home, 'run'),
    XDG_CACHE_HOME: path.join(home, 'cache'),
    XDG_CONFIG_HOME: path.join(home, 'config'),
    ...(mark === undefined ? {} : { PEEL_TEST_RUN: mark }),
  };
}

interface PeelOptions {
  readonly wrapper?: readonly string[];
  readonly onStart?: (kill: (signal: NodeJS.Signals) => void, child: ChildProcess) => void;
}

async function peel(args: readonly string[], options: PeelOptions = {}): Promise<RunResult> {
  const words = [...(options.wrapper ?? []), process.execPath, path.join(DIST, 'cli/main.js'), ...args];
  const result = await run(words[0] ?? '', words.slice(1), {
    env: environment(),
    onStart: (child) => options.onStart?.((signal) => child.kill(signal), child),
  });
  for (const { pid } of records()) pids.add(pid);
  return result;
}

function records(): { pid: number; mountPoint: string }[] {
  const folder = path.join(home, 'run/peel/mounts');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((name) => JSON.parse(readFileSync(path.join(folder, name), 'utf8')));
}

beforeEach(() => {
  home = temporaryFolder();
  for (const name of ['run', 'cache', 'config', 'mnt']) mkdirSync(path.join(home, name), { mode: 0o700 });
  layout = path.join(home, 'layout');
  place = path.join(home, 'mnt');
  writeLayout(layout, {
    layers: [
      [member('etc', { type: 'dir', mode: 0o755 }), member('etc/motd', { content: Buffer.from('lower') })],
      [member('etc/motd', { content: Buffer.from('upper') })],
    ],
  });
});

afterEach(async () => {
  for (const pid of pids) if (isRunning(pid)) process.kill(pid, 'SIGKILL');
  pids.clear();
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  for (const server of servers) server.close();
  servers.clear();
  await closeMounts();
});

describe.skipIf(whyNoMounts() !== undefined)('peel mount', () => {
  test('mounts in the background, prints the mount point once it answers, and peel umount leaves nothing', async () => {
    expect(await peel(['mount', `oci:${layout}`, place])).toEqual({
      status: 0,
      stdout: `${place}\n`,
      stderr: '',
    });
    expect(readFileSync(path.join(place, 'etc/motd'), 'utf8')).toBe('upper');
    const [record] = records();
    expect(record?.mountPoint).toBe(place);
    const pid = record?.pid ?? 0;
    expect(isRunning(pid)).toBe(true);

    const listed = JSON.parse((await peel(['mount', '--format', 'json'])).stdout);
    expect(listed.mounts).toContainEqual(
      expect.objectContaining({ mountPoint: place, image: `oci:${layout}`, pid, state: 'alive' }),
    );
    expect((await peel(['mount'])).stdout).toContain(`${place} `);

    expect(await peel(['umount', place])).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(isMounted(place)).toBe(false);
    expect(isRunning(pid)).toBe(false);
    expect(runtimeFiles()).toEqual([]);
  });

  test('peel umount names the mount that lies inside of the one it cannot unmount', async () => {
    const withFolder = path.join(home, 'with-folder');
    writeLayout(withFolder, { layers: [[member('srv', { type: 'dir', mode: 0o755 })]] });
    const inner = path.join(place, 'srv');
    expect(await peel(['mount', `oci:${withFolder}`, place])).toMatchObject({ status: 0 });
    expect(await peel(['mount', `oci:${layout}`, inner])).toMatchObject({ status: 0 });
    const refused = await peel(['umount', place]);
    expect(refused.status).toBe(EXIT_STATUS_OF.ERR_MOUNT_POINT_BUSY);
    expect(refused.stderr).toContain(
      `unmounting ${place}: ${inner} (fuse.peel) is mounted inside of it: unmount that first`,
    );
    expect(isMounted(inner)).toBe(true);
    expect(await peel(['umount', inner])).toMatchObject({ status: 0 });
    const folder = openSync(place, 'r');
    const busy = await peel(['umount', place]);
    closeSync(folder);
    expect(busy.stderr).toContain('a process has a file or its working directory in it');
    expect(await peel(['umount', place])).toMatchObject({ status: 0 });
  });

  test('without DIR makes one, which goes with the mount', async () => {
    const { stdout } = await peel(['mount', `oci:${layout}`]);
    const mountPoint = stdout.trim();
    expect(path.dirname(mountPoint)).toBe(path.join(home, 'run/peel/mnt'));
    expect(readFileSync(path.join(mountPoint, 'etc/motd'), 'utf8')).toBe('upper');
    expect(await peel(['umount', mountPoint])).toMatchObject({ status: 0 });
    expect(existsSync(mountPoint)).toBe(false);
    expect(runtimeFiles()).toEqual([]);
  });

  test.each([
    ['a pipe', 'tar c -C "$0" . | exec "$@"'],
    ['a compressed file', 'tar cJf "$0.tar.xz" -C "$0" . && exec "$@" < "$0.tar.xz"'],
  ])(
    'an archive on standard input is mounted from %s in the background, which takes it over',
    async (_, through) => {
      const mounted = await peel(['mount', '-', place], { wrapper: ['sh', '-c', through, layout] });
      expect(mounted).toEqual({ status: 0, stdout: `${place}\n`, stderr: '' });
      expect(readFileSync(path.join(place, 'etc/motd'), 'utf8')).toBe('upper');
      expect(await peel(['umount', place])).toMatchObject({ status: 0 });
    },
  );

  test('-f stays in the foreground until TERM, and then exits with 0', async () => {
    const inForeground = peel(['mount', '-f', `oci:${layout}`, place], {
      onStart: (kill, child) => child.stdout?.once('data', () => kill('SIGTERM')),
    });
    expect(await inForeground).toEqual({ status: 0, stdout: `${place}\n`, stderr: '' });
    expect(isMounted(place)).toBe(false);
    expect(runtimeFiles()).toEqual([]);
  });

  test.each([
    ['there is no such image', () => ['oci:/nowhere', place], 3, /^peel: .*\/nowhere does not exist/],
    [
      'the mount point is missing',
      () => [`oci:${layout}`, `${place}/none`],
      1,
      /^peel: the mount point .*\/none does not exist: make the folder first/,
    ],
    [
      'the cache lies below the mount point',
      () => [`oci:${layout}`, place, '--cache-dir', `${place}/c`],
      2,
      /^peel: .* lies below the mount point/,
    ],
    [
      'an option of -o is unknown',
      () => [`oci:${layout}`, place, '-o', 'ro,allow_rot'],
      2,
      /^peel: -o allow_rot: not an option/,
    ],
    [
      'it shall be writable',
      () => [`oci:${layout}`, place, '-o', 'rw'],
      2,
      /^peel: -o rw: an image is mounted read-only/,
    ],
    ['uid is no number', () => [`oci:${layout}`, place, '-o', 'uid=me'], 2, /^peel: -o uid=me: not a number/],
    [
      'the timeout is no number',
      () => [`oci:${layout}`, place, '--timeout', 'soon'],
      2,
      /^peel: --timeout: 'soon' is not a number of seconds/,
    ],
    [
      'the policy for links is unknown',
      () => [`oci:${layout}`, place, '--symlinks', 'some'],
      2,
      /^peel: --symlinks: 'some'/,
    ],
  ])(
    'where %s says so in one line, with its exit status, and leaves nothing',
    async (_what, args, status, line) => {
      const result = await peel(['mount', ...args()]);
      expect(result).toMatchObject({ status, stdout: '' });
      expect(result.stderr).toMatch(line);
      expect(result.stderr.trim().split('\n')).toHaveLength(1);
      expect(isMounted(place)).toBe(false);
      expect(runtimeFiles()).toEqual([]);
    },
  );

  test('on a mount point in use or not empty is refused with status 1', async () => {
    await peel(['mount', `oci:${layout}`, place]);
    const again = await peel(['mount', `oci:${layout}`, place]);
    expect(again).toMatchObject({ status: 1, stdout: '' });
    expect(again.stderr).toMatch(
      /^peel: the mount point .* is in use: peel:oci:.* \(fuse\.peel\) is mounted there\n$/,
    );
    const full = await peel(['mount', `oci:${layout}`, layout]);
    expect(full).toMatchObject({ status: 1, stdout: '' });
    expect(full.stderr).toMatch(/^peel: the mount point .* is not empty: -o nonempty/);
    expect(readFileSync(path.join(place, 'etc/motd'), 'utf8')).toBe('upper');
    await peel(['umount', place]);
  });

  test('without /dev/fuse has status 7 and says what to do', async () => {
    const result = await peel(['mount', `oci:${layout}`, place], {
      wrapper: [
        'unshare',
        '-m',
        'sh',
        '-c',
        'mount -t tmpfs tmpfs /dev && mknod /dev/null c 1 3 && exec "$@"',
        'sh',
      ],
    });
    expect(result).toMatchObject({ status: 7, stdout: '' });
    expect(result.stderr).toMatch(/^peel: \/dev\/fuse does not exist: load the module \(modprobe fuse\)/);
    expect(runtimeFiles()).toEqual([]);
  });

  test('-f says in figures what it did, at USR1', async () => {
    // At once when it answers, which is before the program has taken notice: the signal must not end it.
    // TERM before the mount point is printed interrupts it instead of ending it.
    const script = `"$@" >said 2>errors & until [ -e mnt/etc/motd ]; do :; done
until grep -q statistics errors; do kill -USR1 $! || exit 9; sleep 0.1; done
until [ -s said ]; do kill -0 $! || exit 7; sleep 0.1; done
kill $!; wait $! || exit 8; cat said errors`;
    const { status, stdout } = await peel(['mount', '-f', `oci:${layout}`, place], {
      wrapper: ['env', '-C', home, 'sh', '-c', script, 'sh'],
    });
    expect(stdout).toMatch(/\npeel: warning: statistics: \{.*"requests":\{/);
    expect(stdout).not.toContain('Debugger');
    expect(status).toBe(0);
  });

  test('whose command is killed before it answers leaves no mount, process or file', async () => {
    // As soon as the background process is there: it is still starting.
    const script = `"$@" & parent=$!
until [ -n "$child" ]; do child=$(cat /proc/$parent/task/$parent/children) || exit 9; done
kill -9 $parent; wait $parent; echo $child`;
    const { stdout } = await peel(['mount', `oci:${layout}`, place], {
      wrapper: ['bash', '-c', script, 'bash'],
    });
    const child = Number(stdout);
    expect(child).toBeGreaterThan(1);
    pids.add(child);
    await expect.poll(() => isRunning(child), { timeout: 15_000 }).toBe(false);
    expect(isMounted(place)).toBe(false);
    expect(runtimeFiles()).toEqual([]);
  });

  test('removes the empty logs of servers that were killed, and keeps those that say something', async () => {
    const folder = path.join(home, 'run/peel/log');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(path.join(folder, 'mount-4194305.log'), '');
    writeFileSync(path.join(folder, 'mount-4194306.log'), 'why');
    writeFileSync(path.join(folder, 'notes'), '');
    await peel(['mount', `oci:${layout}`, place]);
    await peel(['umount', place]);
    await expect.poll(runtimeFiles, { timeout: 5000 }).toEqual(['mount-4194306.log', 'notes']);
  });

  test('that cannot say where it is fails and leaves no mount', async () => {
    const result = await peel(['mount', `oci:${layout}`, place], {
      wrapper: ['sh', '-c', 'exec "$@" > /dev/full', 'sh'],
    });
    expect(result).toMatchObject({ status: 1 });
    expect(result.stderr).toMatch(/^peel: writing standard output: ENOSPC/);
    await expect.poll(() => isMounted(place), { timeout: 10_000 }).toBe(false);
    await expect.poll(runtimeFiles, { timeout: 10_000 }).toEqual([]);
  });

  test('without the privilege has status 1 and says what to do', async () => {
    const result = await peel(['mount', `oci:${layout}`, place], {
      wrapper: ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin'],
    });
    expect(result).toMatchObject({ status: 1, stdout: '' });
    expect(result.stderr).toMatch(/^peel: mounting: this process is root without CAP_SYS_ADMIN/);
  });

  test('is ended by INT while the image is opened, with its background process, and has status 130', async () => {
    let isAsked = false;
    const silent = createServer((socket) => {
      sockets.add(socket);
      isAsked = true;
    });
    servers.add(silent);
    await new Promise<void>((resolve) => {
      silent.listen(0, '127.0.0.1', resolve);
    });
    const address = silent.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const result = await peel(['mount', '--plain-http', `127.0.0.1:${port}`, `127.0.0.1:${port}/x`, place], {
      onStart: (kill) => {
        void expect
          .poll(() => isAsked, { timeout: 15_000 })
          .toBe(true)
          .finally(() => kill('SIGINT'));
      },
    });
    expect(result).toMatchObject({ status: 130, stdout: '' });
    expect(isMounted(place)).toBe(false);
    expect(runtimeFiles()).toEqual([]);
    const left = await run('pgrep', ['-f', `127.0.0.1:${port}/x`]);
    expect(left.stdout).toBe('');
  });
});

describe.skipIf(whyNoMounts() !== undefined)('peel umount', () => {
  test('refuses what is not ours or not there, and leaves it alone', async () => {
    expect(await run('mount', ['-t', 'tmpfs', 'tmpfs', place])).toMatchObject({ status: 0 });
    const foreign = await peel(['umount', place]);
    expect(foreign).toMatchObject({ status: 1 });
    expect(foreign.stderr).toMatch(/^peel: unmounting .*: tmpfs is mounted there, want a mount of peel/);
    expect(isMounted(place)).toBe(true);
    expect((await peel(['umount', home])).stderr).toMatch(/^peel: unmounting .*: nothing is mounted there/);
    expect((await peel(['umount', `${home}/none/x`])).status).toBe(1);
    expect((await peel(['umount'])).status).toBe(2);
    expect((await peel(['umount', '-a', place])).status).toBe(2);
  });

  test('of several goes on after one that fails, and has the status of the failure', async () => {
    await peel(['mount', `oci:${layout}`, place]);
    const result = await peel(['umount', home, place]);
    expect(result.status).toBe(1);
    expect(result.stderr).toMatch(/^peel: unmounting .*: nothing is mounted there/);
    expect(isMounted(place)).toBe(false);
  });

  test('-a unmounts all there are', async () => {
    // In a mount namespace of its own, without its copies of what else is mounted on this machine: that is not ours to
    // unmount, and may be in use.
    const main = path.join(DIST, 'cli/main.js');
    const script = `set -e
peel() { "$NODE" "$MAIN" "$@"; }
awk '$3 == "fuse.peel" { print $2 }' /proc/mounts | while read -r copy; do umount -l -i "$copy"; done
peel mount "oci:$LAYOUT" "$PLACE"; peel mount "oci:$LAYOUT"
peel umount -a
! grep -q fuse.peel /proc/self/mountinfo`;
    const result = await run('unshare', ['-m', 'sh', '-c', script], {
      env: { ...environment(), NODE: process.execPath, MAIN: main, LAYOUT: layout, PLACE: place },
    });
    expect(result).toMatchObject({ status: 0, stderr: '' });
    expect(result.stdout.split('\n')).toHaveLength(3);
    expect(runtimeFiles()).toEqual([]);
  });

  test('follows a link to the mount point', async () => {
    await peel(['mount', `oci:${layout}`, place]);
    symlinkSync(place, path.join(home, 'link'));
    expect(await peel(['umount', path.join(home, 'link')])).toMatchObject({ status: 0 });
    expect(isMounted(place)).toBe(false);
  });

  test('of a mount in use says who to ask, and --lazy detaches it', async () => {
    await peel(['mount', `oci:${layout}`, place]);
    const [record] = records();
    const reader = run('sh', ['-c', `cd ${place} && exec sleep 300`], {
      onStart: (child) => {
        pids.add(child.pid ?? 0);
      },
    });
    const [sleeper = 0] = [...pids].slice(-1);
    await expect
      .poll(() => readFileSync(`/proc/${sleeper}/comm`, 'utf8').trim(), { timeout: 5000 })
      .toBe('sleep');
    const refused = await peel(['umount', place]);
    expect(refused).toMatchObject({ status: 1 });
    expect(refused.stderr).toMatch(
      /^peel: unmounting .*: a process has a file or its working directory in it \(see fuser -vm\); --lazy/,
    );
    expect(isMounted(place)).toBe(true);
    expect(await peel(['umount', '--lazy', place])).toMatchObject({ status: 0, stderr: '' });
    expect(isMounted(place)).toBe(false);
    expect(isRunning(record?.pid ?? 0)).toBe(true);
    process.kill(sleeper, 'SIGKILL');
    await reader;
    await expect.poll(() => isRunning(record?.pid ?? 0), { timeout: 10_000 }).toBe(false);
    expect(runtimeFiles()).toEqual([]);
  });

  test('clears a dead mount with what its server left', async () => {
    const mountPoint = (await peel(['mount', `oci:${layout}`])).stdout.trim();
    const [record] = records();
    process.kill(record?.pid ?? 0, 'SIGKILL');
    await expect.poll(() => isRunning(record?.pid ?? 0), { timeout: 5000 }).toBe(false);
    const listed = JSON.parse((await peel(['mount', '--format', 'json'])).stdout);
    expect(listed.mounts).toContainEqual(expect.objectContaining({ mountPoint, state: 'dead' }));
    const doctor = await peel(['doctor']);
    expect(doctor.stdout).toMatch(/^warn {2}mounts .*'peel umount' clears it$/m);
    expect(await peel(['umount', mountPoint])).toMatchObject({ status: 0 });
    expect(isMounted(mountPoint)).toBe(false);
    expect(existsSync(mountPoint)).toBe(false);
    expect(runtimeFiles()).toEqual([]);
  });

  test('does not hang at a mount whose server is stopped', async () => {
    await peel(['mount', `oci:${layout}`, place]);
    const [record] = records();
    process.kill(record?.pid ?? 0, 'SIGSTOP');
    expect(await peel(['umount', '--lazy', place])).toMatchObject({ status: 0 });
    expect(isMounted(place)).toBe(false);
    process.kill(record?.pid ?? 0, 'SIGCONT');
    await expect.poll(() => isRunning(record?.pid ?? 0), { timeout: 10_000 }).toBe(false);
  });
});

describe.skipIf(whyNoMounts() !== undefined)('peel doctor', () => {
  test('has status 0 where all is there, and says how the image is', async () => {
    const { status, stdout } = await peel(['doctor', `oci:${layout}`]);
    expect(stdout).toMatch(
      /^ok {4}addon .*\n(.*\n)*ok {4}\/dev\/fuse .*\n(.*\n)*ok {4}fuse-native .*\n(.*\n)*ok {4}image .* 2 layers/m,
    );
    expect(status).toBe(0);
  });

  test('has status 1 without /dev/fuse, and the other checks still run', async () => {
    const { status, stdout } = await peel(['doctor', '--format', 'json'], {
      wrapper: ['unshare', '-m', 'sh', '-c', 'mount --bind /dev/null /dev/fuse && exec "$@"', 'sh'],
    });
    const byName = Object.fromEntries(
      (JSON.parse(stdout) as { checks: { name: string; status: string; found: string }[] }).checks.map(
        (check) => [check.name, check],
      ),
    );
    expect(byName['/dev/fuse']).toMatchObject({
      status: 'fail',
      found: expect.stringContaining('is not the FUSE device'),
    });
    expect(byName['addon']).toMatchObject({ status: 'ok' });
    expect(status).toBe(1);
  });

  test('has status 1 where the registry does not answer', async () => {
    const { status, stdout } = await peel(['doctor', '127.0.0.1:1/nothing']);
    expect(stdout).toMatch(/^fail {2}image .*refused/m);
    expect(status).toBe(1);
  });
});
