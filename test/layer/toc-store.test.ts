/** TOCs on disk: valid or a miss, whatever happened to the files (FAULTS X1, P12, F40, F41, F45). */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Toc } from '../../src/layer/toc.ts';
import { TOC_VERSION } from '../../src/layer/toc-format.ts';
import { type StoredToc, TOC_FILE, TocStore } from '../../src/layer/toc-store.ts';
import { WINDOWS_FILE } from '../../src/layer/windows-file.ts';
import type { Digest } from '../../src/units.ts';
import { fixedToc, windowsFor } from '../support/made-toc.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const makeDir = useTempDirs();
let root = '';
const opened: StoredToc[] = [];
const mounts: string[] = [];

beforeEach(() => {
  root = makeDir();
});
afterEach(async () => {
  for (const stored of opened.splice(0)) await stored.close();
  for (const mount of mounts.splice(0)) execFileSync('umount', [mount], { timeout: 10_000 });
});

const toc = fixedToc();
const windows = windowsFor(toc);

/** The same layer, indexed by a program that packs windows otherwise. */
const otherWindows = Buffer.from(windows.map((byte) => byte ^ 0xff));

function folderOf(digest: Digest = toc.digest): string {
  return path.join(root, 'layers', digest.slice('sha256:'.length));
}

function store(): TocStore {
  return new TocStore(folderOf);
}

async function load(digest: Digest = toc.digest): Promise<StoredToc | undefined> {
  const stored = await store().load(digest);
  if (stored !== undefined) opened.push(stored);
  return stored;
}

async function save(saved: Toc = toc, bytes: Buffer = windows): Promise<StoredToc> {
  const stored = await store().save(saved, bytes);
  opened.push(stored);
  return stored;
}

function file(name: string): string {
  return path.join(folderOf(), name);
}

async function expectWhole(stored: StoredToc | undefined, bytes: Buffer = windows): Promise<void> {
  if (stored === undefined) throw new Error('no stored TOC');
  expect(stored.toc).toEqual(toc);
  expect(await stored.readWindow(0)).toBeUndefined();
  expect(await stored.readWindow(1)).toEqual(bytes.subarray(0, 16));
}

describe('a stored TOC', () => {
  test('is what was saved, for the one who saved it and for the next process', async () => {
    await expectWhole(await save());
    await expectWhole(await load());
  });

  test('is private, and nothing is left beside its two files', async () => {
    await save();
    expect(readdirSync(folderOf()).sort()).toEqual([TOC_FILE, WINDOWS_FILE]);
    for (const name of [TOC_FILE, WINDOWS_FILE]) expect(statSync(file(name)).mode & 0o777).toBe(0o600);
    expect(statSync(folderOf()).mode & 0o777).toBe(0o700);
  });

  test('is absent before it was saved', async () => {
    expect(await load()).toBeUndefined();
  });

  test('survives its files: a reader that has it open reads on after the cache was cleared', async () => {
    const stored = await save();
    const loaded = await load();
    rmSync(root, { recursive: true });
    await expectWhole(stored);
    await expectWhole(loaded);
  });

  test('is replaced by a later one', async () => {
    await save(toc, otherWindows);
    await save();
    await expectWhole(await load());
  });

  test('closes twice, and gives no window after it', async () => {
    const stored = await save();
    await stored.close();
    await stored.close();
    await expect(stored.readWindow(1)).rejects.toMatchObject({ code: 'ERR_CACHE' });
    await expectWhole(await load());
  });

  test('asked for a checkpoint that it does not have, blames the caller', async () => {
    await expect((await save()).readWindow(2)).rejects.toThrow(RangeError);
  });

  test('clears what a dead process left in its folder an hour ago, not what a living one writes', async () => {
    mkdirSync(folderOf(), { recursive: true });
    const [old, young] = [file('.new-toc-1-aa'), file('.new-toc-2-bb')];
    for (const name of [old, young]) writeFileSync(name, 'half');
    const longAgo = Date.now() / 1000 - 2 * 3600;
    utimesSync(old, longAgo, longAgo);
    await save();
    expect(existsSync(old)).toBe(false);
    expect(existsSync(young)).toBe(true);
  });
});

