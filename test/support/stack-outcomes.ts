/** What a stack of layers comes to: rows, or a refusal. By the model, and how two outcomes are compared. */
import { posix } from 'node:path';
import { expect } from 'vitest';
import { sha256Hex } from './digests.ts';
import type { Row } from './listing.ts';
import { Model, type ModelInode, ModelRefusal } from './model.ts';
import type { Stack } from './random-stack.ts';
import { describeStack, shrinkStack } from './shrink-stack.ts';

/** The rows of a stack, or the word for a stack that is refused. */
export type Outcome = readonly Row[] | 'refused';

export function modelled(stack: Stack): Outcome {
  const model = new Model();
  try {
    for (const layer of stack) {
      model.applyLayer(layer);
    }
  } catch (error) {
    if (error instanceof ModelRefusal) {
      return 'refused';
    }
    throw error;
  }
  return rowsOfModel(model);
}

function rowsOfModel({ inodes }: Model): Row[] {
  const paths = [...inodes.keys()].sort(byComponents);
  const names = new Map<ModelInode | undefined, string[]>();
  for (const at of paths) {
    const inode = inodes.get(at);
    names.set(inode, [...(names.get(inode) ?? []), at]);
  }
  return paths.map((at) => {
    const inode = inodes.get(at) as ModelInode;
    const group = inode.type === 'dir' ? [at] : (names.get(inode) ?? []);
    const subdirectories = paths.filter(
      (other) => other !== '/' && posix.dirname(other) === at && inodes.get(other)?.type === 'dir',
    );
    return {
      path: at,
      kind: inode.type as Row['kind'],
      mode: inode.mode,
      uid: inode.uid,
      gid: inode.gid,
      mtime: `${inode.mtimeSec}.${String(inode.mtimeNsec).padStart(9, '0')}`,
      size: inode.content?.length ?? inode.target?.length ?? 0,
      content:
        inode.content === undefined
          ? (inode.target ?? inode.rdev?.join(':') ?? '')
          : sha256Hex(inode.content),
      nlink: inode.type === 'dir' ? 2 + subdirectories.length : group.length,
      xattrs: [...(inode.xattrs ?? [])].map(([name, value]) => `${name}=${value.toString('hex')}`).sort(),
      inode: group[0] ?? at,
      implied: inode.implied,
    };
  });
}

/** Depth first, names in byte order: the order of `rowsOf`. */
function byComponents(left: string, right: string): number {
  const [a, b] = [left.replaceAll('/', '\0'), right.replaceAll('/', '\0')];
  return a < b ? -1 : a > b ? 1 : 0;
}

export function same(left: Outcome, right: Outcome): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}

/** Fails with the smallest stack that still differs without being refused by one side only. */
export async function report(
  seed: number,
  stack: Stack,
  compare: (stack: Stack) => Promise<[Outcome, Outcome]>,
): Promise<void> {
  const smallest = await shrinkStack(stack, async (candidate) => {
    const [actual, expected] = await compare(candidate);
    return (actual === 'refused') === (expected === 'refused') && !same(actual, expected);
  });
  const [actual, expected] = await compare(smallest);
  expect(actual, `seed ${seed} (PEEL_SEED=${seed} PEEL_STACKS=1):\n${describeStack(smallest)}`).toEqual(
    expected,
  );
}
