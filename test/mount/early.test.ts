/**
 * A mount answers before all layers are known (FAULTS P2, P8): what the upper layers say by themselves at once, the rest
 * when it is known. The registry holds layers back until the test lets them come.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ByteString } from '../../src/units.ts';
import { type HeldRegistry, startHeldRegistry } from '../support/held-registry.ts';
import { member } from '../support/image-layout.ts';
import {
  closeMounts,
  DIST,
  mountTable,
  python,
  type RunResult,
  run,
  temporaryFolder,
  whyNoMounts,
} from '../support/mount-child.ts';
import { type Member, writeTar } from '../support/tar-bytes.ts';
import { rowsOnDisk, UmociLayout, umociProblem } from '../support/umoci.ts';

const LOWEST = 0;
const POLL = { timeout: 15_000 };
const dir = (name: string, fields: Partial<Member> = {}): Member => member(name, { type: 'dir', ...fields });
const file = (name: string, content: string, fields: Partial<Member> = {}): Member =>
  member(name, { content: Buffer.from(content), ...fields });

/** Lowest first. Nothing above the lowest says anything of the root. */
const LAYERS: readonly (readonly Member[])[] = [
  [
    dir('./', { mode: 0o711, mtimeSec: 1_600_000_000 }),
    dir('app', { mode: 0o700 }),
    file('app/config', 'old'),
    file('app/data', 'lower'),
    file('gone', 'gone'),
    dir('sub'),
    dir('sub/deep'),
  ],
  [dir('app'), dir('app/sub'), file('app/sub/x', 'middle'), file('app/main', 'main', { mode: 0o755 })],
  [
    dir('app', { mode: 0o750, uid: 7 }),
    file('app/config', 'new', { mtimeSec: 1_500_000_000 }),
    member('app/link', { type: 'symlink', target: 'config' as ByteString }),
    member('app/hard', { type: 'hardlink', target: 'app/config' as ByteString }),
    member('.wh.gone'),
  ],
];

let home = '';
let place = '';
let registry: HeldRegistry;

/** The text of a file, or the name of the errno. */
const READ = `import sys, json, errno
try:
    r = open(sys.argv[1], "rb").read().decode()
except OSError as e:
    r = errno.errorcode[e.errno]
print(json.dumps(r))`;
const read = (name: string): Promise<unknown> => python(READ, path.join(place, name));

/**
 * As many threads as told, each asks for a name of its own, or every second one for a file of the lowest layer. (Who
 * waits in the kernel for the answer to somebody else's request for the same name cannot be killed: d_alloc_parallel.)
 */
const ASK = `import sys, json, os, errno, threading
place, count, is_shared = sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'shared'
answers = {}
def ask(i):
    try:
        answers[i] = os.stat(f"{place}/app/{'data' if is_shared and i % 2 else f'none-{os.getpid()}-{i}'}").st_size
    except OSError as e:
        answers[i] = errno.errorcode[e.errno]
threading.stack_size(65536)
threads = [threading.Thread(target=ask, args=(i,)) for i in range(count)]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps([answers[i] for i in range(count)]))`;
const askAll = (count: number): Promise<unknown> => python(ASK, place, String(count), 'shared');
const answersOf = (count: number): unknown[] =>
  Array.from({ length: count }, (_, index) => (index % 2 === 1 ? 5 : 'ENOENT'));

/** What lies in a folder with all that stat(2) says of it. */
const listing = (where: string): Promise<RunResult> =>
  run('find', [where, '-printf', '%P %y %i %n %m %U %G %s %T@ %l\n']);

/** Of what lies in `app`. */
async function statsOf(...names: string[]): Promise<string> {
  const files = names.map((name) => path.join(place, 'app', name));
  return (await run('stat', ['-c', '%n %i %F %h %a %u %s %Y', ...files])).stdout;
}

const isMounted = (): boolean => mountTable().includes(` ${place} `);
const environment = (): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'],
  HOME: home,
  LC_ALL: 'C',
  XDG_RUNTIME_DIR: path.join(home, 'run'),
  XDG_CACHE_HOME: path.join(home, 'cache'),
});

interface Running {
  readonly done: Promise<RunResult>;
  kill(signal: NodeJS.Signals): void;
}

const running = new Set<Promise<RunResult>>();

