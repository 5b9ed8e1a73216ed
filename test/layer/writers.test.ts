/**
 * Real files, packed by programs that other people use, against what lstat says of them: whatever dialect the
 * writer chose, the entry is the file.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Entry } from '../../src/layer/toc.ts';
import { contentOf, tocOfBlob } from '../support/layer-toc.ts';
import { useSharedTempDirs } from '../support/temp-dirs.ts';

const DEADLINE = { timeout: 20_000 };
const isRoot = process.geteuid?.() === 0;
const LONG = 'l'.repeat(120);

const folder = useSharedTempDirs()();
/** What every dialect can hold. */
let plain = '';
/** And long names, long targets, large owners. */
let full = '';

beforeAll(() => {
  plain = path.join(folder, 'plain');
  full = path.join(folder, 'full');
  fill(plain);
  fill(full);
  const at = (name: string): string => path.join(full, name);
  mkdirSync(at(`dir/${LONG}`), { recursive: true });
  writeFileSync(at(`dir/${LONG}/${LONG}`), 'deep');
  symlinkSync(`${LONG}/${LONG}`, at('long-link'));
  if (isRoot) execFileSync('chown', ['3000000:4000000', at('empty')], DEADLINE);
});

function fill(source: string): void {
  mkdirSync(path.join(source, 'dir'), { recursive: true });
  const at = (name: string): string => path.join(source, name);
  writeFileSync(at('file'), 'content');
  writeFileSync(at('empty'), '');
  writeFileSync(Buffer.from(`${at('byte-')}\xe4\xff`, 'latin1'), 'not UTF-8');
  writeFileSync(at('umlaut-ü'), 'UTF-8');
  writeFileSync(at('new\nline'), 'x');
  writeFileSync(at('setuid'), 'x');
  chmodSync(at('setuid'), 0o6755);
  chmodSync(at('dir'), 0o1777);
  symlinkSync('file', at('link'));
  linkSync(at('file'), at('hard'));
  execFileSync('mkfifo', [at('pipe')], DEADLINE);
  if (isRoot) {
    execFileSync('mknod', [at('null'), 'c', '1', '3'], DEADLINE);
    execFileSync('mknod', [at('disk'), 'b', '256', '1000'], DEADLINE);
    execFileSync('chown', ['-h', '1000:2000', at('file'), at('link')], DEADLINE);
  }
  utimesSync(at('file'), 1_700_000_000, 1_700_000_000.123456);
  utimesSync(at('empty'), 1, 1);
  lutimesSync(at('link'), 5, 1_600_000_000);
}

const TYPES: Readonly<Record<number, Entry['type']>> = {
  0o10: 'file',
  0o04: 'dir',
  0o12: 'symlink',
  0o02: 'char',
  0o06: 'block',
  0o01: 'fifo',
};

function expectToBeTheFile(source: string, entry: Entry, tar: Buffer, hasNanoseconds: boolean): void {
  const at = Buffer.concat([Buffer.from(`${source}/`), Buffer.from(entry.path, 'latin1')]);
  const stat = lstatSync(at, { bigint: true });
  const mtime = [
    Number(stat.mtimeNs / 1_000_000_000n),
    hasNanoseconds ? Number(stat.mtimeNs % 1_000_000_000n) : 0,
  ];
  if (entry.type === 'hardlink') {
    const target = Buffer.concat([Buffer.from(`${source}/`), Buffer.from(entry.target ?? '', 'latin1')]);
    expect(lstatSync(target, { bigint: true }).ino).toBe(stat.ino);
    return;
  }
  expect({
    type: entry.type,
    mode: entry.mode,
    owner: [entry.uid, entry.gid],
    mtime: [entry.mtimeSec, entry.mtimeNsec],
    target: entry.target,
  }).toEqual({
    type: TYPES[Number(stat.mode) >> 12],
    mode: Number(stat.mode) & 0o7777,
    owner: [Number(stat.uid), Number(stat.gid)],
    mtime,
    target: stat.isSymbolicLink() ? readlinkSync(at, 'buffer').toString('latin1') : undefined,
  });
  if (stat.isFile()) expect(contentOf(tar, entry)).toEqual(readFileSync(at));
  if (stat.isSymbolicLink()) expect(entry.size).toBe(Number(stat.size));
  if (stat.isCharacterDevice() || stat.isBlockDevice()) {
    // As gnu_dev_major and gnu_dev_minor take it apart.
    const rdev = stat.rdev;
    expect(entry.rdev).toEqual([
      Number((rdev >> 8n) & 0xfffn),
      Number((rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n)),
    ]);
  }
}

describe('what GNU tar packs is what was there', () => {
  test.each(['v7', 'oldgnu', 'ustar', 'gnu', 'posix'])('in format %s', async (format) => {
    const source = format === 'gnu' || format === 'posix' ? full : plain;
    // v7 knows files, directories and links only.
    const types = format === 'v7' ? 'f,d,l' : 'f,d,l,p,c,b';
    const names = execFileSync(
      'find',
      [source, '-mindepth', '1', '-type', types, '-printf', '%P\\0'],
      DEADLINE,
    );
    const tar = execFileSync(
      'tar',
      [
        '-C',
        source,
        `--format=${format}`,
        '--no-recursion',
        '--null',
        '--verbatim-files-from',
        '-T',
        '-',
        '-cf',
        '-',
      ],
      { ...DEADLINE, input: names },
    );
    const { toc } = await tocOfBlob(tar);
    const listed = names
      .toString('latin1')
      .split('\0')
      .filter((name) => name !== '');
    expect(toc.entries.map((entry) => entry.path)).toEqual(listed);
    for (const entry of toc.entries) expectToBeTheFile(source, entry, tar, format === 'posix');
  });

  test('with extended attributes', async (context) => {
    const file = path.join(folder, 'attributes');
    writeFileSync(file, '');
    const name = 'user.peel';
    const script = `import os,sys; os.setxattr(sys.argv[1], '${name}', b'a\\x00\\nb')`;
    try {
      execFileSync('python3', ['-c', script, file], { ...DEADLINE, stdio: 'ignore' });
    } catch {
      context.skip('no user attributes on this file system');
    }
    const tar = execFileSync('tar', ['-C', folder, '--xattrs', '-cf', '-', 'attributes'], DEADLINE);
    const { toc } = await tocOfBlob(tar);
    expect(Object.fromEntries(toc.entries[0]?.xattrs ?? [])).toMatchObject({ [name]: Buffer.from('a\0\nb') });
  });
});

describe("what Python's tarfile packs is what was there", () => {
  test.each(['GNU_FORMAT', 'PAX_FORMAT'])('in %s', async (format) => {
    const tar = path.join(folder, 'python.tar');
    const script = `import tarfile,sys; t=tarfile.open(sys.argv[1],'w',format=tarfile.${format}); t.add(sys.argv[2],'.'); t.close()`;
    execFileSync('python3', ['-c', script, tar, full], DEADLINE);
    const { toc } = await tocOfBlob(readFileSync(tar));
    for (const entry of toc.entries) {
      // It writes times of PAX through a double, which does not hold nanoseconds.
      if (entry.path !== '') expectToBeTheFile(full, { ...entry, mtimeNsec: 0 }, readFileSync(tar), false);
    }
    expect(toc.entries.length).toBeGreaterThan(12);
  });
});