describe('F45: a stored TOC counts as absent', () => {
  test('when either file is cut at any byte', async () => {
    await save();
    for (const name of [TOC_FILE, WINDOWS_FILE]) {
      const whole = readFileSync(file(name));
      for (let length = whole.length - 1; length >= 0; length--) {
        truncateSync(file(name), length);
        expect(await load(), `${name} of ${length} bytes`).toBeUndefined();
      }
      writeFileSync(file(name), whole);
    }
    await expectWhole(await load());
  });

  test('when a byte of the TOC or of the head of its windows changed', async () => {
    await save();
    for (const name of [TOC_FILE, WINDOWS_FILE]) {
      const whole = readFileSync(file(name));
      const end = name === WINDOWS_FILE ? 48 : whole.length;
      for (let at = 0; at < end; at += 3) {
        const damaged = Buffer.from(whole);
        damaged[at] = (damaged[at] ?? 0) ^ 0x10;
        writeFileSync(file(name), damaged);
        expect(await load(), `${name} at ${at}`).toBeUndefined();
      }
      writeFileSync(file(name), whole);
    }
    await expectWhole(await load());
  });

  test('when it is of an older or a newer version', async () => {
    await save();
    for (const version of [0, TOC_VERSION + 1]) {
      const body = readFileSync(file(TOC_FILE)).subarray(0, -32);
      body.writeUInt32LE(version, 8);
      writeFileSync(file(TOC_FILE), Buffer.concat([body, createHash('sha256').update(body).digest()]));
      expect(await load()).toBeUndefined();
    }
  });

  test('when it is that of another layer', async () => {
    await save();
    const other = `sha256:${'9'.repeat(64)}` as Digest;
    mkdirSync(path.dirname(folderOf(other)), { recursive: true });
    renameSync(folderOf(), folderOf(other));
    expect(await load(other)).toBeUndefined();
  });

  test('F42: when two processes wrote it at once and the files do not belong together', async () => {
    await save(toc, otherWindows);
    copyFileSync(file(WINDOWS_FILE), path.join(root, 'windows'));
    await save();
    copyFileSync(path.join(root, 'windows'), file(WINDOWS_FILE));
    expect(await load()).toBeUndefined();
  });

  test('F40: when power failed between its two files', async () => {
    await save();
    const tocBytes = readFileSync(file(TOC_FILE));
    await save(toc, otherWindows);
    writeFileSync(file(TOC_FILE), tocBytes);
    expect(await load()).toBeUndefined();
    rmSync(file(TOC_FILE));
    expect(await load()).toBeUndefined();
  });

  test('X1: when a file came back empty', async () => {
    await save();
    truncateSync(file(TOC_FILE), 0);
    expect(await load()).toBeUndefined();
  });
});

describe('F41: in the place of a file', () => {
  const intruders: readonly (readonly [string, (at: string) => void])[] = [
    ['a FIFO', (at) => execFileSync('mkfifo', [at], { timeout: 5000 })],
    ['a symbolic link', (at) => symlinkSync('/etc/hostname', at)],
    ['a symbolic link to a good file', (at) => symlinkSync(`${at}.good`, at)],
    ['a folder', (at) => mkdirSync(at)],
    [
      'a folder with files',
      (at) => {
        mkdirSync(at);
        writeFileSync(path.join(at, 'x'), 'x');
      },
    ],
    ['a device', (at) => symlinkSync('/dev/zero', at)],
  ];
  describe.each([TOC_FILE, WINDOWS_FILE])('%s', (name) => {
    test.each(intruders)(
      '%s is neither followed nor waited for, and gives way to the next save',
      async (_what, put) => {
        await save();
        renameSync(file(name), `${file(name)}.good`);
        put(file(name));
        expect(await load()).toBeUndefined();
        await expectWhole(await save());
        await expectWhole(await load());
      },
    );
  });

  test('F48: a file of another user is not believed', async (context) => {
    if (process.geteuid?.() !== 0) context.skip('only root can give files away');
    await save();
    execFileSync('chown', ['1', file(TOC_FILE)], { timeout: 5000 });
    expect(await load()).toBeUndefined();
  });
});

