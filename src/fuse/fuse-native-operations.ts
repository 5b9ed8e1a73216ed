/**
 * The answers to libfuse's operations, in the form that fuse-native's C code takes: Uint32Arrays for stat and
 * statvfs, the kernel's own buffers for bytes. They replace the methods of its JavaScript part, which cannot
 * say ERANGE, reports list sizes 128 bytes too large and has no place for inode numbers.
 *
 * Limits of this transport, which no code here can lift (the native transport has none of them):
 * - paths come and go as text: a name that is not UTF-8 is left out of readdir and answers ENOENT (E224); a link
 *   whose target is not UTF-8 answers EILSEQ, an extended attribute with such a name is left out;
 * - times have milliseconds, and those before 1970 show as 1970;
 * - inode and device numbers have 32 bits;
 * - a request cannot be interrupted: a reader that is killed goes when its read ends, at the deadline at last.
 */
import { constants } from 'node:os';
import { TYPE_BITS } from '../filesystem/attributes.ts';
import type { FileSystem } from '../filesystem/filesystem.ts';
import type { Node } from '../tree/node.ts';
import { type ByteString, bufferOfBytes, bytesOfText, textOfBytes } from '../units.ts';
import { errnoOf } from './errno.ts';

const TWO_32 = 2 ** 32;
const UINT32_MAX = TWO_32 - 1;

/**
 * Ends one request: a result (0 or more) or a negative errno, then what the operation's C code reads. read,
 * getxattr and listxattr must hand back the ArrayBuffer of the kernel's bytes in any case: the C code detaches it.
 */
type Reply = (result: number, ...values: readonly unknown[]) => void;

export interface OperationsContext {
  readonly filesystem: FileSystem;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  /** Reads with the deadline of the mount. */
  read(node: Node, offset: number, length: number): Promise<Buffer>;
  /** Called once per request. */
  count(operation: string): void;
  /** A failure that is no answer to a wrong question. */
  report(operation: string, path: string, error: unknown): void;
}

/** Failures that say something about the question, not about us. */
const ORDINARY: ReadonlySet<number> = new Set(
  (['ENOENT', 'ENOTDIR', 'EISDIR', 'EINVAL', 'ENODATA', 'ENAMETOOLONG', 'ELOOP'] as const).map(
    (name) => constants.errno[name],
  ),
);

/** glibc's makedev for numbers that fit 32 bits: 12 bits of major, 20 of minor. */
export function encodeDevice([major, minor]: readonly [number, number]): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

/** `struct stat` as fuse-native's populate_stat reads it; 64-bit fields are pairs, low half first. */
function statArray(context: OperationsContext, node: Node, directory: Node): Uint32Array {
  const attributes = context.filesystem.attributes(node, directory);
  const milliseconds = Math.max(0, attributes.mtimeSec * 1000 + Math.floor(attributes.mtimeNsec / 1_000_000));
  const time = [milliseconds % TWO_32, Math.floor(milliseconds / TWO_32)] as const;
  return Uint32Array.of(
    attributes.mode,
    context.uid ?? attributes.uid,
    context.gid ?? attributes.gid,
    attributes.size % TWO_32,
    Math.floor(attributes.size / TWO_32),
    0, // st_dev is the kernel's
    attributes.nlink,
    attributes.ino,
    encodeDevice(attributes.rdev),
    attributes.blksize,
    attributes.blocks % TWO_32,
    Math.floor(attributes.blocks / TWO_32),
    ...time, // atime: an image has none
    ...time,
    ...time, // ctime
  );
}

/** The part of `struct stat` that becomes a directory entry: d_ino and d_type. */
function entryArray(node: Node): Uint32Array {
  const array = new Uint32Array(18);
  array[0] = TYPE_BITS[node.kind];
  array[7] = node.ino;
  return array;
}

function statvfsArray(filesystem: FileSystem): Uint32Array {
  const statistics = filesystem.statfs();
  const blocks = Math.min(statistics.blocks, UINT32_MAX);
  const inodes = Math.min(statistics.inodes, UINT32_MAX);
  return Uint32Array.of(
    statistics.blockSize,
    statistics.blockSize,
    blocks,
    0, // free
    0, // available
    inodes,
    0,
    0,
    0,
    0,
    statistics.nameMax,
  );
}

