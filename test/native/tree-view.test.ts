/**
 * The stored tree as C++ reads it, which is what a mount answers from: against the merged tree, and under changes, with
 * the address and undefined-behaviour sanitizers watching. And files mapped into Buffers.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { statisticsOf } from '../../src/filesystem/statistics.ts';
import { mapFile } from '../../src/native/system-calls.ts';
import { encodeTree } from '../../src/tree/encode-tree.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Node, Tree } from '../../src/tree/node.ts';
import { madeEntry, smallTree } from '../support/made-tree.ts';
import { randomStack } from '../support/random-stack.ts';
import { readLayer } from '../support/read-layer.ts';
import { writeTar } from '../support/tar-bytes.ts';

const NATIVE = path.resolve(import.meta.dirname, '..', '..', 'native');
const SOURCES = ['fuzz/tree_view_main.cc', 'fuzz/walk_tree.cc', 'tree_view.cc', 'tree_validator.cc'];
const COMPILER = process.env['CXX'] ?? 'g++';
const SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];

let folder = '';
let program = '';

function compile(sources: readonly string[], output: string): void {
  execFileSync(
    COMPILER,
    ['-std=c++17', '-O1', '-g', ...SANITIZERS, '-Wall', '-Wextra', '-Werror', ...sources, '-o', output],
    {
      timeout: 120_000,
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
}

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'peel-view-'));
  program = path.join(folder, 'tree_view');
  compile(
    SOURCES.map((source) => path.join(NATIVE, source)),
    program,
  );
}, 180_000);
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function run(bytes: Uint8Array, mode: 'dump' | 'mutate', ...rest: string[]) {
  const file = path.join(folder, 'tree');
  writeFileSync(file, bytes);
  const result = spawnSync(program, [mode, file, ...rest], {
    encoding: 'latin1',
    timeout: 120_000,
    maxBuffer: 64 * 1024 ** 2,
  });
  return { status: result.status, stdout: result.stdout, stderr: result.stderr };
}

/** What the program prints, from the merged tree. */
function linesOf(tree: Tree): string[] {
  const lines: string[] = [];
  const waiting: { at: string; node: Node }[] = [{ at: '', node: tree.root }];
  let layers = 0;
  let hasXattrs = false;
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { at, node } = next;
    layers = Math.max(layers, node.layer + 1);
    hasXattrs ||= node.xattrs !== undefined;
    const sparse = node.content?.sparse?.map(({ offset, length }) => `,${offset}+${length}`) ?? [];
    const xattrs = [...(node.xattrs ?? [])]
      .map(([name, value]) => `${escaped(name)}=${escaped(value.toString('latin1'))},`)
      .sort();
    const type = { file: 0o10, dir: 0o4, symlink: 0o12, char: 0o2, block: 0o6, fifo: 0o1 }[node.kind];
    lines.push(
      [
        at === '' ? '/' : at,
        node.ino,
        (type << 12) | node.mode,
        node.uid,
        node.gid,
        node.nlink,
        node.size,
        node.mtimeSec,
        node.mtimeNsec,
        node.layer,
        (node.implied ? 1 : 0) | (node.content?.sparse === undefined ? 0 : 2),
        node.target === undefined
          ? (node.rdev?.join(':') ?? `${node.content?.dataOffset ?? ''}${sparse.join('')}`)
          : escaped(node.target),
        xattrs.join(''),
      ].join('\t'),
    );
    for (const [name, child] of node.children ?? [])
      waiting.push({ at: `${at}/${escaped(name)}`, node: child });
  }
  const { blocks } = statisticsOf(tree);
  lines.push(`${tree.inodes} inodes, ${layers} layers, ${blocks} blocks, xattrs: ${hasXattrs ? 1 : 0}`);
  return lines.sort();
}

