// A Tree and its Contents from a literal that JSON can carry, so that a test and the process that serves its
// mount build the same thing. Plain JavaScript because Node 20 runs no TypeScript. Types: literal-tree.d.mts.
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const DEFAULT_MODE = { dir: 0o755, symlink: 0o777 };
const POLL_MS = 10;
/** In the place of a file to wait for: nothing at all runs in the server, for longer than any deadline of a test. */
const BLOCK = 'block the event loop';
const BLOCK_MS = 12_000;

/** `makeError(code, message)` makes a PeelError of the build under test. */
export function buildLiteral(
  root,
  makeError = (code, message) => Object.assign(new Error(message), { code }),
) {
  const stored = [];
  let storedLength = 0;
  const ranges = [];
  const byPath = new Map();
  const links = [];
  let ino = 1;

  const build = (literal, parent, path) => {
    const size = literal.size ?? (literal.kind === 'symlink' ? literal.target.length : 0);
    const node = {
      ino: ino++,
      kind: literal.kind,
      mode: literal.mode ?? DEFAULT_MODE[literal.kind] ?? 0o644,
      uid: literal.uid ?? 0,
      gid: literal.gid ?? 0,
      size,
      mtimeSec: literal.mtimeSec ?? 1_000_000_000,
      mtimeNsec: literal.mtimeNsec ?? 0,
      nlink: literal.kind === 'dir' ? 2 : 1,
      rdev: literal.rdev,
      target: literal.target,
      xattrs:
        literal.xattrs === undefined
          ? undefined
          : new Map(
              Object.entries(literal.xattrs).map(([name, value]) => [name, Buffer.from(value, 'base64')]),
            ),
      layer: 0,
      implied: false,
      content: undefined,
      children: undefined,
      parent: undefined,
    };
    byPath.set(path, node);
    if (literal.kind === 'file') {
      const bytes = Buffer.from(literal.data ?? '', 'base64');
      if (literal.size === undefined) node.size = bytes.length;
      node.content = { layer: 0, dataOffset: storedLength, sparse: literal.sparse };
      ranges.push({
        start: storedLength,
        end: storedLength + bytes.length,
        literal,
        failures: literal.failures ?? 0,
      });
      stored.push(bytes);
      storedLength += bytes.length;
    }
    if (literal.kind === 'dir') {
      node.parent = parent ?? node;
      node.children = new Map();
      const names = Object.keys(literal.children ?? {}).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
      for (const name of names) {
        const child = literal.children[name];
        const place = `${path}/${name}`;
        if (child.kind === 'hardlink') {
          node.children.set(name, undefined); // keeps its place in the order
          links.push({ node, name, to: child.to });
          continue;
        }
        const built = build(child, node, place);
        node.children.set(name, built);
        if (child.kind === 'dir') node.nlink += 1;
      }
    }
    return node;
  };
  const rootNode = build(root, undefined, '');
  for (const { node, name, to } of links) {
    const target = byPath.get(to);
    target.nlink += 1;
    node.children.set(name, target);
  }

  const layer = Buffer.concat(stored);
  const reads = [];
  const contents = {
    async read(layerNumber, range, signal) {
      reads.push({ layer: layerNumber, start: range.start, end: range.end });
      const found = ranges.find((each) => each.start <= range.start && range.end <= each.end);
      if (found === undefined) throw new RangeError(`nothing is stored at ${range.start}-${range.end}`);
      const { waitFor, isDeaf, failWith } = found.literal;
      if (waitFor === BLOCK) for (const end = Date.now() + BLOCK_MS; Date.now() < end; );
      const isReady = () => waitFor === undefined || existsSync(waitFor);
      while (!isReady()) {
        if (isDeaf !== true) signal?.throwIfAborted();
        await sleep(POLL_MS);
      }
      if (found.failures > 0) {
        found.failures -= 1;
        if (failWith === 'TypeError') throw new TypeError('a mistake of our own');
        if (failWith === 'short') return layer.subarray(range.start, range.end - 1);
        throw makeError(failWith ?? 'ERR_REGISTRY_UNREACHABLE', 'the registry does not answer');
      }
      return layer.subarray(range.start, range.end);
    },
  };
  return { tree: { root: rootNode, inodes: ino - 1, warnings: [] }, contents, reads, layer };
}
