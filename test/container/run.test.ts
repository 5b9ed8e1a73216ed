/** `peel run` with real runtimes: what a container sees, and what is left when it has ended. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { writeContainerImage } from '../support/container-image.ts';
import { member } from '../support/image-layout.ts';
import { mountTable } from '../support/mount-child.ts';
import { type PeelRun, PeelUser, type RunOptions } from '../support/run-peel.ts';
import { RUNTIMES, whyNoContainers } from '../support/runtimes.ts';

const why = whyNoContainers();
if (why !== undefined) console.warn(`container tests are skipped: ${why}`);

/** Cgroups of containers of ours, wherever they are mounted. */
function cgroupsLeft(): string[] {
  const root = '/sys/fs/cgroup';
  return readdirSync(root)
    .map((name) => path.join(root, name))
    .flatMap((folder) => {
      try {
        return readdirSync(folder).filter((name) => name.startsWith('peel-'));
      } catch {
        return [];
      }
    });
}

describe.skipIf(why !== undefined).each(RUNTIMES)('peel run with $name', ({ name: runtime, wrapper }) => {
  let user: PeelUser;
  let image = '';

  beforeAll(() => {
    user = new PeelUser();
    image = writeContainerImage(path.join(user.work, 'image'), {
      config: {
        Env: ['FROM_IMAGE=yes', 'BOTH=image'],
        Cmd: ['sh', '-c', 'echo the command of the image'],
        WorkingDir: '/home/app',
        Labels: { 'org.example.label': 'x' },
      },
      members: [member('etc/plain', { content: Buffer.from('no program\n') })],
    });
  });
  afterAll(() => user.close());

  /** Nothing is left: no mount, folder, runtime state, cgroup. */
  afterEach(async () => {
    expect(mountTable()).not.toContain(user.home);
    const containers = path.join(user.cacheDir, 'containers');
    expect(existsSync(containers) ? readdirSync(containers) : []).toEqual([]);
    const state = path.join(user.home, 'run/peel', runtime);
    expect(existsSync(state) ? readdirSync(state) : []).toEqual([]);
    // Another test of this host may just have some.
    await expect.poll(cgroupsLeft, { timeout: 15_000 }).toEqual([]);
  });

  const peelRun = (args: readonly string[], options: RunOptions = {}): Promise<PeelRun> =>
    user.run(['run', '--runtime', runtime, ...args], { wrapper, ...options });

  async function outputOf(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await peelRun(args);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    return stdout.toString('utf8');
  }

  test('the command of the image runs, in its working directory, with its environment', async () => {
    expect(await outputOf(image)).toBe('the command of the image\n');
    const seen = await outputOf(image, 'sh', '-c', 'pwd; env');
    expect(seen).toMatch(/^\/home\/app\n/);
    expect(seen).toContain('FROM_IMAGE=yes\n');
    expect(seen).toContain('PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n');
    expect(seen).toContain('HOME=/root\n');
  });

  test('what follows the image is the command, options among it', async () => {
    expect(await outputOf('--rm', image, 'sh', '-c', 'echo "$@"', '-e', '--rm', '-it')).toBe('--rm -it\n');
  });

  test('-e, --env-file and --env win over the image, in this order from the last', async () => {
    const file = path.join(user.work, 'env');
    writeFileSync(file, '# a comment\nBOTH=file\nFILE=a b=c\nOWN\n\n');
    const seen = await peelRun(
      ['--env-file', file, '-e', 'BOTH=flag', '-e', 'OWN2', '-e', 'FROM_IMAGE', image, 'env'],
      { env: { OWN: 'of the caller', OWN2: '2' } },
    );
    const lines = seen.stdout.toString('utf8').split('\n');
    expect(lines).toEqual(expect.arrayContaining(['BOTH=flag', 'FILE=a b=c', 'OWN=of the caller', 'OWN2=2']));
    expect(lines.some((line) => line.startsWith('FROM_IMAGE'))).toBe(false);
  });

  test('-u takes names and numbers of the image: its groups, its home', async () => {
    expect(await outputOf('-u', 'app', image, 'id')).toBe(
      'uid=1000(app) gid=1001(app) groups=6(disk),44(media),1001(app)\n',
    );
    expect(await outputOf('-u', '1000', image, 'sh', '-c', 'echo $HOME')).toBe('/home/app\n');
    expect(await outputOf('-u', 'app:media', image, 'sh', '-c', 'id -u; id -g; id -G')).toBe(
      '1000\n44\n44\n',
    );
    expect(await outputOf('-u', '4711:4712', image, 'sh', '-c', 'id -u; id -g; echo $HOME')).toBe(
      '4711\n4712\n/\n',
    );
    expect(await outputOf(image, 'id', '-G')).toBe('0 6\n');
  });

  test('-w makes a working directory that is not there', async () => {
    expect(await outputOf('-w', '/not/there/yet', image, 'pwd')).toBe('/not/there/yet\n');
  });

  test('--entrypoint takes the place of the image’s, and its command does not count', async () => {
    const { stdout } = await peelRun(['--entrypoint', 'echo', image, 'a', 'b']);
    expect(stdout.toString('utf8')).toBe('');
    expect(await outputOf('--entrypoint', '/bin/pwd', image)).toBe('/home/app\n');
    const none = await peelRun(['--entrypoint', '', image]);
    expect(none).toMatchObject({ status: 125, stderr: expect.stringContaining('no command') });
  });

  test('the exit status is the command’s, and 128 and the signal where one ended it', async () => {
    expect(await peelRun([image, 'sh', '-c', 'exit 42'])).toMatchObject({ status: 42, stderr: '' });
    expect(await peelRun([image, 'sh', '-c', 'exit 1'])).toMatchObject({ status: 1, stderr: '' });
    expect(await peelRun([image, 'sh', '-c', 'sh -c "kill -9 \\$\\$"; exit $?'])).toMatchObject({
      status: 137,
    });
  });

  test('127: the command is not there; 126: it cannot be run; 125: there is no container', async () => {
    expect(await peelRun([image, 'nosuch'])).toMatchObject({
      status: 127,
      stderr: expect.stringContaining("peel: starting 'nosuch'"),
    });
    expect(await peelRun([image, '/no/such'])).toMatchObject({ status: 127 });
    expect(await peelRun([image, '/etc/plain'])).toMatchObject({ status: 126 });
    expect(await peelRun(['-u', 'nobody', image, 'true'])).toMatchObject({
      status: 125,
      stderr: expect.stringContaining("the container's user 'nobody': not in /etc/passwd of the image"),
    });
    expect(await peelRun(['-u', '4294967295', image, 'true'])).toMatchObject({ status: 125 });
    const accounts = writeContainerImage(path.join(user.work, 'accounts'), {
      members: [
        member('etc/passwd', { content: Buffer.from('bad line\ntoobig:x:4294967295:0::/:/bin/sh\n') }),
      ],
    });
    expect(await peelRun(['-u', 'toobig', accounts, 'true'])).toMatchObject({ status: 125 });
    expect(await peelRun(['-u', '7', accounts, 'true'])).toMatchObject({ status: 0 });
    expect(await peelRun(['--no-such-option', image])).toMatchObject({ status: 125 });
    expect(await peelRun([`${image}-missing`])).toMatchObject({ status: 125 });
  });

  test('what a container writes is its own, and gone with it', async () => {
    const script = 'cat /etc/motd; echo changed >/etc/motd; cat /etc/motd; mkdir /new';
    expect(await outputOf(image, 'sh', '-c', script)).toBe('from the image\nchanged\n');
    expect(await outputOf(image, 'sh', '-c', 'cat /etc/motd; ls -d /new 2>/dev/null || true')).toBe(
      'from the image\n',
    );
  });

  test('a root file system without any folder starts: what a container needs is made', async () => {
    const bare = writeContainerImage(path.join(user.work, 'bare'), {
      base: [member('busybox', { content: readFileSync('/bin/busybox'), mode: 0o755 })],
      members: [],
      config: { Entrypoint: ['/busybox'] },
    });
    expect(await outputOf('--read-only', bare, 'ls', '/')).toBe('busybox\ndev\netc\nproc\nsys\n');
  });

  test('a configuration that no kernel takes is refused by name', async () => {
    const huge = writeContainerImage(path.join(user.work, 'huge'), {
      config: { Env: [`BIG=${'x'.repeat(200_000)}`], Cmd: ['true'] },
    });
    expect(await peelRun([huge])).toMatchObject({ status: 125, stderr: expect.stringContaining("'BIG=xxx") });
    const climbing = writeContainerImage(path.join(user.work, 'climbing'), {
      config: { WorkingDir: '../../../../etc/../..', Cmd: ['pwd'] },
    });
    expect(await outputOf(climbing)).toBe('/\n');
  });

  test('the image’s links lead nowhere outside of it', async () => {
    const outside = path.join(user.work, 'outside');
    mkdirSync(outside, { recursive: true });
    const linked = writeContainerImage(path.join(user.work, 'linked'), {
      members: [
        member('etc/resolv.conf', {
          type: 'symlink',
          target: `${outside}/resolv.conf` as never,
          mode: 0o777,
        }),
        member('work', { type: 'symlink', target: outside as never, mode: 0o777 }),
      ],
      config: { WorkingDir: '/work/deep', Cmd: ['sh', '-c', 'echo x >here; pwd'] },
    });
    await peelRun([linked]);
    expect(readdirSync(outside)).toEqual([]);
  });
});