/** Starts `peel ARGS`. */
function start(...args: string[]): Running {
  let kill = (_signal: NodeJS.Signals): void => undefined;
  const done = run(process.execPath, [path.join(DIST, 'cli/main.js'), ...args], {
    env: environment(),
    onStart: (child) => {
      kill = (signal) => child.kill(signal);
    },
  });
  running.add(done);
  return { done, kill: (signal) => kill(signal) };
}
const peel = (...args: string[]): Promise<RunResult> => start(...args).done;

interface Server {
  readonly pid: number;
  readonly log: string;
  readonly state: string;
}

/** Of the one mount there is; undefined where there is none. */
function server(): Server | undefined {
  const folder = path.join(home, 'run/peel/mounts');
  const [name] = existsSync(folder) ? readdirSync(folder).filter((each) => each.endsWith('.json')) : [];
  return name === undefined
    ? undefined
    : (JSON.parse(readFileSync(path.join(folder, name), 'utf8')) as Server);
}
const logText = (): string => readFileSync(server()?.log ?? '/dev/null', 'utf8');

/** Resolves when so many requests had to wait, as the server's statistics have it. */
async function untilWaiting(count: number): Promise<void> {
  const pid = server()?.pid ?? 0;
  await expect
    .poll(() => {
      process.kill(pid, 'SIGUSR1');
      return Math.max(0, ...[...logText().matchAll(/"waited":(\d+)/g)].map(([, waited]) => Number(waited)));
    }, POLL)
    .toBeGreaterThanOrEqual(count);
}

beforeEach(async () => {
  home = temporaryFolder();
  for (const name of ['run', 'cache', 'mnt']) mkdirSync(path.join(home, name), { mode: 0o700 });
  place = path.join(home, 'mnt');
  registry = await startHeldRegistry(LAYERS);
});

