/** What the merge cases do not say: attributes, inode numbers, the order of links, layers that cannot be applied. */
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { PeelError } from '../../src/errors.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Node, Tree } from '../../src/tree/node.ts';
import { bytesOfText } from '../../src/units.ts';
import { DEFAULT_MTIME, parseLayer } from '../support/layer-cases.ts';
import { nodeAt, rowsOf } from '../support/listing.ts';
import { madeEntry } from '../support/made-tree.ts';
import { readLayer } from '../support/read-layer.ts';
import { writeTar } from '../support/tar-bytes.ts';
import { useTempDirs } from '../support/temp-dirs.ts';
import { rowsOnDisk, UmociLayout, umociProblem } from '../support/umoci.ts';

/** A tree from layers written as in the merge cases, lowest first. */
async function merge(...layers: readonly (readonly string[])[]): Promise<Tree> {
  const read = await Promise.all(layers.map((lines) => readLayer(writeTar(parseLayer(lines)).bytes)));
  return mergeLayers(read.map(({ entries }) => entries));
}

async function refusal(...layers: readonly (readonly string[])[]): Promise<PeelError> {
  const error = await merge(...layers).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(PeelError);
  return error as PeelError;
}

function pathsOf(tree: Tree): string[] {
  return rowsOf(tree, () => Buffer.alloc(0))
    .map((row) => row.path)
    .slice(1);
}

function attributesOf({ mode, uid, gid, mtimeSec }: Node): string {
  return `${mode.toString(8)} ${uid}:${gid} ${mtimeSec}`;
}

function inoOf(tree: Tree, at: string): number {
  return nodeAt(tree, at).ino;
}

describe('attributes', () => {
  test('E52: mode, owner and time of a hard link entry are ignored', async () => {
    const tree = await merge(['f foo=1 0644 u:1000:1000', 'h bar=>foo 0777 u:5:6 t:7.0']);
    expect(attributesOf(nodeAt(tree, '/bar'))).toBe(`644 1000:1000 ${DEFAULT_MTIME}`);
  });

  test('E56: implied directories have mode 0755, owner 0:0 and time 0, and say that they are implied', async () => {
    const tree = await merge(['f a/b/file=x 0600 u:1:2']);
    for (const at of ['/', '/a', '/a/b']) {
      expect(attributesOf(nodeAt(tree, at)), at).toBe('755 0:0 0');
      expect(nodeAt(tree, at).implied, at).toBe(true);
    }
    expect(nodeAt(tree, '/a/b/file').implied).toBe(false);
  });

  test('E57: a file from above leaves the attributes of the directories below as they are', async () => {
    const tree = await merge(['d d1/ 0700 u:7:8', 'd d1/a/ 0710', 'f d1/a/f=1'], ['f d1/a/f=2']);
    expect(attributesOf(nodeAt(tree, '/d1'))).toBe(`700 7:8 ${DEFAULT_MTIME}`);
    expect(attributesOf(nodeAt(tree, '/d1/a'))).toBe(`710 0:0 ${DEFAULT_MTIME}`);
    expect([nodeAt(tree, '/d1').layer, nodeAt(tree, '/d1/a/f').layer]).toEqual([0, 1]);
  });

  test('E58: a directory entry from above replaces all attributes, extended ones too, and keeps the children', async () => {
    const tree = await merge(
      ['d d/ 0755 x:user.old=1 x:user.both=1', 'f d/x=1'],
      ['d d/ 0700 u:1:1 t:5.25 x:user.both=2'],
    );
    const node = nodeAt(tree, '/d');
    expect(attributesOf(node)).toBe('700 1:1 5');
    expect([node.mtimeNsec, node.layer, node.implied]).toEqual([250_000_000, 1, false]);
    expect([...(node.xattrs ?? [])].map(([name, value]) => `${name}=${value.toString()}`)).toEqual([
      'user.both=2',
    ]);
    expect(pathsOf(tree)).toEqual(['/d', '/d/x']);
  });

  test('E59: an entry for the root, spelled ./ or /, sets its attributes', async () => {
    expect(attributesOf((await merge(['d ./ 0711 u:3:4', 'f a=1'])).root)).toBe(`711 3:4 ${DEFAULT_MTIME}`);
    const tree = await merge(['d ./ 0711 u:3:4', 'f a=1'], ['d / 0700 u:5:6']);
    expect(attributesOf(tree.root)).toBe(`700 5:6 ${DEFAULT_MTIME}`);
  });

  test('E10: an opaque marker alone leaves the attributes of the directory below', async () => {
    const tree = await merge(['d a/ 0700 u:1:2', 'f a/x=1'], ['f a/.wh..wh..opq 0600 u:9:9', 'f a/z=3']);
    expect(attributesOf(nodeAt(tree, '/a'))).toBe(`700 1:2 ${DEFAULT_MTIME}`);
  });

  test('E17: a directory that was hidden and is implied again is new, wherever the whiteout stands', async () => {
    for (const upper of [
      ['f .wh.d', 'f d/x=2'],
      ['f d/x=2', 'f .wh.d'],
    ]) {
      const tree = await merge(['d d/ 0700 u:1:2', 'f d/old=1'], upper);
      expect(pathsOf(tree)).toEqual(['/d', '/d/x']);
      expect(attributesOf(nodeAt(tree, '/d'))).toBe('755 0:0 0');
    }
  });

  test('E40, E227: nlink counts the visible names of a file and the subdirectories of a directory', async () => {
    const lower = ['d a/', 'f a/foo=foo', 'h a/bar=>a/foo', 'd a/s/', 'd a/t/', 'l a/u->s'];
    expect(nodeAt(await merge(lower), '/a/bar').nlink).toBe(2);
    const tree = await merge(lower, ['f a/.wh.foo', 'f a/.wh.t']);
    expect(nodeAt(tree, '/a/bar').nlink).toBe(1);
    expect([nodeAt(tree, '/a').nlink, tree.root.nlink]).toEqual([3, 3]);
  });

  test('E37: trusted attributes are not shown, and trusted.overlay.opaque hides nothing', async () => {
    const tree = await merge(
      ['d a/', 'f a/x=1'],
      [
        'd a/ x:trusted.overlay.opaque=y',
        'f a/y=2 x:trusted.secret=1 x:user.shown=2 x:security.capability=3',
      ],
    );
    expect(pathsOf(tree)).toEqual(['/a', '/a/x', '/a/y']);
    expect(nodeAt(tree, '/a').xattrs).toBeUndefined();
    expect([...(nodeAt(tree, '/a/y').xattrs?.keys() ?? [])].sort()).toEqual([
      'security.capability',
      'user.shown',
    ]);
  });

  test('a symbolic link has mode 0777, as lstat says of every one', async () => {
    expect(nodeAt(await merge(['l a->b 0644 u:1:2']), '/a').mode).toBe(0o777);
  });
});

