/**
 * What the upper layers say by themselves must be what the whole image says: random stacks, and the cases where a lower
 * layer changes the place of an upper entry.
 */
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { FileSystem } from '../../src/filesystem/filesystem.ts';
import { cleanPath } from '../../src/layer/clean-path.ts';
import type { Entry } from '../../src/layer/toc.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Node, Tree } from '../../src/tree/node.ts';
import { mergeUpperLayers } from '../../src/tree/upper-layers.ts';
import type { ByteString } from '../../src/units.ts';
import { parseLayer } from '../support/layer-cases.ts';
import { randomStack } from '../support/random-stack.ts';
import { readLayer } from '../support/read-layer.ts';
import { type Member, writeTar } from '../support/tar-bytes.ts';

const STACKS = 300;

async function entriesOf(stack: Parameters<typeof writeTar>[0][]): Promise<readonly (readonly Entry[])[]> {
  const layers = await Promise.all(stack.map((members) => readLayer(writeTar(members).bytes)));
  return layers.map(({ entries }) => entries);
}

/** Members as builders write them: every parent has an entry before what lies in it. */
function withParents(members: readonly Member[]): Member[] {
  const seen = new Set<string>();
  return members.flatMap((member) => {
    const components = cleanPath(member.name).split('/');
    const parents = components.map((_, depth) => components.slice(0, depth).join('/')).slice(1);
    const missing = parents.filter((parent) => !seen.has(parent));
    for (const name of [...parents, ...(member.type === 'dir' ? [cleanPath(member.name)] : [])])
      seen.add(name);
    return [...missing.map((name) => directory(`${name}/`)), member];
  });
}

function directory(name: string): Member {
  return parseLayer(['d x/']).map((member) => ({ ...member, name: name as ByteString }))[0] as Member;
}

const noContents = { read: () => Promise.reject(new Error('nothing is read here')) };

/** Every path of a tree but the root, with its node. */
function pathsOf(tree: Tree): [ByteString, Node][] {
  const found: [ByteString, Node][] = [];
  const walk = (node: Node, path: string): void => {
    for (const [name, child] of node.children ?? []) {
      found.push([`${path}/${name}` as ByteString, child]);
      if (child.kind === 'dir') walk(child, `${path}/${name}`);
    }
  };
  walk(tree.root, '');
  return found;
}

/** All that stat(2) and a read say. Of directories the link count is left out: below them more may come. */
function essenceOf(node: Node): object {
  const { ino, kind, mode, uid, gid, size, mtimeSec, mtimeNsec, target, xattrs, layer, implied, content } =
    node;
  const nlink = kind === 'dir' ? undefined : node.nlink;
  return {
    ino,
    kind,
    mode,
    uid,
    gid,
    size,
    mtimeSec,
    mtimeNsec,
    nlink,
    target,
    xattrs,
    layer,
    implied,
    content,
  };
}

describe('mergeUpperLayers', () => {
  test(`what it says of ${STACKS} random stacks holds in the whole image`, async () => {
    let compared = 0;
    for (let seed = 1; seed <= STACKS; seed += 1) {
      const { stack } = randomStack(seed);
      let layers: readonly (readonly Entry[])[];
      let whole: FileSystem;
      try {
        layers = await entriesOf(
          stack.map((members) => (seed % 4 === 0 ? [...members] : withParents(members))),
        );
        whole = new FileSystem(mergeLayers(layers), noContents);
      } catch (error) {
        expect(isPeelError(error)).toBe(true);
        continue;
      }
      for (let lowest = layers.length - 1; lowest > 0; lowest -= 1) {
        const tree = mergeUpperLayers(layers, lowest);
        for (const [path, node] of tree === undefined ? [] : pathsOf(tree)) {
          compared += 1;
          expect([seed, lowest, path, essenceOf(whole.resolve(path, { follow: false }))]).toEqual([
            seed,
            lowest,
            path,
            essenceOf(node),
          ]);
        }
      }
    }
    expect(compared).toBeGreaterThan(300);
  }, 60_000);

  const stackOf = (...layers: string[][]) => entriesOf(layers.map((lines) => parseLayer(lines)));

  test.each<[what: string, layers: string[][]]>([
    ['a parent that no upper layer has an entry for (E26)', [['d usr/', 'l lib->usr'], ['f lib/x=1']]],
    ['a hard link to what may be a lower file (E39)', [['f a=1'], ['h b=>a']]],
    ['a hard link before its target (E47)', [['f a=old'], ['h b=>a', 'f a=new']]],
    [
      'a whiteout that may act through a lower link (E27)',
      [['d usr/', 'l lib->usr'], ['d usr/', 'f usr/x=1'], ['f lib/.wh.x']],
    ],
    ['a directory that an upper layer takes away', [['f z=1'], ['d a/', 'f a/x=1'], ['f .wh.a']]],
    ['metadata of AUFS', [['f z=1'], ['d .wh..wh.plnk/', 'f a=1']]],
  ])('says nothing where there is %s', async (_what, lines) => {
    expect(mergeUpperLayers(await stackOf(...lines), 1)).toBeUndefined();
  });

  test('a whiteout beside the directory entries that every builder writes does not hide what it says', async () => {
    const layers = await stackOf(
      ['d etc/', 'f etc/motd=old', 'd app/'],
      ['d etc/', 'f etc/.wh.motd', 'd app/', 'f app/a=1'],
      ['d etc/', 'f etc/.wh.issue', 'f etc/new=2'],
    );
    const tree = mergeUpperLayers(layers, 1);
    expect(pathsOf(tree ?? mergeLayers([])).map(([path]) => path)).toEqual([
      '/app',
      '/app/a',
      '/etc',
      '/etc/new',
    ]);
  });
});
