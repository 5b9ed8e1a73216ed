/** B1: members of one name, links in every direction, whiteouts in strange places: what tree they make. */
import { rawMember, tarOf } from '../../support/raw-tar.ts';
import { INVALID, type MadeCase } from './made-case.ts';

const TYPES = [
  ['file', '0'],
  ['dir', '5'],
  ['symlink', '2'],
  ['hardlink', '1'],
  ['char', '3'],
  ['fifo', '6'],
] as const;

const member = (name: string, type: string, link = 'other'): Buffer =>
  rawMember({ name, type, ...(type === '1' || type === '2' ? { link } : {}) });

/** The last one of a name counts, and what stood below it is gone with it. */
const CONFUSIONS: readonly MadeCase[] = TYPES.flatMap(([first, firstFlag]) =>
  TYPES.map(([second, secondFlag]): MadeCase => {
    const isInside = first === 'dir' ? [member('a/inside', '0')] : [];
    const a =
      second === 'hardlink'
        ? 'file /a names=2'
        : second === 'symlink'
          ? 'symlink /a -> other'
          : `${second} /a`;
    return {
      name: `a name that is a ${first}, then a ${second}`,
      form: 'tree',
      bytes: tarOf(member('other', '0'), member('a', firstFlag), ...isInside, member('a', secondFlag)),
      expected: [
        'dir /',
        a,
        ...(first === 'dir' && second === 'dir' ? ['file /a/inside'] : []),
        `file /other${second === 'hardlink' ? ' names=2' : ''}`,
      ],
    };
  }),
);

type Line = readonly [name: string, type: string, link?: string];

