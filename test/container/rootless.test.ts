/** `peel run` by a user: a user namespace of its own, in which this user is root. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeContainerImage } from '../support/container-image.ts';
import { DIST } from '../support/mount-child.ts';
import { PeelUser } from '../support/run-peel.ts';
import { RUNTIMES, whyNoContainers } from '../support/runtimes.ts';

const MAIN = path.join(DIST, 'cli/main.js');
const POLL = { timeout: 15_000 };
const UID = 4321;
/** Without any capability, and without a way to gain one. */
const AS_USER = [
  'setpriv',
  `--reuid=${UID}`,
  `--regid=${UID}`,
  '--clear-groups',
  '--bounding-set=-all',
  '--inh-caps=-all',
];
/** A namespace whose /dev/fuse has this mode, as most hosts have it with 666. */
const withDevice = (mode: string): readonly string[] => [
  'unshare',
  '-m',
  'sh',
  '-c',
  `mount -t tmpfs none /mnt && mknod -m ${mode} /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse && exec "$@"`,
  'sh',
  ...AS_USER,
];

function whyNotAsUser(): string | undefined {
  const why = whyNoContainers();
  if (why !== undefined) return why;
  // runc manages without cgroups in a user namespace; crun refuses hybrid hosts also there.
  if (!RUNTIMES.some(({ name }) => name === 'runc')) return 'runc is not installed';
  const [program, ...args] = [...AS_USER, 'unshare', '--user', '--map-root-user', 'test', '-r', MAIN];
  const { status } = spawnSync(program, args, { timeout: 10_000 });
  return status === 0 ? undefined : 'other users cannot read the program, or have no user namespaces here';
}

const why = whyNotAsUser();
if (why !== undefined) console.warn(`containers without root are not tested: ${why}`);

describe.skipIf(why !== undefined)('peel run without root', () => {
  let user: PeelUser;
  let image = '';
  const children = new Set<ChildProcess>();

  beforeAll(() => {
    user = new PeelUser();
    image = writeContainerImage(path.join(user.work, 'image'));
    spawnSync('chown', ['-R', `${UID}:${UID}`, user.home]);
  });
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL');
    user.close();
  });

  const left = (): string[] => readdirSync(path.join(user.cacheDir, 'containers'));
  const peelRun = (args: readonly string[], mode = '666'): ReturnType<PeelUser['run']> =>
    user.run(['run', '--runtime', 'runc', ...args], { wrapper: withDevice(mode) });

  test('root inside, the user outside; files can be written; the exit status comes out', async () => {
    const script = 'id -u; id -g; touch /new && stat -c %u /new; cat /etc/upper; exit 7';
    expect(await peelRun([image, 'sh', '-c', script])).toMatchObject({
      status: 7,
      stderr: '',
      stdout: Buffer.from('0\n0\n0\nupper\n'),
    });
    expect(left()).toEqual([]);
    expect(await peelRun([image, 'nosuch'])).toMatchObject({ status: 127 });
  });

  test('what it cannot have is refused with a word on what to do', async () => {
    expect(await peelRun(['-u', 'app', image, 'true'])).toMatchObject({
      status: 125,
      stderr: expect.stringContaining('use -u 0, or install newuidmap'),
    });
    expect(await peelRun(['--memory', '64m', image, 'true'])).toMatchObject({
      status: 125,
      stderr: expect.stringContaining('--memory: without root'),
    });
    expect(await peelRun([image, 'true'], '600')).toMatchObject({
      status: 125,
      stderr: expect.stringContaining('opening /dev/fuse: EACCES'),
    });
    expect(left()).toEqual([]);
  });

  test('signals reach the command, and a run that is killed is cleared up after', async () => {
    for (const [signal, status] of [
      ['SIGTERM', 9],
      ['SIGKILL', null],
    ] as const) {
      const [program, ...words] = [
        ...withDevice('666'),
        process.execPath,
        MAIN,
        'run',
        '--runtime',
        'runc',
        image,
        'sh',
        '-c',
        'trap "echo told; exit 9" TERM; echo ready; while true; do sleep 0.1; done',
      ];
      const child = spawn(program, words, { env: user.env, stdio: ['ignore', 'pipe', 'inherit'] });
      children.add(child);
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      await expect.poll(() => said, POLL).toBe('ready\n');
      const ended = once(child, 'exit');
      child.kill(signal);
      expect((await ended)[0]).toBe(status);
      await expect.poll(left, POLL).toEqual([]);
      const state = path.join(user.home, 'run/peel/runc');
      expect(existsSync(state) ? readdirSync(state) : []).toEqual([]);
    }
  });
});