describe('inode numbers', () => {
  const numbersOf = (tree: Tree): string[] =>
    rowsOf(tree, () => Buffer.alloc(0)).map((row) => `${row.path} ${inoOf(tree, row.path)}`);

  test('E226: the root is 1, then come entries from the top layer down; hard links across layers share theirs', async () => {
    const tree = await merge(['f z=1', 'd b/', 'f b/x=1', 'f B=2'], ['h b/a=>z', 'f a.b=1', 'f a=1']);
    expect(numbersOf(tree)).toEqual(['/ 1', '/B 8', '/a 4', '/a.b 3', '/b 6', '/b/a 5', '/b/x 7', '/z 5']);
    expect(tree.inodes).toBe(7);
  });

  test('E226: what an upper layer brings has the same number whatever lies below it', async () => {
    const upper = ['d d/', 'f d/x=1', 'f .wh.gone', 'h hard=>d/x', 'd d/', 'l link->d'];
    const alone = numbersOf(await merge([], upper));
    for (const lower of [
      ['f a=1', 'f gone=1'],
      ['d d/', 'f d/y=1', 'f z/implied=1'],
    ]) {
      expect(numbersOf(await merge(lower, upper))).toEqual(expect.arrayContaining(alone));
    }
  });

  test('E226: directories that no layer has an entry for are numbered behind all entries', async () => {
    const tree = await merge(['f a/b/c=1', 'f e=1'], ['f z/y=1', 'd z/']);
    expect(numbersOf(tree)).toEqual(['/ 1', '/a 6', '/a/b 7', '/a/b/c 4', '/e 5', '/z 3', '/z/y 2']);
  });

  test('names are sorted as bytes, not as text', async () => {
    const tree = await merge(['f \u{1f600}=1', 'f \uff5e=1', 'f z=1', 'f Z=1']);
    expect([...(tree.root.children?.keys() ?? [])]).toEqual(
      ['Z', 'z', '\uff5e', '\u{1f600}'].map((name) => bytesOfText(name)),
    );
  });

  test('every directory knows the one above, and the root itself', async () => {
    const tree = await merge(['f a/b/c=1']);
    expect(nodeAt(tree, '/a/b').parent).toBe(nodeAt(tree, '/a'));
    expect(nodeAt(tree, '/a').parent).toBe(tree.root);
    expect(tree.root.parent).toBe(tree.root);
    expect(nodeAt(tree, '/a/b/c').parent).toBeUndefined();
  });
});