function escaped(text: string): string {
  return text.replaceAll(
    /[^\x21-\x7e]|\\/g,
    (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

function dumpOf(tree: Tree): string[] {
  const { status, stdout, stderr } = run(encodeTree(tree, Buffer.alloc(32)), 'dump');
  expect(status, stderr).toBe(0);
  return stdout.trimEnd().split('\n').sort();
}

describe('the tree as the mount sees it', () => {
  test('is the merged one, for every kind of node', () => {
    expect(dumpOf(smallTree())).toEqual(linesOf(smallTree()));
  });

  test('is the merged one for random stacks of layers', async () => {
    let compared = 0;
    for (let seed = 1; seed <= 25; seed += 1) {
      const { stack, isPoisoned } = randomStack(seed);
      if (isPoisoned) continue;
      const layers = await Promise.all(stack.map((members) => readLayer(writeTar(members).bytes)));
      const tree = mergeLayers(layers.map(({ entries }) => entries));
      expect(dumpOf(tree), `seed ${seed}`).toEqual(linesOf(tree));
      compared += 1;
    }
    expect(compared).toBeGreaterThan(10);
  });

  test('finds each of 20,000 names in one directory', () => {
    const names = Array.from({ length: 20_000 }, (_, index) => madeEntry(`d/${index * 7919}`, 'file'));
    const tree = mergeLayers([names]);
    expect(dumpOf(tree)).toEqual(linesOf(tree));
  });
});

describe('under the sanitizers', () => {
  test('20,000 changed trees are refused, or hold together', () => {
    const { status, stdout, stderr } = run(encodeTree(smallTree(), Buffer.alloc(32)), 'mutate', '1', '20000');
    expect(status, stderr).toBe(0);
    const [, refused, walked] = /^(\d+) refused, (\d+) walked\n$/.exec(stdout) ?? [];
    expect(Number(refused) + Number(walked)).toBe(20_000);
    expect(Number(refused)).toBeGreaterThan(1000);
    expect(Number(walked)).toBeGreaterThan(1000);
  });

  test('a planted read behind the end is seen: the sanitizers work', () => {
    const source = path.join(folder, 'planted.cc');
    writeFileSync(
      source,
      '#include <vector>\nint main(int n, char**) { std::vector<char> v(8); return v.data()[7 + n]; }\n',
    );
    const planted = path.join(folder, 'planted');
    compile([source], planted);
    const { status, stderr } = spawnSync(planted, { encoding: 'utf8', timeout: 30_000 });
    expect(status).not.toBe(0);
    expect(stderr).toContain('heap-buffer-overflow');
  });
});

describe('mapFile', () => {
  /** Maps `length` bytes of a file that holds `text`. */
  function mapped(text: string, length: number): Buffer {
    const file = path.join(folder, 'mapped');
    writeFileSync(file, text);
    const fd = openSync(file, 'r');
    try {
      return mapFile(fd, length);
    } finally {
      closeSync(fd);
    }
  }

  function errnoOf(work: () => unknown): unknown {
    try {
      work();
    } catch (error) {
      return isPeelError(error, 'ERR_IO') ? error.facts['errno'] : error;
    }
    return 'no error';
  }

  test('gives the bytes of a file, also when its descriptor is closed and its name is gone', () => {
    const bytes = mapped('0123456789'.repeat(1000), 10_000);
    rmSync(path.join(folder, 'mapped'));
    expect(bytes.toString()).toBe('0123456789'.repeat(1000));
    expect(mapped('abcdef', 3).toString()).toBe('abc');
  });

  test('refuses what is longer than the file: those pages would be fatal', () => {
    expect(errnoOf(() => mapped('abc', 4))).toBe('EINVAL');
    truncateSync(path.join(folder, 'mapped'), 0);
    expect(errnoOf(() => mapped('', 1))).toBe('EINVAL');
  });

  test('refuses what is no regular file, and no descriptor', () => {
    mkdirSync(path.join(folder, 'directory'));
    for (const file of ['/dev/zero', path.join(folder, 'directory')]) {
      const fd = openSync(file, constants.O_RDONLY);
      try {
        expect(errnoOf(() => mapFile(fd, 1))).toBe('EINVAL');
      } finally {
        closeSync(fd);
      }
    }
    expect(errnoOf(() => mapFile(2 ** 31 - 1, 1))).toBe('EBADF');
    for (const length of [0, -1, 1.5, Number.NaN, 2 ** 32]) {
      expect(() => mapFile(0, length), String(length)).toThrow(RangeError);
    }
  });

  test('gives memory back when the Buffer is garbage', () => {
    const script = path.join(folder, 'garbage.mjs');
    const addon = path.resolve(NATIVE, '..', 'build', 'Release', 'peel.node');
    writeFileSync(
      script,
      `import { createRequire } from 'node:module';
       import { openSync, readFileSync, writeFileSync } from 'node:fs';
       const { mapFile } = createRequire(import.meta.url)(${JSON.stringify(addon)});
       const file = process.argv[2];
       writeFileSync(file, Buffer.alloc(1 << 20, 1));
       const fd = openSync(file, 'r');
       for (let round = 0; round < 3000; round += 1) {
         if (mapFile(fd, 1 << 20)[0] !== 1) throw new Error('not mapped');
         if (round % 100 === 0) { globalThis.gc(); await new Promise(setImmediate); }
       }
       globalThis.gc();
       await new Promise((resolve) => setTimeout(resolve, 20));
       globalThis.gc();
       await new Promise(setImmediate);
       console.log(readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => line.includes(file)).length);`,
    );
    const left = execFileSync(process.execPath, ['--expose-gc', script, path.join(folder, 'many')], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    expect(Number(left)).toBeLessThan(300);
  });
});