afterEach(async () => {
  await registry.close();
  const pid = server()?.pid;
  if (pid !== undefined && existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL');
  await Promise.allSettled(running);
  running.clear();
  await closeMounts();
});

describe.skipIf(whyNoMounts() !== undefined)('while a layer is not there yet', () => {
  test('files of the layers above are read, all else waits, and what comes is what any other mount shows', async () => {
    registry.hold(LOWEST);
    const mounting = start('mount', registry.image, place);
    await expect.poll(isMounted, POLL).toBe(true);
    expect(await read('app/config')).toBe('new');
    expect(await read('app/link')).toBe('new');
    expect(await read('app/sub/x')).toBe('middle');
    const early = await statsOf('config', 'hard', 'main');
    expect(await statsOf('.')).toMatch(/ directory 1 750 7 /);
    const listed = run('ls', ['-A', place]);
    const below = run('ls', ['-A', path.join(place, 'app')]);
    const missing = ['nothing', 'app/nothing', 'gone'].map(read);
    await untilWaiting(5);
    expect(JSON.parse((await peel('mount', '--format', 'json')).stdout)).toMatchObject({
      mounts: expect.arrayContaining([
        expect.objectContaining({ mountPoint: place, state: 'indexing' }),
      ]) as unknown,
    });
    registry.release(LOWEST);

    expect((await listed).stdout).toBe('app\nsub\n');
    expect((await below).stdout).toBe('config\ndata\nhard\nlink\nmain\nsub\n');
    expect(await Promise.all(missing)).toEqual(['ENOENT', 'ENOENT', 'ENOENT']);
    expect(await mounting.done).toEqual({ status: 0, stdout: `${place}\n`, stderr: '' });
    expect(server()?.state).toBe('whole');
    expect(await statsOf('config', 'hard', 'main')).toBe(early);
    expect(await statsOf('.')).toMatch(/ directory 3 750 7 /);
    const { stdout: first } = await listing(place);
    expect(await peel('umount', place)).toMatchObject({ status: 0 });
    expect(await peel('mount', registry.image, place)).toMatchObject({ status: 0 });
    expect((await listing(place)).stdout).toBe(first);
  });

  test.skipIf(umociProblem() !== undefined)('the end is what umoci unpacks', async () => {
    registry.hold(LOWEST);
    const mounting = start('mount', registry.image, place);
    await expect.poll(isMounted, POLL).toBe(true);
    expect(await read('app/hard')).toBe('new');
    registry.release(LOWEST);
    expect(await mounting.done).toMatchObject({ status: 0 });
    const umoci = new UmociLayout(path.join(home, 'work'));
    umoci.add(
      'early',
      LAYERS.map((members) => writeTar(members).bytes),
    );
    const unpacked = path.join(home, 'unpacked');
    expect(await umoci.unpack('early', unpacked)).toBeUndefined();
    // How large a directory is, and when the root was made, is a matter of the disk.
    const rows = (folder: string) =>
      rowsOnDisk(folder, new Map()).map((row) => ({
        ...row,
        size: row.kind === 'dir' ? 0 : row.size,
        mtime: row.path === '/' ? '' : row.mtime,
      }));
    // Read by another process first: the registry is in this one.
    await run('grep', ['-r', 'x', place]);
    expect(rows(place)).toEqual(rows(unpacked));
  });

  test('a waiter that is killed gets away at once, and the others wait on', async () => {
    registry.hold(LOWEST);
    const mounting = start('mount', registry.image, place);
    await expect.poll(isMounted, POLL).toBe(true);
    let kill = (): void => undefined;
    const killed = run('cat', [path.join(place, 'nothing')], {
      onStart: (child) => {
        kill = () => child.kill('SIGKILL');
      },
    });
    const other = read('app/data');
    await untilWaiting(2);
    kill();
    expect(await killed).toMatchObject({ status: null, stdout: '' });
    registry.release(LOWEST);
    expect(await other).toBe('lower');
    expect(await mounting.done).toMatchObject({ status: 0 });
  });

  test('200 who ask at once all get their answer', async () => {
    registry.hold(LOWEST);
    const mounting = start('mount', registry.image, place);
    await expect.poll(isMounted, POLL).toBe(true);
    const asking = askAll(200);
    // Those who ask for one name are one request to the kernel.
    await untilWaiting(101);
    registry.release(LOWEST);
    expect(await asking).toEqual(answersOf(200));
    expect(await mounting.done).toMatchObject({ status: 0 });
  });

  test('a thousand wait, half of them are killed, and the kernel forgets what it can: the others get their answer', async () => {
    registry.hold(LOWEST);
    const mounting = start('mount', registry.image, place);
    await expect.poll(isMounted, POLL).toBe(true);
    let kill = (): void => undefined;
    const killed = run('python3', ['-c', ASK, place, '500', 'own'], {
      onStart: (child) => {
        kill = () => child.kill('SIGKILL');
      },
    });
    await untilWaiting(500);
    const asking = askAll(500);
    await untilWaiting(751);
    kill();
    expect(await killed).toMatchObject({ status: null, stdout: '' });
    expect(await run('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches'])).toMatchObject({ status: 0 });
    expect(await read('app/config')).toBe('new');
    registry.release(LOWEST);
    expect(await asking).toEqual(answersOf(500));
    expect(await mounting.done).toMatchObject({ status: 0 });
  });

  test('a server that is killed frees who waits', async () => {
    registry.hold(LOWEST);
    const mounting = start('mount', registry.image, place);
    await expect.poll(isMounted, POLL).toBe(true);
    const waiting = read('app/data');
    await untilWaiting(1);
    process.kill(server()?.pid ?? 0, 'SIGKILL');
    expect(await waiting).toMatch(/^(ENOTCONN|ECONNABORTED)$/);
    expect(await mounting.done).toMatchObject({ status: 1, stdout: '' });
  });

  test('TERM ends the command, its mount and those who wait in it', async () => {
    registry.hold(LOWEST);
    const mounting = start('mount', registry.image, place);
    await expect.poll(isMounted, POLL).toBe(true);
    const waiting = read('app/data');
    await untilWaiting(1);
    mounting.kill('SIGTERM');
    expect(await mounting.done).toMatchObject({ status: 130, stdout: '' });
    expect(await waiting).toBe('EIO');
    expect(isMounted()).toBe(false);
    expect(server()).toBeUndefined();
  });

  test('a layer with wrong bytes fails the command as ever, and leaves no mount', async () => {
    registry.hold(LOWEST);
    const mounting = start('mount', registry.image, place);
    await expect.poll(isMounted, POLL).toBe(true);
    expect(await read('app/config')).toBe('new');
    registry.spoil(LOWEST);
    const failed = await mounting.done;
    expect(failed).toMatchObject({ status: 6, stdout: '' });
    expect(failed.stderr).toMatch(
      /^peel: layer sha256:\w+: its bytes have the digest sha256:\w+, want sha256:\w+.*\n$/,
    );
    expect(isMounted()).toBe(false);
    expect(server()).toBeUndefined();
    expect(readdirSync(path.join(home, 'run/peel/log'))).toEqual([]);
  });
});

