/**
 * The sha256 of the uncompressed bytes of each span, for a TOC whose index has digests of the compressed bytes alone
 * (SOCI). Learned when a span was first fetched, verified and decompressed; kept in the file `sums` beside the TOC, 32
 * bytes a span, zeros for those not learned yet. A sum that is damaged costs one more fetch: the bytes on disk do not
 * have it.
 */
import type { FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { systemCodeOf } from '../errors.ts';
import { log } from '../log.ts';
import { openOwnFile, READ_WRITE_CREATE, readFully, writeFully } from '../storage/own-file.ts';
import type { Span, TocIndex } from './toc.ts';
import { SHA256_BYTES } from './toc-format.ts';

export const SUMS_FILE = 'sums';

/**
 * Takes all sums of a TOC of headers alone from one of the same layer that was proved: its spans are the same. Tells what
 * is wrong where a span is known and was another one; undefined where nothing is.
 */
export function learnAll(toc: TocIndex, proved: TocIndex): string | undefined {
  if (toc.own?.format !== 'headers') return undefined;
  for (const [index, { sha256 }] of toc.spans.entries()) {
    const sum = proved.spans[index]?.sha256;
    if (sum === undefined) return `span ${index} is not in it`;
    if (isKnown(sha256) && !sha256.equals(sum)) return `span ${index} was read, and has other bytes`;
    sum.copy(sha256);
  }
  return undefined;
}

/** Whether something was learned: nothing has a sum of zeros. */
export function isKnown(sum: Buffer): boolean {
  return sum.some((byte) => byte !== 0);
}

export class LearnedSums {
  readonly #spans: readonly Span[];
  readonly #file: FileHandle | undefined;

  private constructor(spans: readonly Span[], file: FileHandle | undefined) {
    this.#spans = spans;
    this.#file = file;
  }

  /** Fills in what was learned before. Never fails: where the disk does, nothing is kept. */
  static async open(folder: string, spans: readonly Span[]): Promise<LearnedSums> {
    try {
      const { handle } = await openOwnFile(path.join(folder, SUMS_FILE), READ_WRITE_CREATE);
      const known = Buffer.alloc(SHA256_BYTES * spans.length);
      await readFully(handle, known, 0);
      spans.forEach(({ sha256 }, index) => known.copy(sha256, 0, SHA256_BYTES * index));
      return new LearnedSums(spans, handle);
    } catch (error) {
      log().debug({ folder, reason: systemCodeOf(error) ?? String(error) }, 'learned sums cannot be kept');
      return new LearnedSums(spans, undefined);
    }
  }

  /** Without a file, for a TOC that could not be stored. */
  static inMemory(spans: readonly Span[]): LearnedSums {
    return new LearnedSums(spans, undefined);
  }

  async learn(span: number, sum: Buffer): Promise<void> {
    sum.copy(this.#spans[span]?.sha256 ?? Buffer.alloc(SHA256_BYTES));
    if (this.#file === undefined) return;
    try {
      await writeFully(this.#file, sum, SHA256_BYTES * span);
    } catch (error) {
      log().debug({ span, reason: systemCodeOf(error) ?? String(error) }, 'a learned sum cannot be kept');
    }
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}
