/**
 * The merge cases E1 to E72: layers written as real tars, read back by the real reader, merged, and compared with
 * the listing that the case expects, complete, with its groups of hard links.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Tree } from '../../src/tree/node.ts';
import { parseLayer } from '../support/layer-cases.ts';
import { contentFrom, nodeAt, type Row, rowsOf } from '../support/listing.ts';
import { readLayer } from '../support/read-layer.ts';
import { writeTar } from '../support/tar-bytes.ts';
import { storedAndMapped } from '../support/tree-snapshot.ts';
import { rowsOnDisk, UmociLayout, umociProblem } from '../support/umoci.ts';

interface MergeCase {
  readonly id: string;
  readonly title: string;
  readonly layers: readonly (readonly string[])[];
  readonly expect?: readonly string[];
  /** Where the sources leave the choice to us: what we chose. */
  readonly decided?: readonly string[];
  readonly same: readonly (readonly string[])[];
  readonly error?: string;
}

const CASES = JSON.parse(
  readFileSync(path.resolve(import.meta.dirname, '..', 'cases', 'merge-cases.json'), 'utf8'),
) as MergeCase[];

async function merge(layers: readonly (readonly string[])[]): Promise<{ tree: Tree; tars: Buffer[] }> {
  const read = await Promise.all(layers.map((lines) => readLayer(writeTar(parseLayer(lines)).bytes)));
  return { tree: mergeLayers(read.map(({ entries }) => entries)), tars: read.map(({ tar }) => tar) };
}

test('all 72 merge cases are here', () => {
  expect(CASES.map(({ id }) => id)).toEqual(Array.from({ length: 72 }, (_, index) => `E${index + 1}`));
});

describe('merge cases', () => {
  for (const { id, title, layers, expect: expected, decided, same, error } of CASES) {
    const listing = decided ?? expected;
    if (listing === undefined) {
      test(`${id}: ${title} is refused`, async () => {
        expect(error).toBeDefined();
        const failure = await merge(layers).catch((reason: unknown) => reason);
        expect(isPeelError(failure, 'ERR_LAYER_INVALID'), String(failure)).toBe(true);
        expect(isPeelError(failure) && failure.facts['layer']).toBe(layers.length - 1);
      });
      continue;
    }
    test(`${id}: ${title}`, async () => {
      const { tree, tars } = await merge(layers);
      await storedAndMapped(tree);
      const contentOf = contentFrom(tars);
      const rows = rowsOf(tree, contentOf).filter(({ path: at }) => at !== '/');
      const nodes = new Map(rows.map((row) => [row.path, row]));
      expect(rows.map((row) => line(row, tree, contentOf)).sort()).toEqual([...listing].sort());
      expect(linkGroups(rows)).toEqual(same.map((group) => [...group].sort().join()).sort());
      for (const [at, row] of nodes) {
        const names = rows.filter(({ inode }) => inode === row.inode).length;
        const subdirectories = rows.filter(
          (other) => other.kind === 'dir' && path.posix.dirname(other.path) === at,
        ).length;
        expect(row.nlink, at).toBe(row.kind === 'dir' ? 2 + subdirectories : names);
      }
    });
  }
});

/** What umoci does otherwise, each as FORMATS measured it: a file as parent, links to the store of AUFS, links too early. */
const UMOCI_DIFFERS: Readonly<Record<string, 'refuses' | 'differs'>> = {
  E25: 'refuses',
  E35: 'differs',
  E46: 'refuses',
};

describe.skipIf(umociProblem() !== undefined)('the cases themselves', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'peel-cases-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  test('umoci gives the same listing, or refuses the same layers, but in three cases', async () => {
    mkdirSync(path.join(folder, 'images'));
    const layout = new UmociLayout(path.join(folder, 'images'));
    const differing: Record<string, string> = {};
    for (const { id, layers, expect: expected, decided } of CASES) {
      layout.add(
        id,
        layers.map((lines) => writeTar(parseLayer(lines)).bytes),
      );
      const target = path.join(folder, id);
      const isRefused = (await layout.unpack(id, target)) !== undefined;
      const paths = (decided ?? expected)?.map((listed) => listed.split(' ')[0]).sort();
      const found = isRefused ? undefined : rowsOnDisk(target, new Map()).map((row) => row.path);
      if (found?.slice(1).sort().join() !== paths?.join()) {
        differing[id] = isRefused ? 'refuses' : 'differs';
      }
    }
    expect(differing).toEqual(UMOCI_DIFFERS);
  });
});

/** As the cases write it: `/a d`, `/a f=content`, `/a l->target`, `/a c=1:3`. */
function line(row: Row, tree: Tree, contentOf: ReturnType<typeof contentFrom>): string {
  const { path: at, kind, content } = row;
  if (kind === 'file') {
    return `${at} f=${contentOf(nodeAt(tree, at)).toString()}`;
  }
  if (kind === 'symlink') {
    expect(row.size).toBe(Buffer.byteLength(content, 'latin1'));
    return `${at} l->${content}`;
  }
  return content === '' ? `${at} ${LETTER_OF[kind]}` : `${at} ${LETTER_OF[kind]}=${content}`;
}

const LETTER_OF = { dir: 'd', char: 'c', block: 'b', fifo: 'p' } as const;

function linkGroups(rows: readonly Row[]): string[] {
  const groups = new Map<string, string[]>();
  for (const { path: at, inode, kind } of rows) {
    if (kind !== 'dir') {
      groups.set(inode, [...(groups.get(inode) ?? []), at]);
    }
  }
  return [...groups.values()]
    .filter(({ length }) => length > 1)
    .map((group) => group.sort().join())
    .sort();
}
