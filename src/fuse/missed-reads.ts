/**
 * Reads that the native server could not answer from the cache: each is read through the file system, within the
 * deadline of the mount, and answered once. Whoever gives up waiting ends the work for it.
 *
 *   miss(id, ino, offset, length) ─► FileSystem.read ─► reply(id)          (or fail(id, errno), with a line in the log)
 *   interrupted(id) ─► the read's signal is aborted; the kernel was answered already
 */
import { isPeelError, PeelError } from '../errors.ts';
import type { FileSystem } from '../filesystem/filesystem.ts';
import { log } from '../log.ts';
import type { FuseSession } from '../native-fuse.ts';
import type { NumberedTree } from '../tree/mapped-tree.ts';
import { bytesOfBuffer, textOfBytes } from '../units.ts';
import { withDeadline } from './deadline.ts';
import { errnoOf } from './errno.ts';

/** The kernel asks again for a page that failed while read ahead: after an interruption that must not wait long. */
const STOPPING_READ_TIMEOUT_MS = 1000;
/** Paths of files whose reads failed: finding one is a walk over the tree. */
const MAX_KEPT_PATHS = 256;

export interface MissedReadsParts {
  readonly session: FuseSession;
  /** 0: wait for ever. */
  readonly timeoutMs: number;
}

/** What is shown, and its nodes by number. */
export interface Shown {
  readonly filesystem: FileSystem;
  readonly tree: NumberedTree;
}

export class MissedReads {
  readonly #parts: MissedReadsParts;
  readonly #waiting = new Map<number, AbortController>();
  readonly #paths = new Map<number, string>();
  #shown: Shown;
  #isStopping = false;
  failed = 0;

  constructor(parts: MissedReadsParts, shown: Shown) {
    this.#parts = parts;
    this.#shown = shown;
  }

  /** More is shown from now on; what was there has the same numbers. */
  show(shown: Shown): void {
    this.#shown = shown;
  }

  async answer(id: number, ino: number, offset: number, length: number): Promise<void> {
    const { session } = this.#parts;
    const { filesystem, tree } = this.#shown;
    const stop = new AbortController();
    this.#waiting.set(id, stop);
    try {
      const bytes = await withDeadline(
        (signal) => filesystem.read(tree.node(ino), offset, length, signal),
        this.#timeoutMs(),
        stop.signal,
      );
      session.reply(id, bytes);
    } catch (error) {
      // Answered already, by an interruption: then there is nobody to tell.
      if (!this.#waiting.has(id)) return;
      this.#report(ino, offset, length, error);
      session.fail(id, errnoOf(error));
    } finally {
      this.#waiting.delete(id);
    }
  }

  interrupt(id: number): void {
    const stop = this.#waiting.get(id);
    this.#waiting.delete(id);
    stop?.abort(new PeelError('ERR_INTERRUPTED', 'the reader was interrupted'));
  }

  /** Ends all that wait with EIO. Later ones are served as far as their bytes come within a second. */
  interruptAll(reason: PeelError): void {
    this.#isStopping = true;
    for (const stop of this.#waiting.values()) stop.abort(reason);
  }

  #timeoutMs(): number {
    const { timeoutMs } = this.#parts;
    if (!this.#isStopping) return timeoutMs;
    return timeoutMs === 0 ? STOPPING_READ_TIMEOUT_MS : Math.min(timeoutMs, STOPPING_READ_TIMEOUT_MS);
  }

  /** The page is not cached, so the next read tries again. Whoever reads the log finds the place (P8). */
  #report(ino: number, offset: number, length: number, error: unknown): void {
    this.failed += 1;
    const layer = this.#shown.tree.node(ino).content?.layer;
    const place = layer === undefined ? '' : `layer ${layer}, file bytes ${offset}-${offset + length}: `;
    const facts = {
      ...(isPeelError(error) ? { code: error.code } : { code: 'bug', err: error }),
      ...(layer === undefined ? {} : { layer }),
      offset,
      length,
      ...(isPeelError(error) ? error.facts : {}),
    };
    const message = error instanceof Error ? error.message : String(error);
    const path = this.#pathOf(ino);
    log().error({ ...facts, operation: 'read', file: path }, `read ${path}: ${place}${message}`);
  }

  #pathOf(ino: number): string {
    let path = this.#paths.get(ino);
    if (path === undefined) {
      const bytes = bytesOfBuffer(this.#parts.session.pathOf(ino));
      path = textOfBytes(bytes) ?? bytes;
      if (this.#paths.size >= MAX_KEPT_PATHS) this.#paths.clear();
      this.#paths.set(ino, path);
    }
    return path;
  }
}
