/**
 * What a guess says of random stacks, from the first entries of their lowest layer on, against the whole image. A guess
 * may be wrong where a layer names one place in two ways: such stacks are counted, not compared.
 */
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { FileSystem } from '../../src/filesystem/filesystem.ts';
import type { Entry } from '../../src/layer/toc.ts';
import { guessTree } from '../../src/tree/guess.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Node, Tree } from '../../src/tree/node.ts';
import type { ByteString } from '../../src/units.ts';
import { parseLayer } from '../support/layer-cases.ts';
import { randomStack } from '../support/random-stack.ts';
import { readLayer } from '../support/read-layer.ts';
import { writeTar } from '../support/tar-bytes.ts';

const STACKS = 300;
const noContents = { read: () => Promise.reject(new Error('nothing is read here')) };

type Layers = readonly (readonly Entry[])[];

async function entriesOf(stack: Parameters<typeof writeTar>[0][]): Promise<Layers> {
  const layers = await Promise.all(stack.map((members) => readLayer(writeTar(members).bytes)));
  return layers.map(({ entries }) => entries);
}

const stackOf = (...layers: string[][]) => entriesOf(layers.map((lines) => parseLayer(lines)));

/** Every file of a tree by its path. */
function filesOf(tree: Tree): [ByteString, Node][] {
  const found: [ByteString, Node][] = [];
  const walk = (node: Node, path: string): void => {
    for (const [name, child] of node.children ?? []) {
      if (child.kind === 'file') found.push([`${path}/${name}` as ByteString, child]);
      if (child.kind === 'dir') walk(child, `${path}/${name}`);
    }
  };
  walk(tree.root, '');
  return found;
}

/** Paths that a guess says for certain. */
function saidOf(layers: Layers, lowest: number): [ByteString, Node][] {
  const guess = guessTree(layers, lowest);
  const isSure = ([path]: [ByteString, Node]): boolean => {
    const names = path.slice(1).split('/') as ByteString[];
    return names.every((name, depth) => !guess.isDoubtful(name, depth < names.length - 1 ? 'dir' : 'file'));
  };
  return filesOf(guess.tree).filter(isSure);
}

const contentOf = ({ kind, size, content }: Node): object => ({ kind, size, content });

describe('guessTree', () => {
  test(`is right about ${STACKS} random stacks where no later entry has the same place`, async () => {
    let compared = 0;
    let wrong = 0;
    for (let seed = 1; seed <= STACKS; seed += 1) {
      let layers: Layers;
      let whole: FileSystem;
      try {
        layers = await entriesOf(randomStack(seed).stack.map((members) => [...members]));
        whole = new FileSystem(mergeLayers(layers), noContents);
      } catch (error) {
        expect(isPeelError(error)).toBe(true);
        continue;
      }
      for (let lowest = layers.length - 1; lowest >= 0; lowest -= 1) {
        const own = layers[lowest] ?? [];
        for (let count = 0; count < own.length; count += 1) {
          const rest = new Set<string>(own.slice(count).map(({ path }) => path));
          let said: [ByteString, Node][] = [];
          try {
            said = saidOf(layers.with(lowest, own.slice(0, count)), lowest);
          } catch (error) {
            expect(isPeelError(error)).toBe(true);
          }
          for (const [path, node] of said) {
            const components = path.slice(1).split('/');
            if (components.some((_, depth) => rest.has(components.slice(0, depth + 1).join('/')))) continue;
            compared += 1;
            let real: object | undefined;
            try {
              real = contentOf(whole.resolve(path, { follow: false }));
            } catch {
              real = undefined;
            }
            if (JSON.stringify(real) !== JSON.stringify(contentOf(node))) wrong += 1;
          }
        }
      }
    }
    expect(compared).toBeGreaterThan(10_000);
    // Of stacks that are made to contradict themselves: files that become folders, places reached over two links.
    expect(wrong / compared).toBeLessThan(0.01);
  }, 120_000);

  const base = ['d etc/', 'f etc/motd=1', 'f etc/hosts=2'];

  test.each<[what: string, layers: string[][], lowest: number, said: string[]]>([
    [
      'an upper layer leans on folders that are still to come (umoci)',
      [base, ['f usr/share/doc/x=3']],
      0,
      ['/etc/hosts', '/etc/motd'],
    ],
    ['the folder may be a link, and the name lands on the file', [base, ['f lib/motd=3']], 0, ['/etc/hosts']],
    ['it is a whiteout that may act elsewhere', [base, ['f lib/.wh.hosts']], 0, ['/etc/motd']],
    ['the folder above may be replaced', [base, ['l lib/etc->usr']], 0, []],
    [
      'a folder may come to lie on a folder, or on a file',
      [
        [...base, 'f x=1'],
        ['d lib/etc/', 'd lib/x/'],
      ],
      0,
      ['/etc/hosts', '/etc/motd'],
    ],
    [
      'what is above a known folder is not known',
      [base, ['d var/lib/', 'f var/lib/motd=3']],
      0,
      ['/etc/hosts'],
    ],
    [
      'the folders have come',
      [[...base, 'd var/'], ['f var/motd=3']],
      0,
      ['/etc/hosts', '/etc/motd', '/var/motd'],
    ],
    ['a hard link has its target below', [base, ['h motd=>usr/motd']], 0, ['/etc/hosts']],
    ['the lowest layer has no entries for folders', [['f a/b/c=1'], []], 0, ['/a/b/c']],
    ['another layer below may have a link', [[], ['f a/b/c=1', 'd x/', 'f x/y=2']], 1, ['/x/y']],
  ])('says what it can where %s', async (_what, lines, lowest, said) => {
    expect(
      saidOf(await stackOf(...lines), lowest)
        .map(([path]) => path)
        .sort(),
    ).toEqual(said);
  });
});