const TREES: readonly (readonly [string, readonly Line[], string | readonly string[]])[] = [
  ['a hard link to itself', [['a', '1', 'a']], INVALID],
  ['a hard link to nothing', [['a', '1', 'b']], INVALID],
  [
    'a hard link to a directory',
    [
      ['d', '5'],
      ['a', '1', 'd'],
    ],
    INVALID,
  ],
  ['a hard link to the root', [['a', '1', '/']], INVALID],
  [
    'hard links to each other',
    [
      ['a', '1', 'b'],
      ['b', '1', 'a'],
    ],
    INVALID,
  ],
  [
    'a hard link to a later file',
    [
      ['a', '1', 'b'],
      ['b', '0'],
    ],
    ['dir /', 'file /a names=2', 'file /b names=2'],
  ],
  [
    'a hard link to a hard link',
    [
      ['a', '0'],
      ['b', '1', 'a'],
      ['c', '1', 'b'],
    ],
    ['dir /', 'file /a names=3', 'file /b names=3', 'file /c names=3'],
  ],
  [
    'a hard link to a symbolic link',
    [
      ['a', '2', 'x'],
      ['b', '1', 'a'],
    ],
    ['dir /', 'symlink /a -> x names=2', 'symlink /b -> x names=2'],
  ],
  [
    'a hard link to a device',
    [
      ['a', '3'],
      ['b', '1', 'a'],
    ],
    ['dir /', 'char /a names=2', 'char /b names=2'],
  ],
  [
    'a hard link out of the image',
    [
      ['a', '0'],
      ['b', '1', '../../a'],
    ],
    ['dir /', 'file /a names=2', 'file /b names=2'],
  ],
  [
    'a hard link by an absolute path',
    [
      ['a', '0'],
      ['b', '1', '/a'],
    ],
    ['dir /', 'file /a names=2', 'file /b names=2'],
  ],
  [
    'a hard link through a symbolic link',
    [
      ['d', '5'],
      ['d/a', '0'],
      ['l', '2', 'd'],
      ['b', '1', 'l/a'],
    ],
    ['dir /', 'file /b names=2', 'dir /d', 'file /d/a names=2', 'symlink /l -> d'],
  ],
  [
    'a hard link with its target in its own place',
    [
      ['a', '0'],
      ['a', '1', 'a'],
    ],
    INVALID,
  ],
  ['a symbolic link to itself', [['a', '2', 'a']], ['dir /', 'symlink /a -> a']],
  [
    'a symbolic link to itself as a parent',
    [
      ['a', '2', 'a'],
      ['a/b', '0'],
    ],
    INVALID,
  ],
  [
    'two symbolic links in a loop as a parent',
    [
      ['a', '2', 'b'],
      ['b', '2', 'a'],
      ['a/x', '0'],
    ],
    INVALID,
  ],
  [
    'a loop through a directory as a parent',
    [
      ['d', '5'],
      ['d/a', '2', '../d/a'],
      ['d/a/x', '0'],
    ],
    INVALID,
  ],
  [
    'a parent that leads out of the image',
    [
      ['l', '2', '../../../etc'],
      ['l/passwd', '0'],
    ],
    ['dir /', 'dir /etc', 'file /etc/passwd', 'symlink /l -> ../../../etc'],
  ],
  [
    'a parent that leads to an absolute path',
    [
      ['l', '2', '/etc'],
      ['l/passwd', '0'],
    ],
    ['dir /', 'dir /etc', 'file /etc/passwd', 'symlink /l -> /etc'],
  ],
  [
    'a parent that leads to the root',
    [
      ['l', '2', '/'],
      ['l/x', '0'],
    ],
    ['dir /', 'symlink /l -> /', 'file /x'],
  ],
  [
    'a parent that leads to the folder above',
    [
      ['d', '5'],
      ['d/l', '2', '..'],
      ['d/l/x', '0'],
    ],
    ['dir /', 'dir /d', 'symlink /d/l -> ..', 'file /x'],
  ],
  [
    'a file as a parent',
    [
      ['a', '0'],
      ['a/b', '0'],
    ],
    ['dir /', 'dir /a', 'file /a/b'],
  ],
  [
    'a device as a parent',
    [
      ['a', '3'],
      ['a/b', '0'],
    ],
    ['dir /', 'dir /a', 'file /a/b'],
  ],
  ['a file in place of the root', [['.', '0']], INVALID],
  ['a symbolic link in place of the root', [['.', '2', 'x']], INVALID],
  [
    'a hard link in place of the root',
    [
      ['x', '0'],
      ['/', '1', 'x'],
    ],
    INVALID,
  ],
  [
    'the root twice',
    [
      ['./', '5'],
      ['/', '5'],
    ],
    ['dir /'],
  ],
  ['an empty whiteout', [['.wh.', '0']], INVALID],
  ['a whiteout of "."', [['.wh..', '0']], INVALID],
  ['a whiteout of ".."', [['d/.wh...', '0']], INVALID],
  ['a whiteout of nothing', [['.wh.x', '0']], ['dir /']],
  [
    'a whiteout that is a directory',
    [
      ['.wh.x', '5'],
      ['x', '0'],
    ],
    ['dir /', 'file /x'],
  ],
  [
    'a whiteout that is a symbolic link',
    [
      ['.wh.x', '2', '/etc'],
      ['x', '0'],
    ],
    ['dir /', 'file /x'],
  ],
  [
    'a whiteout that is a hard link to nothing',
    [
      ['.wh.x', '1', 'y'],
      ['x', '0'],
    ],
    ['dir /', 'file /x'],
  ],
  [
    'a whiteout of a name of its own layer',
    [
      ['x', '0'],
      ['.wh.x', '0'],
    ],
    ['dir /', 'file /x'],
  ],
  ['a whiteout of a whiteout', [['.wh..wh.x', '0']], ['dir /']],
  [
    'AUFS metadata',
    [
      ['.wh..wh.aufs', '0'],
      ['.wh..wh.plnk/', '5'],
      ['.wh..wh.orph/', '5'],
    ],
    ['dir /'],
  ],
  [
    'an opaque marker in the root',
    [
      ['x', '0'],
      ['.wh..wh..opq', '0'],
    ],
    ['dir /', 'file /x'],
  ],
  [
    'an opaque marker below a file',
    [
      ['f', '0'],
      ['f/.wh..wh..opq', '0'],
    ],
    ['dir /', 'file /f'],
  ],
  ['a whiteout as a directory in a path', [['.wh.d/x', '0']], ['dir /', 'dir /.wh.d', 'file /.wh.d/x']],
  [
    'a whiteout through a loop of links',
    [
      ['a', '2', 'a'],
      ['a/.wh.x', '0'],
    ],
    ['dir /', 'symlink /a -> a'],
  ],
];

export const TAR_TREES: readonly MadeCase[] = [
  ...CONFUSIONS,
  ...TREES.map(
    ([name, lines, expected]): MadeCase => ({
      name: `${name}, as a tree`,
      form: 'tree',
      bytes: tarOf(...lines.map(([path, type, link]) => member(path, type, link))),
      expected,
    }),
  ),
];