/** Cases of our own, in the order that builders write; umoci has to agree with each one that it can unpack. */
const ORDER_CASES: readonly {
  readonly title: string;
  readonly layers: readonly (readonly string[])[];
  readonly paths: readonly string[];
  readonly umoci?: 'refuses' | 'differs';
}[] = [
  {
    title: 'an opaque marker in a directory that takes the place of a link spares what the link led to',
    layers: [
      ['d usr/', 'd usr/lib/', 'f usr/lib/libc=1', 'l lib->usr/lib'],
      ['d lib/', 'f lib/.wh..wh..opq', 'f lib/new=2'],
    ],
    paths: ['/lib', '/lib/new', '/usr', '/usr/lib', '/usr/lib/libc'],
  },
  {
    title: 'so does one that stands before its directory',
    layers: [
      ['d usr/', 'd usr/lib/', 'f usr/lib/libc=1', 'l lib->usr/lib'],
      ['f lib/.wh..wh..opq', 'd lib/', 'f lib/new=2'],
    ],
    paths: ['/lib', '/lib/new', '/usr', '/usr/lib', '/usr/lib/libc'],
    umoci: 'differs',
  },
  {
    title: 'a whiteout below a link that the layer writes again acts through it',
    layers: [
      ['d usr/', 'd usr/lib/', 'f usr/lib/gone=1', 'l lib->usr/lib'],
      ['l lib->usr/lib', 'f lib/.wh.gone', 'f lib/new=2'],
    ],
    paths: ['/lib', '/usr', '/usr/lib', '/usr/lib/new'],
  },
  {
    title: 'an opaque marker through a link empties the directory that it leads to (E26, E27)',
    layers: [
      ['d usr/', 'd usr/lib/', 'f usr/lib/gone=1', 'l lib->usr/lib'],
      ['f lib/.wh..wh..opq', 'f lib/new=2'],
    ],
    paths: ['/lib', '/usr', '/usr/lib', '/usr/lib/new'],
  },
  {
    title: 'a hard link before the whiteout of its target keeps the lower file (E45)',
    layers: [
      ['f foo=foo', 'd d/', 'f d/in=1'],
      ['h bar=>foo', 'f .wh.foo', 'h out=>d/in', 'f .wh.d'],
    ],
    paths: ['/bar', '/out'],
  },
  {
    title: 'also when the layer makes a new directory in the place of the old one first (E45)',
    layers: [
      ['d d/', 'f d/in=1'],
      ['f d/new=2', 'h out=>d/in', 'f .wh.d'],
    ],
    paths: ['/d', '/d/new', '/out'],
  },
  {
    title: 'a hard link to a later name binds to the old file when a whiteout comes after it (E47)',
    layers: [['f foo=old'], ['h bar=>foo', 'f .wh.foo', 'f foo=newer']],
    paths: ['/bar', '/foo'],
  },
  {
    title: 'hard links to hard links that come later are settled in any order (E46)',
    layers: [['h a=>b', 'h b=>c', 'h e=>a', 'f c=1', 'h d=>b']],
    paths: ['/a', '/b', '/c', '/d', '/e'],
    umoci: 'refuses',
  },
  {
    title: 'a later entry takes the name of a waiting hard link (E46, E53)',
    layers: [['h a=>late', 'f a=own', 'f late=1']],
    paths: ['/a', '/late'],
    umoci: 'refuses',
  },
  {
    title: 'a name through a link that the entry before, through the same link, took the place of (E25, E26)',
    layers: [['l a->.', 'f a/a=1', 'f a/b=2']],
    paths: ['/a', '/a/b'],
    umoci: 'refuses',
  },
  {
    title: 'a directory becomes a file between two entries in it, and a directory again (E25)',
    layers: [['d d/', 'f d/a=1', 'f d=2', 'f d/b=3']],
    paths: ['/d', '/d/b'],
    umoci: 'refuses',
  },
  {
    title: 'the first entry of a layer lies beside the last one of the layer below, in a folder that is gone',
    layers: [
      ['d d/', 'f d/a=1'],
      ['f d/b=2', 'f .wh.d'],
    ],
    paths: ['/d', '/d/b'],
  },
  {
    title: 'a dangling link as parent creates what it points to (E64)',
    layers: [['l le->/dne/deep'], ['f le/x=1']],
    paths: ['/dne', '/dne/deep', '/dne/deep/x', '/le'],
  },
  {
    title: '.. in a link takes a missing name back, then a real one, and stops at the root',
    layers: [['d a/', 'd a/b/', 'l a/b/l->../no/../../../../c'], ['f a/b/l/x=1']],
    paths: ['/a', '/a/b', '/a/b/l', '/c', '/c/x'],
  },
  {
    title: 'a whiteout hides a whole tree that the same layer builds anew',
    layers: [
      ['d d/', 'f d/a=1', 'd d/s/', 'f d/s/b=1'],
      ['f d/s/c=2', 'f .wh.d'],
    ],
    paths: ['/d', '/d/s', '/d/s/c'],
  },
  {
    title: 'whiteouts in one layer do not see each other: one through a link, one of the link',
    layers: [
      ['d etc/', 'f etc/w=x', 'l le->etc'],
      ['f le/.wh.w', 'f .wh.le'],
    ],
    paths: ['/etc'],
  },
  {
    title: 'the other way round too',
    layers: [
      ['d etc/', 'f etc/w=x', 'l le->etc'],
      ['f .wh.le', 'f le/.wh.w'],
    ],
    paths: ['/etc'],
    umoci: 'differs',
  },
  {
    title: 'AUFS metadata is skipped at any depth, with what is in its directories (E34)',
    layers: [
      ['d a/', 'f a/x=1'],
      ['f .wh..wh.aufs', 'd .wh..wh.orph/', 'f .wh..wh.orph/.wh.a=1', 'f a/.wh..wh.plnk=1', 'f a/y=1'],
    ],
    paths: ['/a', '/a/x', '/a/y'],
  },
];

