/** Where the files of an OCI layout lie: a folder on disk, or (`src/source/archive/`) a tar. */
import path from 'node:path';
import { type OpenFile, openLocalFile } from '../local-file.ts';

export interface Folder {
  /**
   * A regular file by its path in the folder, or undefined when it is not there. The path is put together
   * by code from fixed names and parsed digests, never from a document's text.
   */
  open(path: string): Promise<OpenFile | undefined>;
  /** Idempotent; files opened from the folder are closed by whoever opened them. */
  close(): Promise<void>;
}

/**
 * A folder on disk. Links in it are followed, also out of it, since build tools make layouts of links
 * (E183): a blob that is not what its digest says is refused wherever it lies.
 */
export function openFolder(directory: string): Folder {
  return {
    open: (name) => openLocalFile(path.join(directory, name)),
    close: () => Promise.resolve(),
  };
}
