// Small stored trees for the fuzzer to begin with: `node scripts/fuzz-trees.mjs COMPILED FOLDER`, where COMPILED is
// src/ as JavaScript.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [compiled, folder] = process.argv.slice(2);
if (compiled === undefined || folder === undefined) throw new Error('usage: fuzz-trees.mjs COMPILED FOLDER');

const part = (name) => import(pathToFileURL(path.resolve(compiled, 'tree', name)).href);
const { encodeTree } = await part('encode-tree.js');
const { mergeLayers } = await part('merge.js');

function entry(name, type, fields = {}) {
  return {
    path: name,
    type,
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtimeSec: 1,
    mtimeNsec: 0,
    dataOffset: 0,
    ...fields,
  };
}

const xattrs = new Map([
  ['user.a', Buffer.from('1')],
  ['user.b', Buffer.alloc(0)],
]);
const pieces = [
  { offset: 1, length: 2 },
  { offset: 10, length: 5 },
];

/** Layers, lowest first. */
const STACKS = {
  empty: [],
  file: [[entry('f', 'file', { size: 9 })]],
  nested: [[entry('a/b/c/d', 'dir'), entry('a/b/x', 'dir')]],
  links: [
    [
      entry('f', 'file'),
      entry('g', 'hardlink', { target: 'f' }),
      entry('s', 'symlink', { target: 'f', size: 1 }),
    ],
  ],
  devices: [
    [entry('c', 'char', { rdev: [1, 3] }), entry('b', 'block', { rdev: [8, 0] }), entry('p', 'fifo')],
  ],
  sparse: [[entry('s', 'file', { size: 20, sparse: pieces }), entry('t', 'file', { size: 5, sparse: [] })]],
  attributes: [[entry('x', 'file', { xattrs }), entry('y', 'dir', { xattrs })]],
  layers: [[entry('d/1', 'file')], [entry('d/2', 'file')], [entry('d/3', 'file')]],
  warning: [[entry('a', 'file'), entry('a/b', 'file')]],
  everything: [
    [
      entry('d/f', 'file', { size: 9, xattrs }),
      entry('d/g', 'hardlink', { target: 'd/f' }),
      entry('s', 'symlink', { target: 'd/f', size: 3 }),
      entry('c', 'char', { rdev: [4095, 1_048_575] }),
      entry('h', 'file', { size: 20, sparse: pieces }),
      entry('n'.repeat(255), 'dir'),
    ],
  ],
  wide: [Array.from({ length: 40 }, (_, index) => entry(`n${index}`, 'file'))],
};

mkdirSync(folder, { recursive: true });
for (const [name, layers] of Object.entries(STACKS)) {
  writeFileSync(path.join(folder, name), encodeTree(mergeLayers(layers), Buffer.alloc(32)));
}
