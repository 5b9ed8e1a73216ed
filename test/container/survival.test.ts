/** How a run ends that does not end by itself: by signals, killed, many at once. Nothing of any of them is left. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { busyboxMembers, writeContainerImage } from '../support/container-image.ts';
import { startHeldRegistry } from '../support/held-registry.ts';
import { member } from '../support/image-layout.ts';
import { DIST, mountTable } from '../support/mount-child.ts';
import { PeelUser } from '../support/run-peel.ts';
import { RUNTIMES, whyNoContainers } from '../support/runtimes.ts';

const why = whyNoContainers();
const MAIN = path.join(DIST, 'cli/main.js');
const POLL = { timeout: 15_000 };
/** It says when it runs, and what it is told. */
const LISTENER =
  'for s in INT TERM HUP USR1 QUIT; do trap "echo $s; exit 9" $s; done; echo ready; while true; do sleep 0.1; done';

describe.skipIf(why !== undefined).each(RUNTIMES)('peel run with $name', ({ name: runtime, wrapper }) => {
  let user: PeelUser;
  let image = '';
  const children = new Set<ChildProcess>();

  beforeAll(() => {
    user = new PeelUser();
    image = writeContainerImage(path.join(user.work, 'image'), { config: { StopSignal: 'SIGQUIT' } });
  });
  afterAll(() => user.close());

  const containers = (): string[] => {
    const folder = path.join(user.cacheDir, 'containers');
    return existsSync(folder) ? readdirSync(folder) : [];
  };
  const stateFolders = (): string[] => {
    const folder = path.join(user.home, 'run/peel', runtime);
    return existsSync(folder) ? readdirSync(folder) : [];
  };
  const cgroups = (): string[] =>
    ['memory', 'pids', 'unified', 'systemd', '.'].flatMap((name) => {
      const folder = path.join('/sys/fs/cgroup', name);
      return existsSync(folder) ? readdirSync(folder).filter((each) => each.startsWith('peel-')) : [];
    });
  const left = (): unknown => ({
    containers: containers(),
    state: stateFolders(),
    mounts: mountTable().includes(user.home),
  });
  const NOTHING = { containers: [], state: [], mounts: false };

  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL');
    children.clear();
    await expect.poll(left, POLL).toEqual(NOTHING);
    // Another test of this host may just have some.
    await expect.poll(cgroups, POLL).toEqual([]);
  });

  /** A run in the background of the test; `said` is its standard output. */
  function start(args: readonly string[]): {
    child: ChildProcess;
    said: () => string;
    ended: Promise<number | null>;
  } {
    const [program = '', ...words] = [
      ...wrapper,
      process.execPath,
      MAIN,
      'run',
      '--runtime',
      runtime,
      ...args,
    ];
    const child = spawn(program, words, { env: user.env, stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(child);
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    child.stderr.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    return {
      child,
      said: () => text,
      ended: once(child, 'exit').then(([status]) => status as number | null),
    };
  }

  async function startListener(...options: readonly string[]): Promise<ReturnType<typeof start>> {
    const run = start([...options, image, 'sh', '-c', LISTENER]);
    await expect.poll(run.said, POLL).toBe('ready\n');
    return run;
  }

  test.each(['SIGINT', 'SIGHUP', 'SIGUSR1'] as const)('%s goes to the command', async (signal) => {
    const run = await startListener();
    run.child.kill(signal);
    expect(await run.ended).toBe(9);
    expect(run.said()).toBe(`ready\n${signal.slice(3)}\n`);
    expect(left()).toEqual(NOTHING);
  });

  test('TERM goes as the signal that the image names for stopping', async () => {
    const run = await startListener();
    run.child.kill('SIGTERM');
    expect(await run.ended).toBe(9);
    expect(run.said()).toBe('ready\nQUIT\n');
  });

  test('a command that is deaf to signals is killed by the third', async () => {
    const run = start([image, 'sh', '-c', 'trap "" INT TERM QUIT; echo ready; sleep 60']);
    await expect.poll(run.said, POLL).toBe('ready\n');
    for (let count = 0; count < 3; count += 1) {
      run.child.kill('SIGINT');
      await new Promise((resolve) => {
        setTimeout(resolve, 50);
      });
    }
    expect(await run.ended).toBe(137);
    expect(left()).toEqual(NOTHING);
  });

  test('a run that is killed is cleared up after, its container ended', async () => {
    const run = await startListener('--name', 'victim');
    const { pid } = JSON.parse(
      readFileSync(path.join(user.cacheDir, 'containers/victim/.peel.json'), 'utf8'),
    ) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await run.ended;
    await expect.poll(left, POLL).toEqual(NOTHING);
    // Its name is free again, and nothing of it runs.
    expect(
      await user.run(['run', '--runtime', runtime, '--name', 'victim', image, 'true'], { wrapper }),
    ).toMatchObject({
      status: 0,
      stderr: '',
    });
  });

  test('where what clears up was killed, too, the next run does', async () => {
    const run = await startListener('--name', 'victim');
    const pid = recordedPid('victim');
    const supervisors = childrenOf(pid).filter((child) => commandOf(child).includes('peel-supervisor'));
    expect(supervisors).toHaveLength(1);
    for (const each of [...supervisors, pid]) process.kill(each, 'SIGKILL');
    await run.ended;
    expect(containers()).toEqual(['victim']);
    expect(await user.run(['run', '--runtime', runtime, image, 'true'], { wrapper })).toMatchObject({
      status: 0,
    });
    expect(left()).toEqual(NOTHING);
  });

  test('a name belongs to one container at a time', async () => {
    const run = await startListener('--name', 'one');
    const second = await user.run(['run', '--runtime', runtime, '--name', 'one', image, 'true'], { wrapper });
    expect(second).toMatchObject({
      status: 125,
      stderr: expect.stringContaining(`--name one: the container of process ${recordedPid('one')}`),
    });
    const folder = path.join(user.cacheDir, 'containers/one');
    expect(await user.run(['umount', folder])).toMatchObject({ status: 1 });
    expect(existsSync(path.join(folder, 'config.json'))).toBe(true);
    run.child.kill('SIGINT');
    expect(await run.ended).toBe(9);
  });

  test('six start at once from an image that nobody has indexed', async () => {
    const fresh = writeContainerImage(path.join(user.work, `fresh-${runtime}`), {
      members: [member('etc/fresh', { content: Buffer.from(runtime) })],
    });
    const runs = Array.from({ length: 6 }, (_, at) =>
      start([fresh, 'sh', '-c', `cat /etc/fresh; exit ${at}`]),
    );
    expect(await Promise.all(runs.map(({ ended }) => ended))).toEqual([0, 1, 2, 3, 4, 5]);
    expect(runs.map(({ said }) => said())).toEqual(Array.from({ length: 6 }, () => runtime));
    expect(left()).toEqual(NOTHING);
  });

  test('a container starts while a layer that it does not look into is still to come', async () => {
    const registry = await startHeldRegistry([
      [member('deep', { type: 'dir' }), member('deep/data', { content: Buffer.from('late') })],
      [
        ...busyboxMembers(),
        // What a runtime looks for. In an image whose lowest layer alone has them, it waits for that one.
        ...['deep', 'dev', 'proc', 'sys'].map((name) => member(name, { type: 'dir' })),
        ...['hostname', 'hosts', 'resolv.conf'].map((name) => member(`etc/${name}`)),
      ],
    ]);
    try {
      registry.hold(0);
      const run = start(['-q', registry.image, '/bin/sh', '-c', 'echo running; /bin/cat /deep/data']);
      await expect.poll(run.said, POLL).toBe('running\n');
      registry.release(0);
      expect(await run.ended).toBe(0);
      expect(run.said()).toBe('running\nlate');
    } finally {
      await registry.close();
    }
  });

  test('INT while a layer is awaited leaves nothing', async () => {
    const registry = await startHeldRegistry([[...busyboxMembers(), member('of-this-test')]]);
    try {
      registry.hold(0);
      const run = start(['-q', registry.image, 'true']);
      await expect.poll(containers, POLL).toHaveLength(1);
      run.child.kill('SIGINT');
      expect(await run.ended).toBe(130);
      expect(left()).toEqual(NOTHING);
    } finally {
      await registry.close();
    }
  });

  function recordedPid(name: string): number {
    const record = readFileSync(path.join(user.cacheDir, 'containers', name, '.peel.json'), 'utf8');
    return (JSON.parse(record) as { pid: number }).pid;
  }
});

const commandOf = (pid: number): string => readFileSync(`/proc/${pid}/cmdline`, 'latin1');

function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
  );
}