describe('whiteouts and links in one layer', () => {
  const makeDir = useTempDirs();

  for (const { title, layers, paths, umoci } of ORDER_CASES) {
    test(title, async () => {
      expect(pathsOf(await merge(...layers))).toEqual(paths);
    });

    test.skipIf(umociProblem() !== undefined)(`${title}: umoci ${umoci ?? 'agrees'}`, async () => {
      const folder = makeDir();
      const layout = new UmociLayout(folder);
      layout.add(
        'image',
        layers.map((lines) => writeTar(parseLayer(lines)).bytes),
      );
      const target = path.join(folder, 'tree');
      const refused = await layout.unpack('image', target);
      const found = refused === undefined ? rowsOnDisk(target, new Map()).map((row) => row.path) : [];
      expect({ refused: refused !== undefined, agrees: found.slice(1).join() === paths.join() }).toEqual({
        refused: umoci === 'refuses',
        agrees: umoci === undefined,
      });
    });
  }

  test('E46: a hard link that came first is the same inode as its target', async () => {
    const tree = await merge(['h a=>b', 'h b=>c', 'h e=>a', 'f c=1', 'h d=>b']);
    expect(new Set(['/a', '/b', '/c', '/d', '/e'].map((at) => inoOf(tree, at))).size).toBe(1);
    expect(nodeAt(tree, '/c').nlink).toBe(5);
    expect(tree.warnings).toEqual(['layer 0: 4 hard links come before their targets']);
  });

  test('E46, E53: a waiting hard link whose name is taken later does not take it back', async () => {
    const tree = await merge(['h a=>late', 'f a=own', 'f late=1']);
    expect(inoOf(tree, '/a')).not.toBe(inoOf(tree, '/late'));
    expect(nodeAt(tree, '/late').nlink).toBe(1);
  });

  test('E35: links to the store of AUFS become files of their own with the attributes of the stored one', async () => {
    const tree = await merge([
      'd .wh..wh.plnk/',
      'f .wh..wh.plnk/101.65=data 0640 u:1:2',
      'h x=>.wh..wh.plnk/101.65 0777',
      'h y=>./.wh..wh.plnk/101.65',
    ]);
    expect(pathsOf(tree)).toEqual(['/x', '/y']);
    expect(inoOf(tree, '/x')).not.toBe(inoOf(tree, '/y'));
    expect(attributesOf(nodeAt(tree, '/x'))).toBe(`640 1:2 ${DEFAULT_MTIME}`);
    expect(tree.warnings).toEqual(['layer 0: skipped 2 entries with metadata of AUFS']);
  });

  test('E25: a file in the way of a deeper name becomes a directory, with a warning', async () => {
    const tree = await merge(['f nd=1'], ['f nd/foo/bar=2']);
    expect(tree.warnings).toEqual(['layer 1: a file in the way of "nd/foo/bar" becomes a directory']);
  });
});

