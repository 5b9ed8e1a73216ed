/** The options of `peel run`, each seen from inside the container. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cgroupLayout } from '../../src/container/host-cgroups.ts';
import { writeContainerImage } from '../support/container-image.ts';
import { DIST, mountTable, python } from '../support/mount-child.ts';
import { type PeelRun, PeelUser, type RunOptions } from '../support/run-peel.ts';
import { RUNTIMES, whyNoContainers } from '../support/runtimes.ts';

const MAIN = path.join(DIST, 'cli/main.js');

/** A program on a terminal whose size changes once it has said its size, and that then gets Enter and Ctrl-C. */
const ON_A_TERMINAL = `import sys, os, json, pty, fcntl, termios, struct, select, time
command, env = json.loads(sys.argv[1]), json.loads(sys.argv[2])
pid, fd = pty.fork()
if pid == 0:
    size = lambda rows, columns: fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    size(40, 100)
    os.execvpe(command[0], command, env)
text, step, end = b'', 0, time.time() + 15
while time.time() < end:
    if not select.select([fd], [], [], 0.2)[0]: continue
    try:
        more = os.read(fd, 4096)
    except OSError:
        break
    if not more: break
    text += more
    if step == 0 and b'40 100\\r\\n' in text:
        step = 1
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 50, 120, 0, 0))
        time.sleep(0.3)
        os.write(fd, b'\\r')
    if step == 1 and text.count(b'\\n') == 4:
        step = 2
        time.sleep(0.2)
        os.write(fd, b'\\x03')
else:
    os.kill(pid, 9)
print(json.dumps({'status': os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 'text': text.decode()}))`;

const why = whyNoContainers();
/** Of a host with controllers of version 1, where limits can be read back. */
const hasLimits = cgroupLayout() !== 'none' && existsSync('/sys/fs/cgroup/memory');

