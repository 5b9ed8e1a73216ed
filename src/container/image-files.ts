/**
 * Small files of an image, read through our own file system: host code never follows a link of an image, and a
 * FIFO, a device or a huge file in the place of /etc/passwd is no danger (CVE-2024-9676, CVE-2026-47262).
 */
import { isPeelError, PeelError } from '../errors.ts';
import type { FileSystem } from '../filesystem/filesystem.ts';
import type { Node } from '../tree/node.ts';
import { type ByteString, bytesOfText } from '../units.ts';

/** What is asked of an opened image. */
export interface ImageFiles {
  /** A file system that says of this path what the whole image says. */
  filesystemAt(name: ByteString): Promise<FileSystem>;
}

/** Real ones have a few kilobytes. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Nothing at this path: absent, or the way to it leads nowhere. */
const ABSENT = [
  'ERR_PATH_NOT_FOUND',
  'ERR_NOT_A_DIRECTORY',
  'ERR_SYMLINK_LOOP',
  'ERR_NAME_TOO_LONG',
] as const;

export interface FoundNode {
  readonly node: Node;
  readonly files: FileSystem;
}

/** What a path of the image leads to, links followed inside of it; undefined where there is nothing. */
export async function findNode(image: ImageFiles, path: string): Promise<FoundNode | undefined> {
  const name = bytesOfText(path);
  try {
    const files = await image.filesystemAt(name);
    return { node: files.resolve(name, { follow: true }), files };
  } catch (error) {
    if (ABSENT.some((code) => isPeelError(error, code))) return undefined;
    throw error;
  }
}

/**
 * The text of a file; undefined where there is none, or something else than a file is in its place.
 * @throws PeelError ERR_LIMIT_EXCEEDED for more than 1 MiB, and whatever reading says.
 */
export async function readTextFile(image: ImageFiles, path: string): Promise<string | undefined> {
  const found = await findNode(image, path);
  if (found?.node.kind !== 'file') return undefined;
  const { node, files } = found;
  if (node.size > MAX_FILE_BYTES) {
    throw new PeelError(
      'ERR_LIMIT_EXCEEDED',
      `${path} of the image has ${node.size} bytes: at most ${MAX_FILE_BYTES} are read`,
      { facts: { path, size: node.size } },
    );
  }
  return (await files.read(node, 0, node.size)).toString('latin1');
}