describe('layers that cannot be applied', () => {
  const refused: readonly (readonly [string, readonly (readonly string[])[], string, string])[] = [
    [
      'E45: a hard link behind the whiteout of its target',
      [['f foo=1'], ['f .wh.foo', 'h bar=>foo']],
      'bar',
      '"foo"',
    ],
    ['E45: a hard link to nothing', [['h bar=>foo/x']], 'bar', '"foo/x"'],
    ['E51: a hard link to a directory', [['d d/'], ['h h=>d']], 'h', 'directory "d"'],
    ['E51: a hard link to a directory that comes later', [['h h=>d', 'd d/']], 'h', 'directory "d"'],
    ['E51: a hard link to the root', [['h h=>..']], 'h', 'directory ""'],
    ['a hard link to itself', [['f h=1'], ['h h=>h']], 'h', 'leads back'],
    ['hard links in a circle', [['h a=>b', 'h b=>c', 'h c=>a']], 'a', 'leads back'],
    ['a hard link to what it replaces', [['d d/', 'f d/x=1'], ['h d=>d/x']], 'd', '"d/x"'],
    ['E32: a whiteout of no name', [['f a/.wh.']], 'a/.wh.', 'no name'],
    ['E33: a whiteout of the directory itself', [['f a/.wh..']], 'a/.wh..', '"."'],
    ['E33: a whiteout of the directory above', [['f a/.wh...']], 'a/.wh...', '".."'],
    ['E63: a loop of links as parent', [['l a->b', 'l b->a'], ['f a/x=1']], 'a/x', '255'],
    ['E63: a loop of links as parent of a whiteout', [['l a->a'], ['f a/.wh.x']], 'a/.wh.x', '255'],
    ['E63: a loop of links on the way to the target of a hard link', [['l a->a', 'h h=>a/x']], 'h', '255'],
    [
      'a name too long for any disk, out of a link',
      [['d d/', `l d/l->${'n'.repeat(256)}`], ['f d/l/x=1']],
      'd/l/x',
      '256 bytes',
    ],
  ];
  for (const [title, layers, at, part] of refused) {
    test(`${title} is refused by layer and path`, async () => {
      const error = await refusal(...layers);
      expect(error.code).toBe('ERR_LAYER_INVALID');
      expect(error.facts).toEqual({ layer: layers.length - 1, path: at });
      expect(error.message).toContain(part);
      expect(error.message).toContain(`layer ${layers.length - 1}`);
    });
  }

  test('255 links in a row are followed, the 256th is not', async () => {
    const chain = (length: number) =>
      Array.from({ length }, (_, at) => `l l${at}->${at === length - 1 ? 'end' : `l${at + 1}`}`);
    expect(pathsOf(await merge(chain(255), ['f l0/x=1']))).toContain('/end/x');
    expect((await refusal(chain(256), ['f l0/x=1'])).code).toBe('ERR_LAYER_INVALID');
  });

  test('an entry that makes the root a file is refused', () => {
    expect(() => mergeLayers([[madeEntry('', 'file')]])).toThrow('layer 0: an entry makes the root a file');
  });

  test('B6: bytes of names that could steer a terminal are escaped in messages', async () => {
    const error = await refusal(['h \u001b]52;c=>"no\\such\u009b']);
    expect(error.message).toContain('"\\x1b]52;c"');
    expect(error.message).toContain('"\\x22no\\x5csuch\\xc2\\x9b"');
  });
});
