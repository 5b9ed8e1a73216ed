/**
 * Large files of a layer as files of their own, for the kernel to read by itself (FUSE passthrough):
 *
 *   spans     |-- 7 --|-- 8 --|-- 9 --|-- 10 --|            in `spans`, at the offsets of the tar
 *   file          |===================|                     file-OFFSET-LENGTH-EDGES
 *                 |edge|- 8 --|- 9 ---|edge|
 *
 * A backing file is made from spans at hand alone, never from the network, and verified again before each process uses
 * it: spans that lie in it whole by their digest in the TOC, the bytes at its two ends by the digest in its name.
 * Like spans it is a hint, bounded and evicted with them (evict.ts); who has it open reads on (F43).
 */
import { type FileHandle, rm } from 'node:fs/promises';
import path from 'node:path';
import { interruptionOf } from '../errors.ts';
import type { Toc } from '../layer/toc.ts';
import { log } from '../log.ts';
import { sha256 } from '../native.ts';
import { NotOurFile, type OpenedFile, openOwnFile, READ_ONLY, readAt } from '../storage/own-file.ts';
import { prepareFolder, replaceFile } from '../storage/replace-file.ts';
import type { UncompressedRange } from '../units.ts';
import { BACKING_PREFIX, namesIn } from './cached-layer.ts';
import type { Evictor } from './evict.ts';
import type { LayerReader } from './layer-reader.ts';
import { spanOf, spansOf } from './plan.ts';

export interface BackingFile {
  readonly path: string;
  /** Of that very file, for reading; the caller closes it. */
  readonly handle: FileHandle;
}

export interface BackingFilesParts {
  readonly directory: string;
  readonly toc: Pick<Toc, 'digest' | 'spans'>;
  readonly reader: Pick<LayerReader, 'areAtHand' | 'readAtHand'>;
  readonly evictor: Evictor;
}

/** The part of a range that one span holds, in bytes of the span. */
interface Slice {
  readonly span: number;
  readonly start: number;
  readonly end: number;
  /** All of the span. */
  readonly isWhole: boolean;
}

/** Read by nobody but the kernel, written by nobody. */
const MODE = 0o400;

export class BackingFiles {
  readonly #parts: BackingFilesParts;

  constructor(parts: BackingFilesParts) {
    this.#parts = parts;
  }

  /**
   * A file that holds the bytes of `range`, verified just now; made where all of them are at hand and the cache has
   * room. undefined where there is none to be had. @throws PeelError ERR_INTERRUPTED; never for what the disk does.
   */
  async open(range: UncompressedRange, signal: AbortSignal): Promise<BackingFile | undefined> {
    try {
      return (await this.#openFound(range, signal)) ?? (await this.#make(range, signal));
    } catch (error) {
      if (signal.aborted) throw interruptionOf(signal, `a file of layer ${this.#parts.toc.digest}`);
      log().debug({ layer: this.#parts.toc.digest, ...range, err: error }, 'no backing file');
      return undefined;
    }
  }

  async #openFound(range: UncompressedRange, signal: AbortSignal): Promise<BackingFile | undefined> {
    const { directory, toc } = this.#parts;
    const prefix = prefixOf(range);
    const name = (await namesIn(directory)).find((each) => each.startsWith(prefix));
    if (name === undefined) return undefined;
    const file = path.join(directory, name);
    const opened = await openOwnFile(file, READ_ONLY).catch((error: unknown) => {
      if (error instanceof NotOurFile) return undefined;
      throw error;
    });
    try {
      if (opened !== undefined && (await this.#isRight(opened, name, range, signal))) {
        return { path: file, handle: opened.handle };
      }
    } catch (error) {
      await opened?.handle.close();
      throw error;
    }
    log().warn({ layer: toc.digest, file }, 'a damaged part of the cache was removed');
    await opened?.handle.close();
    await rm(file, { recursive: true, force: true });
    return undefined;
  }

  async #isRight(
    { handle, found }: OpenedFile,
    name: string,
    range: UncompressedRange,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (found.size !== range.end - range.start) return false;
    const { spans } = this.#parts.toc;
    const edges: Buffer[] = [];
    let at = 0;
    for (const slice of slicesOf(spans, range)) {
      signal.throwIfAborted();
      const length = slice.end - slice.start;
      const bytes = await readAt(handle, at, length);
      if (!slice.isWhole) edges.push(bytes);
      else if (!(await sha256(bytes)).equals(spanOf(spans, slice.span).sha256)) return false;
      at += length;
    }
    return name === (await nameOf(range, edges));
  }

  async #make(range: UncompressedRange, signal: AbortSignal): Promise<BackingFile | undefined> {
    const { directory, toc, reader, evictor } = this.#parts;
    const { first, last } = spansOf(toc.spans, range);
    if (!(await reader.areAtHand(first, last))) return undefined;
    const length = range.end - range.start;
    if (!evictor.isWorth(length) || !(await evictor.makeRoom(length))) return undefined;

    const slices = slicesOf(toc.spans, range);
    const edges: Buffer[] = [];
    for (const slice of slices) if (!slice.isWhole) edges.push(await this.#read(slice));
    const name = await nameOf(range, edges);
    const read = this.#read.bind(this);
    async function* pieces(): AsyncGenerator<Buffer> {
      for (const slice of slices) {
        signal.throwIfAborted();
        yield await read(slice);
      }
    }
    await prepareFolder(directory);
    const handle = await replaceFile(directory, name, pieces(), { mode: MODE });
    await handle.close();
    const file = path.join(directory, name);
    // Opened anew, for reading: a file that is open for writing cannot be executed.
    return { path: file, handle: (await openOwnFile(file, READ_ONLY)).handle };
  }

  async #read({ span, start, end }: Slice): Promise<Buffer> {
    const bytes = await this.#parts.reader.readAtHand(span);
    if (bytes === undefined) throw new Error(`span ${span} is not in the cache any more`);
    return bytes.subarray(start, end);
  }
}

function slicesOf(spans: Toc['spans'], range: UncompressedRange): Slice[] {
  const { first, last } = spansOf(spans, range);
  const slices: Slice[] = [];
  for (let index = first; index <= last; index += 1) {
    const span = spanOf(spans, index);
    const start = Math.max(range.start, span.start) - span.start;
    const end = Math.min(range.end, span.end) - span.start;
    slices.push({ span: index, start, end, isWhole: end - start === span.end - span.start });
  }
  return slices;
}

function prefixOf({ start, end }: UncompressedRange): string {
  return `${BACKING_PREFIX}${start}-${end - start}-`;
}

async function nameOf(range: UncompressedRange, edges: readonly Buffer[]): Promise<string> {
  return `${prefixOf(range)}${(await sha256(Buffer.concat(edges))).toString('hex')}`;
}