describe('a window', () => {
  test('that changed on disk is refused, and the next process indexes the layer again', async () => {
    await save();
    const damaged = readFileSync(file(WINDOWS_FILE));
    damaged[50] = (damaged[50] ?? 0) ^ 1;
    writeFileSync(file(WINDOWS_FILE), damaged);
    const stored = await load();
    await expect(stored?.readWindow(1)).rejects.toMatchObject({
      code: 'ERR_CACHE',
      facts: { layer: toc.digest, checkpoint: 1 },
    });
    expect(await load()).toBeUndefined();
  });

  test('that was cut off while the TOC was open is refused', async () => {
    const stored = await save();
    linkSync(file(WINDOWS_FILE), path.join(root, 'same'));
    truncateSync(path.join(root, 'same'), 55);
    await expect(stored.readWindow(1)).rejects.toMatchObject({ code: 'ERR_CACHE' });
  });
});

describe('P12: a cache that cannot be written', () => {
  test('leaves the TOC usable in memory (no folder can be made)', async () => {
    writeFileSync(path.join(root, 'layers'), 'a file');
    await expectWhole(await save());
    expect(await load()).toBeUndefined();
  });

  test('leaves the TOC usable in memory (a file system that answers ENOENT to every mkdir)', async () => {
    const stored = await new TocStore(() => '/proc/self/fdinfo/peel/layers').save(toc, windows);
    await expectWhole(stored);
    await stored.close();
  });

  test.for([
    ['ENOSPC', 'size=4k'],
    ['EROFS', 'ro'],
  ])('leaves the TOC usable in memory (%s)', async ([, options = ''], context) => {
    if (process.geteuid?.() !== 0) context.skip('only root can mount');
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', root], { timeout: 10_000 });
    mounts.push(root);
    const large = { ...toc, warnings: Array.from({ length: 3000 }, (_, n) => `warning ${n}`) };
    const stored = await save(large);
    expect(stored.toc).toBe(large);
    expect(await stored.readWindow(1)).toEqual(windows.subarray(0, 16));
    expect(await load()).toBeUndefined();
    await stored.close();
    const left = existsSync(folderOf()) ? readdirSync(folderOf()).filter((name) => name.startsWith('.')) : [];
    expect(left).toEqual([]);
  });
});

describe('X1: a power cut', () => {
  test('finds each file on disk before its name: fsync comes before rename, the folder after both', async (context) => {
    const trace = path.join(root, 'trace');
    const strace = spawn(
      'strace',
      ['-f', '-e', 'trace=fsync,fdatasync,rename,renameat,renameat2', '-o', trace, '-p', String(process.pid)],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const deadline = setTimeout(() => strace.kill('SIGKILL'), 20_000);
    const exited = once(strace, 'exit');
    try {
      const isAttached = await new Promise<boolean>((resolve) => {
        strace.once('error', () => resolve(false));
        strace.once('exit', () => resolve(false));
        strace.stderr.on('data', (text: Buffer) => {
          if (text.includes('attached')) resolve(true);
        });
      });
      if (!isAttached) context.skip('strace cannot attach here');
      await save();
    } finally {
      strace.kill('SIGINT');
      await exited.catch(() => undefined);
      clearTimeout(deadline);
    }
    const calls = readFileSync(trace, 'utf8')
      .split('\n')
      .flatMap((line) => /(fsync|fdatasync|rename)\w*\(/.exec(line)?.[1] ?? []);
    expect(calls).toEqual(['fsync', 'rename', 'fsync', 'rename', 'fsync']);
  });
});
