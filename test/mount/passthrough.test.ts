/** `peel mount --passthrough`: large files that the kernel reads from backing files of the cache by itself. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { whyNoPassthrough } from '../../src/fuse/preflight.ts';
import { sha256Hex } from '../support/digests.ts';
import { member, writeLayout } from '../support/image-layout.ts';
import { closeMounts, python, run, whyNoMounts } from '../support/mount-child.ts';
import { MountCommand } from '../support/mount-command.ts';

const LARGE = Buffer.alloc(5_000_000);
for (let at = 0; at + 4 <= LARGE.length; at += 4)
  LARGE.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> (at % 13), at);
const SMALL = LARGE.subarray(0, 1024 * 1024 - 1);
/** Over a MiB, and linked to what every host has. */
const PROGRAM = '/usr/bin/python3';
const RIGHT = sha256Hex(LARGE);
const DEADLINE = { timeout: 15_000 };

/** Read through the kernel, but not from the pages that it kept of the mount. */
const SHA = `import hashlib, json, os, sys
def sha(name):
    f = open(name, "rb")
    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return hashlib.sha256(f.read()).hexdigest()
`;

const why = whyNoMounts() ?? whyNoPassthrough();

describe.skipIf(why !== undefined)('a large file on a mount with --passthrough', () => {
  let command: MountCommand;
  let layerFolder = '';
  let image = '';
  const mounts: string[] = [];
  const at = (name: string): string => path.join(command.place, name);
  const backings = (): string[] => readdirSync(layerFolder).filter((name) => name.startsWith('file-'));
  const passed = async (): Promise<number> => (await command.requests())['passthrough'] ?? 0;
  const shaOf = (name: string): Promise<unknown> =>
    python(`${SHA}print(json.dumps(sha(sys.argv[1])))`, at(name));

  /** Opens the file until an open is passed through. */
  async function untilPassed(name = 'large', right = RIGHT): Promise<void> {
    const before = await passed();
    await expect
      .poll(async () => {
        expect(await shaOf(name)).toBe(right);
        return passed();
      }, DEADLINE)
      .toBeGreaterThan(before);
  }

  beforeEach(async () => {
    command = new MountCommand();
    const layout = path.join(command.home, 'layout');
    const { layers } = writeLayout(layout, {
      layers: [
        [
          member('large', { content: LARGE }),
          member('small', { content: SMALL }),
          member('program', { content: readFileSync(PROGRAM), mode: 0o755 }),
        ],
      ],
    });
    image = `oci:${layout}`;
    layerFolder = command.layerFolder(layers[0]?.digest ?? '');
  });

  afterEach(async () => {
    await command.end('SIGKILL');
    for (const place of mounts.splice(0).reverse()) await run('umount', ['-l', place]);
    await closeMounts();
  });

  test('is read past the server once it has a backing file, by read, mmap and O_DIRECT; small files are not', async () => {
    await command.start(image, ['--passthrough']);
    await untilPassed();
    const before = await command.requests();
    const answer = await python(
      `${SHA}import mmap
name = sys.argv[1]
f = os.open(name, os.O_RDONLY)
mapped = mmap.mmap(f, 0, prot=mmap.PROT_READ)
direct = os.open(name, os.O_RDONLY | os.O_DIRECT)
room = mmap.mmap(-1, 4096)
got = os.preadv(direct, [room], 8192)
print(json.dumps([sha(name), hashlib.sha256(mapped).hexdigest(), hashlib.sha256(room[:got]).hexdigest()]))`,
      at('large'),
    );
    expect(answer).toEqual([RIGHT, RIGHT, sha256Hex(LARGE.subarray(8192, 8192 + 4096))]);
    const after = await command.requests();
    expect(after['read']).toBe(before['read']);
    expect(after['passthrough']).toBe((before['passthrough'] ?? 0) + 3);

    for (let round = 0; round < 3; round += 1) expect(await shaOf('small')).toBe(sha256Hex(SMALL));
    expect(backings().length).toBe(1);
    expect(await passed()).toBe(after['passthrough']);
  });

  test('can be executed, before and after it has a backing file', async () => {
    await command.start(image, ['--passthrough']);
    const runIt = async (): Promise<number> => {
      expect(await run(at('program'), ['-c', 'print(6 * 7)'])).toMatchObject({ status: 0, stdout: '42\n' });
      return passed();
    };
    expect(await runIt()).toBe(0);
    await expect.poll(runIt, DEADLINE).toBeGreaterThan(0);
  });

  test('stays readable where it is open: through cache prune --all, and without the server', async () => {
    await command.start(image, ['--passthrough']);
    await untilPassed();
    const done = path.join(command.home, 'done');
    const reader = python(
      `${SHA}import time
f = open(sys.argv[1], "rb")
seen = []
for step in ("opened", "pruned", "killed"):
    while not os.path.exists(sys.argv[2] + "-" + step): time.sleep(0.01)
    f.seek(0)
    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    seen.append(hashlib.sha256(f.read()).hexdigest())
    open(sys.argv[2] + "-" + step + "-read", "w")
print(json.dumps(seen))`,
      at('large'),
      done,
    );
    const step = async (name: string): Promise<void> => {
      writeFileSync(`${done}-${name}`, '');
      await expect
        .poll(() => readdirSync(command.home), DEADLINE)
        .toContain(path.basename(`${done}-${name}-read`));
    };
    await step('opened');
    expect(await command.peel('cache', 'prune', '--all')).toMatchObject({ status: 0 });
    await step('pruned');
    // Another open of it is passed to the same file, which has no name any more: the kernel allows no other.
    const before = await passed();
    expect(await shaOf('large')).toBe(RIGHT);
    expect(await passed()).toBe(before + 1);
    await command.end('SIGKILL');
    await step('killed');
    expect(await reader).toEqual([RIGHT, RIGHT, RIGHT]);
  });

  test('gets a new backing file after its own was evicted', async () => {
    await command.start(image, ['--passthrough']);
    await untilPassed();
    expect(await command.peel('cache', 'prune', '--content')).toMatchObject({ status: 0 });
    expect(backings()).toEqual([]);
    await untilPassed();
    expect(backings().length).toBe(1);
  });

  test.each([
    ['in the middle', 2_500_000],
    ['at its start, which no span holds alone', 10],
    ['at its end', LARGE.length - 1],
  ])(
    'is right though its backing file was damaged %s before this mount, and gets another',
    async (_where, byte) => {
      await command.start(image, ['--passthrough']);
      await untilPassed();
      await command.end('SIGTERM');
      const [name = ''] = backings();
      const file = path.join(layerFolder, name);
      const damaged = Buffer.from(LARGE);
      damaged[byte] = (damaged[byte] ?? 0) ^ 1;
      chmodSync(file, 0o600);
      writeFileSync(file, damaged);

      await command.start(image, ['--passthrough']);
      await untilPassed();
      expect(sha256Hex(readFileSync(file))).toBe(RIGHT);
      expect(command.said).toContain('a damaged part of the cache was removed');
    },
  );

  test('is not read from another file that was put in the place of its backing file', async () => {
    await command.start(image, ['--passthrough']);
    await untilPassed();
    const [name = ''] = backings();
    const file = path.join(layerFolder, name);
    rmSync(file);
    writeFileSync(file, Buffer.alloc(LARGE.length, 'x'), { mode: 0o400 });
    await untilPassed();
    expect(sha256Hex(readFileSync(file))).toBe(RIGHT);
  });

  test('is right in every open of many readers while backing files come and go', async () => {
    await command.start(image, ['--passthrough']);
    const readers = python(
      `${SHA}import random, subprocess
one = """
import hashlib, os, random, sys
bad = 0
for turn in range(150):
    with open(sys.argv[1], "rb", buffering=0) as f:
        if turn % 10 == 0: bad += hashlib.sha256(f.read()).hexdigest() != sys.argv[2]
        else: f.seek(random.randrange(4000000)); f.read(5000)
print(bad)
"""
jobs = [subprocess.Popen([sys.executable, "-c", one, *sys.argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(6)]
print(json.dumps([job.communicate()[0].decode() for job in jobs]))`,
      at('large'),
      RIGHT,
    );
    const over = new AbortController();
    const pruning = (async () => {
      while (!over.signal.aborted) await command.peel('cache', 'prune', '--content');
    })();
    try {
      expect(await readers).toEqual(Array.from({ length: 6 }, () => '0\n'));
    } finally {
      over.abort();
      await pruning;
    }
    await untilPassed();
  });

  test('is right through a kernel overlayfs that has the mount as its lower', async () => {
    await command.start(image, ['--passthrough']);
    await untilPassed();
    const [upper, work, merged] = ['upper', 'work', 'merged'].map((name) => path.join(command.home, name));
    for (const folder of [upper, work, merged]) mkdirSync(folder ?? '');
    const options = `lowerdir=${command.place},upperdir=${upper},workdir=${work}`;
    const mounted = await run('mount', ['-t', 'overlay', 'overlay', '-o', options, merged ?? '']);
    expect(mounted).toMatchObject({ status: 0, stderr: '' });
    mounts.push(merged ?? '');
    const before = await command.requests();
    const answer = await python(
      `${SHA}import mmap, subprocess
top = sys.argv[1] + "/"
f = open(top + "large", "rb")
mapped = hashlib.sha256(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)).hexdigest()
with open(top + "large", "ab") as changed: changed.write(b"!")
said = subprocess.run([top + "program", "-c", "print(1)"], stdout=subprocess.PIPE).stdout.decode()
print(json.dumps([mapped, os.path.getsize(top + "large"), said]))`,
      merged ?? '',
    );
    expect(answer).toEqual([RIGHT, LARGE.length + 1, '1\n']);
    const after = await command.requests();
    expect(after['passthrough']).toBeGreaterThan(before['passthrough'] ?? 0);
    expect(await shaOf('large')).toBe(RIGHT);
  });

  test('leaves no descriptor open in the server, and no room taken after it was evicted and closed', async () => {
    const cache = path.join(command.home, 'cache');
    await run('mount', ['-t', 'tmpfs', 'tmpfs', '-o', 'mode=0700,size=100m', cache]);
    mounts.push(cache);
    const free = (): number => statfsSync(cache).bfree;
    const descriptors = (): number => readdirSync(`/proc/${command.pid}/fd`).length;
    await command.start(image, ['--passthrough']);
    await untilPassed();
    const before = descriptors();
    for (let round = 0; round < 3; round += 1) await untilPassed();
    expect(descriptors()).toBe(before);
    const taken = free();
    await command.peel('cache', 'prune', '--content');
    const blocks = (2 * LARGE.length) / statfsSync(cache).bsize;
    await expect.poll(() => free() - taken, DEADLINE).toBeGreaterThan(blocks * 0.95);
  });

  test('is read through the server, with one warning, where the cache lies on an overlayfs', async () => {
    const cache = path.join(command.home, 'cache');
    const base = path.join(command.home, 'base');
    mkdirSync(base);
    await run('mount', ['-t', 'tmpfs', 'tmpfs', base]);
    mounts.push(base);
    for (const name of ['lower', 'upper', 'work']) mkdirSync(path.join(base, name), { mode: 0o700 });
    const options = `lowerdir=${base}/lower,upperdir=${base}/upper,workdir=${base}/work`;
    expect(await run('mount', ['-t', 'overlay', 'overlay', '-o', options, cache])).toMatchObject({
      status: 0,
    });
    mounts.push(cache);
    await command.start(image, ['--passthrough']);
    await expect
      .poll(async () => {
        expect(await shaOf('large')).toBe(RIGHT);
        return command.said;
      }, DEADLINE)
      .toContain('ELOOP');
    for (let round = 0; round < 3; round += 1) expect(await shaOf('large')).toBe(RIGHT);
    expect(command.said.match(/no passthrough for/g)?.length).toBe(1);
    expect(await passed()).toBe(0);
  });
});
