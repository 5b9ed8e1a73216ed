/** A failing stack of layers, made small and readable. */
import type { Stack } from './random-stack.ts';
import type { Member } from './tar-bytes.ts';

const MAX_TRIES = 400;

/** Takes members out for as long as the rest fails, large pieces first. `stack` itself if it does not fail. */
export async function shrinkStack(stack: Stack, fails: (stack: Stack) => Promise<boolean>): Promise<Stack> {
  if (!(await fails(stack))) {
    return stack;
  }
  let smallest = stack;
  let tries = 0;
  for (let size = 64; size >= 1; size = Math.floor(size / 2)) {
    for (let layer = 0; layer < stack.length; layer += 1) {
      let from = 0;
      while (from < (smallest[layer]?.length ?? 0)) {
        tries += 1;
        if (tries > MAX_TRIES) {
          return smallest;
        }
        const candidate = withoutMembers(smallest, layer, from, size);
        if (await fails(candidate)) {
          smallest = candidate;
        } else {
          from += size;
        }
      }
    }
  }
  return smallest;
}

function withoutMembers(stack: Stack, layer: number, from: number, count: number): Stack {
  return stack.map((members, index) =>
    index === layer ? [...members.slice(0, from), ...members.slice(from + count)] : members,
  );
}

/** A stack for people, a line a member, names escaped. */
export function describeStack(stack: Stack): string {
  return stack
    .map((layer, index) =>
      [`layer ${index}`, ...layer.map((member) => `  ${describeMember(member)}`)].join('\n'),
    )
    .join('\n');
}

function describeMember({
  name,
  type,
  mode,
  uid,
  gid,
  mtimeSec,
  mtimeNsec,
  target,
  rdev,
  xattrs,
  content,
}: Member) {
  const value =
    target === undefined
      ? (rdev?.join(':') ?? (content === undefined ? '' : `${content.length} bytes`))
      : `-> ${JSON.stringify(target)}`;
  const attributes = [...(xattrs ?? [])].map(([key, bytes]) => `${key}=${bytes.toString('hex')}`).join(' ');
  return `${type} ${JSON.stringify(name)} ${value} ${mode.toString(8)} ${uid}:${gid} ${mtimeSec}.${mtimeNsec} ${attributes}`;
}
