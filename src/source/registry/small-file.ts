/** Configuration files: small, regular, and never waited for, whatever lies in their place. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { PeelError, systemCodeOf } from '../../errors.ts';

/** The modes and text of a file that is there. */
export interface SmallFile {
  readonly text: string;
  readonly isReadByOthers: boolean;
}

/** The text of `file`, or undefined where there is none. @throws PeelError ERR_USAGE for anything else. */
export async function readSmallFile(file: string, maxBytes: number): Promise<string | undefined> {
  return (await openSmallFile(file, maxBytes))?.text;
}

export async function openSmallFile(file: string, maxBytes: number): Promise<SmallFile | undefined> {
  const refuse = (why: string, code = 'EINVAL'): PeelError =>
    new PeelError('ERR_USAGE', `cannot read ${file}: ${why}`, { facts: { file, code } });
  try {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) {
        throw refuse('it is not a regular file');
      }
      if (stat.size > maxBytes) {
        throw refuse(`it has ${stat.size} bytes, at most ${maxBytes} are read`);
      }
      // One byte more than it should have: a file that grows meanwhile is seen.
      const buffer = Buffer.alloc(stat.size + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
        length += bytesRead;
        if (length > stat.size) {
          throw refuse('it grew while it was read');
        }
        if (bytesRead === 0) {
          return { text: buffer.toString('utf8', 0, length), isReadByOthers: (stat.mode & 0o077) !== 0 };
        }
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return undefined;
    }
    throw error instanceof PeelError ? error : refuse(code ?? 'unknown reason', code);
  }
}