/** The methods to put on a Fuse instance, by name. */
export function operationsOf(
  context: OperationsContext,
): Readonly<Record<string, (...args: never[]) => void>> {
  const { filesystem } = context;

  /** The node at a path, and the directory that holds it. The kernel resolves links: none is followed here. */
  const find = (path: string): { node: Node; directory: Node } => {
    const slash = path.lastIndexOf('/');
    const directory = filesystem.resolve(bytesOfText(path.slice(0, slash + 1)), { follow: false });
    const name = bytesOfText(path.slice(slash + 1));
    return { node: name === '' ? directory : filesystem.lookup(directory, name), directory };
  };

  /** Runs one request; whatever is thrown ends this request alone. */
  const answer = (
    operation: string,
    path: string,
    fail: (errno: number) => void,
    run: () => Promise<void> | void,
  ): void => {
    const failed = (error: unknown): void => {
      const errno = errnoOf(error);
      if (!ORDINARY.has(errno)) context.report(operation, path, error);
      fail(-errno);
    };
    context.count(operation);
    try {
      run()?.catch(failed);
    } catch (error) {
      failed(error);
    }
  };

  /** Fills the kernel's buffer; size 0 asks for the length alone: getxattr(2). */
  const replyBytes = (reply: Reply, room: Buffer, value: Buffer): void => {
    if (room.length > 0 && room.length < value.length) {
      reply(-constants.errno.ERANGE, room.buffer);
      return;
    }
    if (room.length > 0) value.copy(room);
    reply(value.length, room.buffer);
  };

  return {
    _op_getattr(reply: Reply, path: string): void {
      answer('getattr', path, reply, () => {
        const { node, directory } = find(path);
        reply(0, statArray(context, node, directory));
      });
    },

    _op_readdir(reply: Reply, path: string): void {
      answer('readdir', path, reply, () => {
        const { node } = find(path);
        const names = ['.', '..'];
        const stats = [entryArray(node), entryArray(node.parent ?? node)];
        for (const entry of filesystem.readdir(node)) {
          const name = textOfBytes(entry.name);
          if (name === undefined) continue;
          names.push(name);
          stats.push(entryArray(entry.node));
        }
        reply(0, names, stats);
      });
    },

    _op_readlink(reply: Reply, path: string): void {
      answer('readlink', path, reply, () => {
        const { node, directory } = find(path);
        const target = textOfBytes(filesystem.readlink(node, directory));
        if (target === undefined) reply(-constants.errno.EILSEQ);
        else reply(0, target);
      });
    },

    _op_read(
      reply: Reply,
      path: string,
      _handle: number,
      room: Buffer,
      length: number,
      offsetLow: number,
      offsetHigh: number,
    ): void {
      answer(
        'read',
        path,
        (errno) => reply(errno, 0, room.buffer),
        async () => {
          const bytes = await context.read(find(path).node, offsetLow + offsetHigh * TWO_32, length);
          bytes.copy(room);
          reply(bytes.length, 0, room.buffer);
        },
      );
    },

    _op_getxattr(reply: Reply, path: string, name: string, room: Buffer): void {
      answer(
        'getxattr',
        path,
        (errno) => reply(errno, room.buffer),
        () => {
          replyBytes(reply, room, filesystem.xattr(find(path).node, bytesOfText(name)));
        },
      );
    },

    _op_listxattr(reply: Reply, path: string, room: Buffer): void {
      answer(
        'listxattr',
        path,
        (errno) => reply(errno, room.buffer),
        () => {
          const names = filesystem
            .xattrNames(find(path).node)
            .filter((name) => textOfBytes(name) !== undefined);
          replyBytes(reply, room, bufferOfBytes(names.map((name) => `${name}\0`).join('') as ByteString));
        },
      );
    },

    _op_statfs(reply: Reply, path: string): void {
      answer('statfs', path, reply, () => reply(0, statvfsArray(filesystem)));
    },
  };
}

/** Names, link targets and attribute names that this transport cannot pass: what is not UTF-8. */
export function countUnreachable(root: Node): number {
  let count = 0;
  const waiting: Node[] = [root];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    for (const [name, child] of node.children ?? []) {
      if (textOfBytes(name) === undefined) count += 1;
      else if (child.target !== undefined && textOfBytes(child.target) === undefined) count += 1;
      if (child.children !== undefined) waiting.push(child);
    }
  }
  return count;
}