describe.skipIf(whyNoMounts() !== undefined)('peel mount --no-wait', () => {
  test('is done when the mount answers; a layer that cannot be had is EIO, said in the log, and tried again (P8)', async () => {
    registry.hold(LOWEST);
    expect(await peel('mount', '--no-wait', registry.image, place)).toEqual({
      status: 0,
      stdout: `${place}\n`,
      stderr: '',
    });
    expect(await read('app/config')).toBe('new');
    const waiting = read('app/data');
    await untilWaiting(1);
    registry.refuse(LOWEST);
    expect(await waiting).toBe('EIO');
    await expect.poll(() => server()?.state, POLL).toBe('stuck');
    expect((await peel('mount')).stdout).toMatch(new RegExp(`^${place} .* incomplete$`, 'm'));
    expect(logText()).toMatch(
      /"code":"ERR_IMAGE_NOT_FOUND".*what is not known of the image yet ends with EIO: .*sha256:/,
    );
    expect(await read('app/main')).toBe('main');
    expect(await read('app/data')).toBe('EIO');
    registry.release(LOWEST);
    expect(await read('app/data')).toBe('lower');
    expect(server()?.state).toBe('whole');
    expect((await run('ls', ['-A', place])).stdout).toBe('app\nsub\n');
  });

  test('a layer with wrong bytes stays EIO, and is not downloaded again for everybody who asks', async () => {
    registry.hold(LOWEST);
    expect(await peel('mount', '--no-wait', registry.image, place)).toMatchObject({ status: 0 });
    const waiting = read('app/data');
    await untilWaiting(1);
    registry.spoil(LOWEST);
    expect(await waiting).toBe('EIO');
    const requests = registry.requestsFor(LOWEST);
    expect(await read('app/data')).toBe('EIO');
    expect(await read('app/config')).toBe('new');
    expect(logText()).toMatch(/"code":"ERR_DIGEST_MISMATCH"/);
    expect(registry.requestsFor(LOWEST)).toBe(requests);
  });

  test('without any bytes, who waits is freed with EIO at the read deadline, and waits anew (P8)', async () => {
    registry.hold(LOWEST);
    const args = ['mount', '--no-wait', '--read-timeout', '0.5', registry.image, place];
    expect(await peel(...args)).toMatchObject({ status: 0 });
    expect(await read('app/data')).toBe('EIO');
    expect(logText()).toMatch(/"code":"ERR_DEADLINE".*no bytes of any layer came for/);
    registry.release(LOWEST);
    await expect.poll(() => read('app/data'), POLL).toBe('lower');
  });

  test('TERM unmounts while layers are missing, and whoever waits gets EIO', async () => {
    registry.hold(LOWEST);
    expect(await peel('mount', '--no-wait', registry.image, place)).toMatchObject({ status: 0 });
    const waiting = read('app/data');
    await untilWaiting(1);
    process.kill(server()?.pid ?? 0, 'SIGTERM');
    expect(await waiting).toBe('EIO');
    await expect.poll(isMounted, POLL).toBe(false);
    await expect.poll(server, POLL).toBeUndefined();
  });

  test('peel umount --lazy while somebody waits detaches it, and the waiter still gets the answer', async () => {
    registry.hold(LOWEST);
    expect(await peel('mount', '--no-wait', registry.image, place)).toMatchObject({ status: 0 });
    const waiting = read('app/data');
    await untilWaiting(1);
    expect(await peel('umount', '--lazy', place)).toMatchObject({ status: 0 });
    expect(isMounted()).toBe(false);
    registry.release(LOWEST);
    expect(await waiting).toBe('lower');
    await expect.poll(server, POLL).toBeUndefined();
  });

  test('prints the mount point at once in the foreground, too', async () => {
    registry.hold(LOWEST);
    const mounting = start('mount', '-f', '--no-wait', registry.image, place);
    await expect.poll(isMounted, POLL).toBe(true);
    expect(await read('app/config')).toBe('new');
    registry.release(LOWEST);
    expect(await read('app/data')).toBe('lower');
    mounting.kill('SIGTERM');
    expect(await mounting.done).toMatchObject({ status: 0, stdout: `${place}\n` });
  });

  test.each([
    ['--transport', 'fuse-native'],
    ['--symlinks', 'contain'],
  ])('is refused with %s %s, which show whole images alone', async (flag, value) => {
    const refused = await peel('mount', '--no-wait', flag, value, registry.image, place);
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    expect(refused.stderr).toContain(`--no-wait: ${flag} ${value} shows nothing before all layers are known`);
  });
});