describe.skipIf(why !== undefined).each(RUNTIMES)('peel run with $name', ({ name: runtime, wrapper }) => {
  let user: PeelUser;
  let image = '';

  beforeAll(() => {
    user = new PeelUser();
    image = writeContainerImage(path.join(user.work, 'image'));
  });
  afterAll(() => {
    expect(mountTable()).not.toContain(user.home);
    user.close();
  });

  const peelRun = (args: readonly string[], options: RunOptions = {}): Promise<PeelRun> =>
    user.run(['run', '--runtime', runtime, ...args], { wrapper, ...options });

  /** Standard output of a shell script in a container. */
  async function sh(options: readonly string[], script: string): Promise<string> {
    const { status, stdout, stderr } = await peelRun([...options, image, 'sh', '-c', script]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return stdout.toString('utf8');
  }

  test('standard input is empty, and the caller’s with -i', async () => {
    expect(await sh([], 'cat; echo end')).toBe('end\n');
    const [program, ...words] = [
      ...wrapper,
      process.execPath,
      'dist/cli/main.js',
      'run',
      '--runtime',
      runtime,
    ];
    const child = spawn(program, [...words, '-i', image, 'wc', '-c'], {
      env: user.env,
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: 20_000,
    });
    child.stdin.end(Buffer.alloc(300_000));
    let text = '';
    for await (const chunk of child.stdout) text += String(chunk);
    expect(text).toBe('300000\n');
  });

  test('-t gives a terminal of its own: raw, of the size of ours, also of a new one, with its keys', async () => {
    const command = [...wrapper, process.execPath, MAIN, 'run', '-q', '--runtime', runtime, '-it', image];
    const script =
      'trap "echo caught; exit 3" INT; echo "$TERM"; stty size; read line; stty size; while sleep 0.1; do :; done';
    const seen = await python(
      ON_A_TERMINAL,
      JSON.stringify([...command, 'sh', '-c', script]),
      JSON.stringify(user.env),
    );
    // crun 1.8 tells a container of no new size: the program waits for it, and goes on without.
    const size = runtime === 'runc' ? '50 120' : '40 100';
    expect(seen).toEqual({ status: 3, text: `xterm\r\n40 100\r\n\r\n${size}\r\n^Ccaught\r\n` });
    expect(await peelRun(['-it', image, 'true'])).toMatchObject({
      status: 125,
      stderr: expect.stringContaining('the input device is not a TTY'),
    });
  });

  test('-v shows a folder and a file of the host, :ro keeps it as it is', async () => {
    const folder = path.join(user.work, 'shared');
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'file'), 'of the host\n');
    expect(
      await sh(
        ['-v', `${folder}:/data`, '-v', `${folder}/file:/etc/motd:ro`],
        'cat /data/file /etc/motd; echo new >/data/new',
      ),
    ).toBe('of the host\nof the host\n');
    expect(readFileSync(path.join(folder, 'new'), 'utf8')).toBe('new\n');
    expect(await sh(['-v', `${folder}:/data:ro`], 'touch /data/x 2>&1 || true')).toContain(
      'Read-only file system',
    );
    for (const wrong of ['name:/data', '/data', `${folder}:data`, `${folder}:/`, `${folder}:/data:unknown`]) {
      expect(await peelRun(['-v', wrong, image, 'true']), wrong).toMatchObject({ status: 125 });
    }
    expect(await peelRun(['-v', `${folder}/missing:/data`, image, 'true'])).toMatchObject({
      status: 125,
      stderr: expect.stringContaining('does not exist'),
    });
    expect(readdirSync(folder).sort()).toEqual(['file', 'new']);
  });

  test('--tmpfs and --read-only', async () => {
    const script = 'touch /x 2>&1; touch /t/x && echo written; grep " /t " /proc/mounts';
    const seen = await sh(['--read-only', '--tmpfs', '/t:size=1m'], `${script}; true`);
    expect(seen).toContain('/x: Read-only file system\nwritten\n');
    expect(seen).toMatch(/tmpfs \/t tmpfs rw,.*nosuid,nodev,noexec.*size=1024k/);
    expect(await sh(['--read-only'], 'touch /etc/hosts 2>&1; true')).toContain('Read-only');
  });

  test('--network none has loopback alone; host has the host’s', async () => {
    const devices = 'cat /proc/net/dev | grep -c :; hostname; cat /etc/hostname; wc -c </etc/resolv.conf';
    expect(await sh(['--network', 'none', '--hostname', 'box'], devices)).toBe('1\nbox\nbox\n0\n');
    expect(await sh(['--network', 'none', '--hostname', 'box'], 'grep -c box /etc/hosts')).toBe('1\n');
    const own = readFileSync('/proc/net/dev', 'utf8').match(/:/g)?.length ?? 0;
    const resolv = existsSync('/etc/resolv.conf') ? readFileSync('/etc/resolv.conf').length : 0;
    const name = os.hostname();
    expect(await sh([], devices)).toBe(`${own}\n${name}\n${name}\n${resolv}\n`);
    expect(await peelRun(['--network', 'bridge', image, 'true'])).toMatchObject({ status: 125 });
  });

  test.skipIf(!hasLimits)('--memory and --cpus are limits of a cgroup of its own', async () => {
    const script =
      'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us';
    expect(await sh(['--memory', '64m', '--cpus', '0.5'], script)).toBe(
      `${64 * 1024 * 1024}\n50000\n100000\n`,
    );
    // 256 MiB in a shell variable's place: the kernel ends it.
    const greedy = await peelRun(['-m', '16m', image, 'sh', '-c', 'a=x; while true; do a="$a$a"; done']);
    expect(greedy.status).toBe(137);
  });

  test('on a host with cgroups of version 2 alone it has a cgroup of its own, and leaves none', async () => {
    const script = 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"';
    const seen = await user.run(
      [
        'run',
        '--runtime',
        runtime,
        image,
        'sh',
        '-c',
        'cat /proc/self/cgroup; ls /sys/fs/cgroup/cgroup.procs',
      ],
      { wrapper: ['unshare', '-m', 'sh', '-c', script, 'sh'] },
    );
    if (seen.status === 0)
      expect(seen.stdout.toString('utf8')).toMatch(/^0::\/\n\/sys\/fs\/cgroup\/cgroup.procs\n$/m);
    // crun raises a limit for its device filter, which takes CAP_SYS_RESOURCE.
    else expect(seen).toMatchObject({ status: 125, stderr: expect.stringContaining('RLIM_MEMLOCK') });
    const unified = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].filter((folder) => existsSync(folder));
    const left = (): string[] =>
      unified.flatMap((folder) => readdirSync(folder)).filter((name) => name.startsWith('peel-'));
    await expect.poll(left, { timeout: 15_000 }).toEqual([]);
  });

  test('capabilities: docker’s, more and less', async () => {
    const effective = 'grep CapEff /proc/self/status';
    expect(await sh([], effective)).toMatch(/00000000a80425fb\n$/);
    expect(await sh(['--cap-drop', 'ALL', '--cap-add', 'net_bind_service'], effective)).toMatch(
      /0000000000000400\n$/,
    );
    expect(await sh(['--cap-drop', 'CAP_CHOWN'], effective)).toMatch(/00000000a80425fa\n$/);
    expect(await sh(['-u', 'app'], 'grep -E "CapEff|CapBnd" /proc/self/status')).toMatch(
      /CapEff:\s0{16}\nCapBnd:\s00000000a80425fb\n/,
    );
    expect(await peelRun(['--cap-add', 'NO_SUCH', image, 'true'])).toMatchObject({ status: 125 });
  });

  test('what docker hides and refuses is hidden and refused, and not with --privileged', async () => {
    const script = [
      'mount -t tmpfs none /tmp 2>/dev/null && echo mounted',
      'cat /proc/kcore 2>/dev/null | wc -c',
      'touch /proc/sys/kernel/core_pattern 2>/dev/null && echo touched',
      'grep Seccomp: /proc/self/status | grep -o .$',
      'test -e /dev/fuse && echo fuse',
      'true',
    ].join('; ');
    expect(await sh([], script)).toBe('0\n2\n');
    const privileged = await sh(['--privileged'], script.replace('cat /proc/kcore', 'cat /dev/null'));
    expect(privileged).toMatch(/^mounted\n0\n(touched\n)?0\nfuse\n$/);
  });

  test('a process of the container has no descriptor and no root of ours (F36)', async () => {
    expect(await sh([], 'for f in /proc/self/fd/*; do test -e $f && echo ${f##*/}; done; true')).toMatch(
      /^0\n1\n2\n(\d+\n)?$/,
    );
  });

  test('--platform chooses, and one that the image has not is no container', async () => {
    const other = await peelRun(['--platform', 'linux/s390x', image, 'true']);
    expect(other.status).toBe(125);
    expect(await peelRun(['--platform', 'linux/amd64', image, 'true'])).toMatchObject({
      status: process.arch === 'x64' ? 0 : expect.any(Number),
    });
  });

  test('options that make no sense are refused before anything is made', async () => {
    for (const wrong of [
      ['--memory', '1k'],
      ['--memory', 'much'],
      ['--cpus', '0'],
      ['--hostname', '-x'],
      ['--name', '../x'],
      ['--workdir', 'relative'],
      ['--env', '=x'],
      ['--tmpfs', 'relative'],
      ['--tmpfs', '/t:unknown'],
      ['--runtime', 'nosuch'],
    ]) {
      const { status, stderr } = await peelRun([...wrong, image, 'true']);
      expect({ wrong, status, isNamed: stderr.includes(wrong[0] ?? '') }).toEqual({
        wrong,
        status: 125,
        isNamed: true,
      });
    }
  });
});
