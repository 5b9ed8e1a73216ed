/**
 * Paths inside the tree. Host code never follows a link of an image: names resolve here, in memory, as the
 * kernel would below a chroot: absolute targets begin at the root, `..` stops there, 40 links at most.
 */
import { isPeelError, PeelError } from '../errors.ts';
import type { Node } from '../tree/node.ts';
import { type ByteString, textOfBytes } from '../units.ts';
import { NAME_MAX } from './statistics.ts';

/** Links on one path before ELOOP: Linux, path_resolution(7). */
const MAX_LINKS = 40;

export interface ResolveOptions {
  /** Whether a link as the last component is followed. A trailing slash follows it anyway. */
  readonly follow: boolean;
  /** Told each name that the path leads over, those of links too, and what it names. */
  readonly onStep?: (name: ByteString, node: Node) => void;
}

/** For messages: text where the bytes are UTF-8, one character a byte otherwise. The command line quotes it. */
export function shown(bytes: ByteString): string {
  return textOfBytes(bytes) ?? bytes;
}

/** The children of a directory. @throws PeelError ERR_NOT_A_DIRECTORY */
export function directoryOf(node: Node): ReadonlyMap<ByteString, Node> {
  if (node.children === undefined) {
    throw new PeelError('ERR_NOT_A_DIRECTORY', `not a directory: a ${node.kind} is in its place`);
  }
  return node.children;
}

export function lookupName(directory: Node, name: ByteString): Node {
  const children = directoryOf(directory);
  if (name === '.') return directory;
  if (name === '..') return directory.parent ?? directory;
  if (name.length > NAME_MAX) {
    throw new PeelError(
      'ERR_NAME_TOO_LONG',
      `a name of ${name.length} bytes: at most ${NAME_MAX} are allowed`,
    );
  }
  const child = children.get(name);
  if (child === undefined) {
    throw new PeelError('ERR_PATH_NOT_FOUND', `no such file or directory: ${shown(name)}`);
  }
  return child;
}

function componentsOf(path: ByteString): ByteString[] {
  return path.split('/').filter((component) => component !== '') as ByteString[];
}

/** A slash at the end asks for a directory, and so do a final `.` and `..`: path_resolution(7). */
function wantsDirectory(path: ByteString): boolean {
  return /(^|\/)\.{0,2}$/.test(path) && path !== '';
}

/** `lookupName`; the error says which path it is that is missing (`facts.missing`, without a slash in front). */
function childOn(names: readonly ByteString[], directory: Node, name: ByteString): Node {
  try {
    return lookupName(directory, name);
  } catch (error) {
    if (!isPeelError(error, 'ERR_PATH_NOT_FOUND')) throw error;
    const missing = [...names, name].join('/');
    throw new PeelError(error.code, error.message, { facts: { ...error.facts, missing } });
  }
}

/**
 * Walks `components` from `start`. The links of one walk share the budget, so that nested ones cannot
 * multiply; pending components are kept on a stack whose size the budget bounds as well.
 */
function walk(
  root: Node,
  start: Node,
  components: readonly ByteString[],
  { follow: followLast, onStep }: ResolveOptions,
  budget: { links: number },
): Node {
  const pending = components.toReversed();
  let node = start;
  /** From the root to `node`, where the walk began there. */
  let names: ByteString[] = [];
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const child = childOn(names, node, name);
    onStep?.(name, child);
    if (child.kind !== 'symlink' || (pending.length === 0 && !followLast)) {
      node = child;
      if (name === '..') names.pop();
      else if (name !== '.') names.push(name);
      continue;
    }
    const target = child.target ?? ('' as ByteString);
    if (budget.links === 0) {
      throw new PeelError('ERR_SYMLINK_LOOP', `more than ${MAX_LINKS} symbolic links on the way`);
    }
    budget.links -= 1;
    if (target === '')
      throw new PeelError('ERR_PATH_NOT_FOUND', `the symbolic link ${shown(name)} has no target`);
    if (target.startsWith('/')) {
      node = root;
      names = [];
    }
    if (wantsDirectory(target)) pending.push('.' as ByteString);
    for (const component of componentsOf(target).reverse()) pending.push(component);
  }
  return node;
}

export function resolvePath(root: Node, path: ByteString, options: ResolveOptions): Node {
  const components = componentsOf(path);
  if (wantsDirectory(path)) components.push('.' as ByteString);
  try {
    return walk(root, root, components, options, { links: MAX_LINKS });
  } catch (error) {
    if (!(error instanceof PeelError)) throw error;
    throw new PeelError(error.code, `${shown(path)}: ${error.message}`, {
      facts: { ...error.facts, path: shown(path) },
      cause: error,
    });
  }
}

/** Components from the root down to a directory. */
function depthOf(directory: Node): number {
  let depth = 0;
  for (let node = directory; node.parent !== undefined && node.parent !== node; node = node.parent)
    depth += 1;
  return depth;
}

/**
 * The target of a link in `directory`, changed only where following it would leave the tree: from the last
 * place on where it stands at the root and goes higher (an absolute target does so at once), it is rewritten
 * as a climb to the root and the rest. Links met on the way are answered by this same function when their turn
 * comes, so only this target's own components count.
 */
export function containTarget(root: Node, target: ByteString, directory: Node): ByteString {
  const components = componentsOf(target);
  const budget = { links: MAX_LINKS };
  let restFrom = target.startsWith('/') ? 0 : -1;
  let node = restFrom === 0 ? root : directory;
  try {
    for (const [position, name] of components.entries()) {
      if (name === '..' && node === root) restFrom = position + 1;
      else node = walk(root, node, [name], { follow: true }, budget);
    }
  } catch (error) {
    // The kernel stops at the same place: what comes after it is never reached.
    if (!(error instanceof PeelError)) throw error;
  }
  if (restFrom === -1) return target;
  const climb = Array.from({ length: depthOf(directory) }, () => '..');
  const rest = components.slice(restFrom);
  const slash = target.endsWith('/') && rest.length > 0 ? '/' : '';
  return `${[...climb, ...rest].join('/') || '.'}${slash}` as ByteString;
}
