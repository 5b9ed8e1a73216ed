/** `peel bundle`: what runc and crun start from, and how `peel umount` takes it apart. */
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { writeContainerImage } from '../support/container-image.ts';
import { mountTable } from '../support/mount-child.ts';
import { PeelUser } from '../support/run-peel.ts';
import { RUNTIMES, type TestedRuntime, whyNoContainers } from '../support/runtimes.ts';

const why = whyNoContainers();
const RUNTIME_DEADLINE_MS = 20_000;

interface Config {
  readonly process: { args: string[]; user: object; env: string[]; cwd: string; terminal: boolean };
  readonly annotations: Record<string, string>;
  readonly root: { readonly path: string };
}

describe.skipIf(why !== undefined)('peel bundle', () => {
  let user: PeelUser;
  let image = '';
  let folder = '';

  beforeAll(() => {
    user = new PeelUser();
    image = writeContainerImage(path.join(user.work, 'image'), {
      config: {
        Entrypoint: ['sh', '-c'],
        Cmd: ['cat /etc/upper; echo "$WHO" >/etc/upper; id -u'],
        Env: ['WHO=image'],
        User: 'app:0',
        WorkingDir: '/tmp',
        StopSignal: 'SIGQUIT',
        ExposedPorts: { '80/tcp': {} },
        Labels: {
          'org.example.label': 'kept',
          'run.oci.hooks.stdout': '/tmp/order',
          'Org.Systemd.Property.X': 'order',
          'org.opencontainers.image.author': 'the label wins',
        },
      },
    });
    folder = path.join(user.work, 'bundle');
  });
  afterAll(() => user.close());
  afterEach(async () => {
    if (existsSync(folder)) await user.run(['umount', '--lazy', folder]);
    rmSync(folder, { recursive: true, force: true });
    expect(mountTable()).not.toContain(user.home);
  });

  const configOf = (): Config => JSON.parse(readFileSync(path.join(folder, 'config.json'), 'utf8')) as Config;

  function runtimeRun(
    { name, wrapper }: TestedRuntime,
    id: string,
  ): { status: number | null; stdout: string; stderr: string } {
    const [program, ...args] = [
      ...wrapper,
      name,
      '--root',
      path.join(user.work, 'state'),
      'run',
      '--bundle',
      folder,
      id,
    ];
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
    return spawnSync(program, args, {
      encoding: 'utf8',
      timeout: RUNTIME_DEADLINE_MS,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  test.each(RUNTIMES)(
    '$name runs it, again and again, and what it writes stays until umount',
    async (runtime) => {
      const made = await user.run(['bundle', image, folder]);
      expect(made).toMatchObject({ status: 0, stderr: '' });
      expect(made.stdout.toString('utf8')).toBe(`${folder}\n`);
      expect(lstatSync(folder).mode & 0o777).toBe(0o700);
      // The user is not root, the file is root's: the shell says so, and goes on.
      expect(runtimeRun(runtime, `peel-test-${process.pid}-a`)).toMatchObject({
        status: 0,
        stdout: 'upper\n1000\n',
        stderr: expect.stringMatching(/denied/),
      });
      const config = configOf();
      config.process.user = { uid: 0, gid: 0 };
      writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config));
      expect(runtimeRun(runtime, `peel-test-${process.pid}-b`)).toMatchObject({
        status: 0,
        stdout: 'upper\n0\n',
        stderr: '',
      });
      expect(runtimeRun(runtime, `peel-test-${process.pid}-c`)).toMatchObject({
        status: 0,
        stdout: 'image\n0\n',
        stderr: '',
      });
      expect(await user.run(['umount', folder])).toMatchObject({ status: 0, stderr: '' });
      expect(existsSync(folder)).toBe(false);
      expect(await user.run(['umount', folder])).toMatchObject({ status: 1 });
    },
  );

  test('config.json says what the image says, and passes no orders of its labels on', async () => {
    await user.run(['bundle', '-e', 'A=1', '--hostname', 'h', image, folder, 'echo x']);
    const config = configOf();
    expect(config.process).toMatchObject({
      args: ['sh', '-c', 'echo x'],
      cwd: '/tmp',
      terminal: false,
      user: { uid: 1000, gid: 0, additionalGids: [0] },
    });
    expect(config.process.env).toEqual(
      expect.arrayContaining(['WHO=image', 'A=1', 'HOSTNAME=h', 'HOME=/home/app']),
    );
    expect(config.annotations).toEqual({
      'org.opencontainers.image.os': 'linux',
      'org.opencontainers.image.architecture': 'amd64',
      'org.opencontainers.image.stopSignal': 'SIGQUIT',
      'org.opencontainers.image.exposedPorts': '80/tcp',
      'org.opencontainers.image.author': 'the label wins',
      'org.example.label': 'kept',
    });
  });

  test('a folder with anything in it is refused and stays as it is', async () => {
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'mine'), 'x');
    expect(await user.run(['bundle', image, folder])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('not empty'),
    });
    expect(await user.run(['umount', folder])).toMatchObject({ status: 1 });
    expect(readdirSync(folder)).toEqual(['mine']);
  });

  test('an empty folder of the user stays, and so does what the user put into it', async () => {
    mkdirSync(folder);
    await user.run(['bundle', image, folder]);
    writeFileSync(path.join(folder, 'mine'), 'x');
    expect(await user.run(['umount', folder])).toMatchObject({ status: 0, stderr: '' });
    expect(readdirSync(folder)).toEqual(['mine']);
  });

  test('a bundle whose server was killed is taken apart', async () => {
    await user.run(['bundle', image, folder]);
    const { pid } = JSON.parse(readFileSync(path.join(folder, '.peel.json'), 'utf8')) as { pid: number };
    process.kill(pid, 'SIGKILL');
    expect(await user.run(['umount', folder])).toMatchObject({ status: 0, stderr: '' });
    expect(existsSync(folder)).toBe(false);
  });

  test('a bundle is not taken apart under a running container, unless with --lazy', async () => {
    await user.run(['bundle', image, folder]);
    const holder = spawnSync(
      'sh',
      ['-c', `unshare -m chroot ${folder}/rootfs sleep 20 >/dev/null 2>&1 & echo $!`],
      {
        encoding: 'utf8',
      },
    );
    const pid = Number(holder.stdout);
    try {
      await expect
        .poll(async () => (await user.run(['umount', folder])).stderr, { timeout: 5000 })
        .toContain(`process ${pid} runs on it`);
      expect(existsSync(path.join(folder, 'rootfs/etc/upper'))).toBe(true);
    } finally {
      process.kill(pid, 'SIGKILL');
    }
  });

  test('a failed bundle leaves nothing', async () => {
    expect(await user.run(['bundle', '-u', 'nobody', image, folder])).toMatchObject({ status: 125 });
    expect(existsSync(folder)).toBe(false);
  });
});
