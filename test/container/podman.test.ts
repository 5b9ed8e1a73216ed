/** `podman run --rootfs $(peel mount IMAGE):O`, as docs/CONTAINERS.md has it, with a real podman. */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeContainerImage } from '../support/container-image.ts';
import { DIST, mountTable } from '../support/mount-child.ts';
import {
  asUserWithAccount,
  podmanEnvironment,
  UID,
  unmountStorage,
  whyNoPodman,
  whyNoRootlessPodman,
} from '../support/podman.ts';
import { PeelUser } from '../support/run-peel.ts';
import { RUNTIMES } from '../support/runtimes.ts';

const MAIN = path.join(DIST, 'cli/main.js');
const DEADLINE_MS = 25_000;

/** The image is mounted, shown to podman, looked at, and unmounted whatever came of it. */
const scriptOf = (image: string, options: string, command: string, mount = ''): string => `
peel() { ${process.execPath} ${MAIN} "$@"; }
mounted=$(peel mount ${mount} ${image}) || exit 99
podman ${options} --rootfs "$mounted:O" ${command}
status=$?
echo "below: $(cat "$mounted/etc/upper")"
peel umount "$mounted" || exit 98
exit $status`;

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The program is ended with its whole group on the deadline: conmon outlives podman. */
function shell(user: PeelUser, wrapper: readonly string[], script: string, env: NodeJS.ProcessEnv): Outcome {
  const args = ['--signal=KILL', String(DEADLINE_MS / 1000), ...wrapper, 'sh', '-c', script];
  return spawnSync('timeout', args, {
    encoding: 'utf8',
    cwd: '/',
    env: { ...user.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, ...env },
  });
}

const why = whyNoPodman();
if (why !== undefined) console.warn(`podman is not tested: ${why}`);

describe.skipIf(why !== undefined).each(RUNTIMES)('podman with $name', ({ name: runtime, wrapper }) => {
  let user: PeelUser;
  let image = '';
  let storage = '';
  let env: NodeJS.ProcessEnv = {};

  beforeAll(() => {
    user = new PeelUser();
    image = writeContainerImage(path.join(user.work, 'image'), { config: { Env: ['FROM_IMAGE=yes'] } });
    storage = path.join(user.home, 'podman');
    env = podmanEnvironment(storage);
  });
  afterAll(() => {
    unmountStorage(storage);
    expect(mountTable()).not.toContain(user.home);
    user.close();
  });

  const options = `--runtime ${runtime} run --rm --network none`;

  test('a container runs on a mount, and what it writes lies above it', () => {
    const command = `sh -c 'cat /etc/upper; echo mine >/etc/upper; cat /etc/upper; id -u; exit 7'`;
    expect(shell(user, wrapper, scriptOf(image, options, command), env)).toMatchObject({
      status: 7,
      stdout: 'upper\nmine\n0\nbelow: upper\n',
      stderr: '',
    });
  });

  test('podman takes nothing of the image’s configuration: command and environment are named', () => {
    const command = `sh -c 'echo "image: $FROM_IMAGE, own: $OWN"'`;
    expect(
      shell(user, wrapper, scriptOf(image, `${options} --env OWN=1 --user 1000`, command), env),
    ).toMatchObject({ status: 0, stdout: 'image: , own: 1\nbelow: upper\n' });
  });
});

const whyNotRootless = whyNoRootlessPodman(MAIN);
if (whyNotRootless !== undefined) console.warn(`podman without root is not tested: ${whyNotRootless}`);

describe.skipIf(whyNotRootless !== undefined)('podman without root', () => {
  let user: PeelUser;

  beforeAll(() => {
    user = new PeelUser();
  });
  afterAll(() => {
    user.close();
  });

  test('a container runs on a mount of the same user', () => {
    const image = writeContainerImage(path.join(user.work, 'image'));
    const storage = path.join(user.home, 'podman');
    const env = podmanEnvironment(storage);
    const account = path.join(user.home, 'account');
    const wrapper = asUserWithAccount(account);
    mkdirSync(path.join(user.home, 'cache', 'peel'), { recursive: true, mode: 0o700 });
    spawnSync('chown', ['-R', `${UID}:${UID}`, user.home]);
    const options = '--runtime runc run --rm --network none';
    const command = `sh -c 'cat /etc/upper; echo mine >/etc/upper; cat /etc/upper; id -u'`;
    // Owners that the user's namespace does not have could not be overridden by its root.
    const asOwn = '-o uid=$(id -u),gid=$(id -g)';
    const ran = shell(user, wrapper, scriptOf(image, options, command, asOwn), env);
    expect(ran.stderr).toBe('');
    expect(ran).toMatchObject({ status: 0, stdout: 'upper\nmine\n0\nbelow: upper\n' });
    expect(mountTable()).not.toContain(user.home);
  });
});
