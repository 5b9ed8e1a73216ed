/**
 * Backing files for the large files that are opened on a mount with passthrough: one job at a time, in the background.
 * Nobody waits for it: a file is read through the server until it has one, and is opened anew.
 *
 *   want(ino) ─► Contents.backingFile (found and verified, or made of cached spans) ─► FuseSession.addBacking
 */
import { isPeelError, PeelError } from '../errors.ts';
import { log } from '../log.ts';
import type { FuseSession } from '../native-fuse.ts';
import { uncompressed } from '../units.ts';
import type { Shown } from './missed-reads.ts';

export class Passthrough {
  readonly #session: Pick<FuseSession, 'addBacking'>;
  #shown: Shown;
  /** Inodes, in the order in which they were wanted. */
  readonly #wanted = new Set<number>();
  readonly #closing = new AbortController();
  #work: Promise<void> | undefined;

  constructor(session: Pick<FuseSession, 'addBacking'>, shown: Shown) {
    this.#session = session;
    this.#shown = shown;
  }

  /** More is shown from now on; what was there has the same numbers. */
  show(shown: Shown): void {
    this.#shown = shown;
  }

  want(ino: number): void {
    if (this.#closing.signal.aborted) return;
    this.#wanted.add(ino);
    this.#work ??= this.#workOff().finally(() => {
      this.#work = undefined;
    });
  }

  /** Ends what is under way. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new PeelError('ERR_INTERRUPTED', 'the mount is gone'));
    this.#wanted.clear();
    await this.#work;
  }

  /** An inode leaves the list at the end: whoever wants it meanwhile is served by the same work. */
  async #workOff(): Promise<void> {
    for (const ino of this.#wanted) {
      try {
        await this.#serve(ino);
      } catch (error) {
        if (!isPeelError(error, 'ERR_INTERRUPTED')) log().warn({ err: error, ino }, 'no backing file');
      }
      this.#wanted.delete(ino);
    }
  }

  async #serve(ino: number): Promise<void> {
    const { filesystem, tree } = this.#shown;
    const { content, size } = tree.node(ino);
    if (content === undefined || content.sparse !== undefined) return;
    const range = { start: content.dataOffset, end: uncompressed(content.dataOffset + size) };
    const backing = await filesystem.contents.backingFile?.(content.layer, range, this.#closing.signal);
    if (backing === undefined) return;
    try {
      this.#session.addBacking(ino, backing.path, backing.handle.fd);
      log().debug({ ino, size }, 'a file can be read by the kernel itself');
    } finally {
      await backing.handle.close();
    }
  }
}
