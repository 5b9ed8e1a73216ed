/** What an opened image says while its layers come, when one cannot be had, and once it is closed. */
import { expect, test } from 'vitest';
import type { Tree } from '../../src/tree/node.ts';
import { HeldSource } from '../support/held-source.ts';
import { member } from '../support/image-layout.ts';
import { writeTar } from '../support/tar-bytes.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const makeDir = useTempDirs();

function layerOf(...names: string[]): Buffer {
  return writeTar(names.map((name) => member(name, { type: name.endsWith('/') ? 'dir' : 'file' }))).bytes;
}

/** Directories with a slash. */
function namesOf(tree: Tree): string[] {
  return [...(tree.root.children ?? [])].map(([name, { kind }]) => (kind === 'dir' ? `${name}/` : name));
}

/** Lowest first. */
const threeLayers = (): HeldSource => new HeldSource([layerOf('base'), layerOf('middle'), layerOf('top')]);

test('the tree is there layer by layer from the top, and in the end as a whole', async () => {
  const source = threeLayers();
  const image = await source.open(makeDir());
  const trees = image.trees();
  const seen: [string[], boolean][] = [];
  const next = async (): Promise<void> => {
    const { value } = await trees.next();
    if (value !== undefined) seen.push([namesOf(value.tree), value.isWhole]);
  };
  source.release(2);
  await next();
  source.release(1);
  await next();
  source.release(0);
  await next();
  await next();
  expect(seen).toEqual([
    [['top'], false],
    [['middle', 'top'], false],
    [['base', 'middle', 'top'], true],
  ]);
  expect(source.asked.at(0)).toBe(source.digests[2]);
  await image.close();
});

test('the tree that a finished image gives is the whole one at once', async () => {
  const source = threeLayers();
  const image = await source.open(makeDir());
  for (const layer of [0, 1, 2]) source.release(layer);
  await image.tree();
  const seen: boolean[] = [];
  for await (const { isWhole } of image.trees()) seen.push(isWhole);
  expect(seen).toEqual([true]);
  await image.close();
});

test('a broken layer ends the wait for the layers above it', async () => {
  const source = new HeldSource([layerOf('base'), layerOf('top')]);
  const image = await source.open(makeDir());
  source.spoil(0);
  await expect(image.trees().next()).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  await image.close();
});

test('a layer that is broken is reported while another one is still awaited; closing ends the wait', async () => {
  const source = new HeldSource([layerOf('base'), layerOf('top')]);
  const image = await source.open(makeDir());
  source.spoil(1);
  await expect(image.filesystem()).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  expect([source.asked.length, source.ended]).toEqual([2, 0]);
  await image.close();
  expect(source.ended).toBe(1);
});

test('a closed image opens nothing any more', async () => {
  const source = threeLayers();
  const image = await source.open(makeDir());
  await image.close();
  await expect(image.layerToc(0)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  await expect(image.filesystem()).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  expect(source.asked).toEqual([]);
  await image.close();
});
