/** Which trees of the upper layers are given out while layers become known. */
import { expect, test } from 'vitest';
import { type UpperTree, upperTrees } from '../../src/image/upper-trees.ts';
import type { ByteString } from '../../src/units.ts';
import { madeEntry } from '../support/made-tree.ts';

/** Lowest first: the second one leans on the first (a hard link to a file that it does not bring). */
const LAYERS = [
  [madeEntry('lower', 'file')],
  [madeEntry('link', 'hardlink', { target: 'lower' as ByteString })],
  [madeEntry('upper', 'file')],
  [madeEntry('top', 'file')],
];

async function treesWhere(isAtHand: (layer: number) => boolean): Promise<[number, string[]][]> {
  const found: UpperTree[] = [];
  for await (const each of upperTrees({
    count: LAYERS.length,
    entries: (layer) => Promise.resolve(LAYERS[layer] ?? []),
    isAtHand,
  })) {
    found.push(each);
  }
  return found.map(({ tree, lowest }) => [lowest, [...(tree.root.children?.keys() ?? [])]]);
}

test('each layer that becomes known gives a tree, as far as the layers so far say something by themselves', async () => {
  expect(await treesWhere(() => false)).toEqual([
    [3, ['top']],
    [2, ['top', 'upper']],
  ]);
});

test('layers that are at hand together give one tree', async () => {
  expect(await treesWhere((layer) => layer === 2)).toEqual([[2, ['top', 'upper']]]);
});

test('a layer at hand that says nothing does not hide what those above it say', async () => {
  expect(await treesWhere((layer) => layer > 0)).toEqual([[2, ['top', 'upper']]]);
});

test('where all layers are at hand there is nothing before the whole image', async () => {
  expect(await treesWhere(() => true)).toEqual([]);
});
