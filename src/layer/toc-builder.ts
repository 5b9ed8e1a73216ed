/** Collects the entries of one layer while it is scanned, within the caps of FAULTS section 7. */
import { PeelError } from '../errors.ts';
import type { TarFrame } from '../native.ts';
import { decodeFrame, isSkipped } from './header.ts';
import type { Entry } from './toc.ts';

const MAX_ENTRIES = 5_000_000;
/** A layer can hold millions of members that we skip; their warnings should not be the larger part of its TOC. */
const MAX_WARNINGS = 100;

export class TocBuilder {
  readonly entries: Entry[] = [];
  readonly #warnings: string[] = [];
  #warningsLeftOut = 0;
  readonly #maxEntries: number;

  constructor(maxEntries = MAX_ENTRIES) {
    this.#maxEntries = maxEntries;
  }

  /** @throws PeelError for a header that is broken or passes a cap; its facts have the offset. */
  add(frames: readonly TarFrame[]): void {
    for (const frame of frames) {
      const decoded = decodeFrame(frame);
      if (isSkipped(decoded)) {
        this.warn(decoded.warning);
      } else {
        if (this.entries.length === this.#maxEntries) {
          throw new PeelError('ERR_LIMIT_EXCEEDED', `more than ${this.#maxEntries} entries in one layer`, {
            facts: { offset: frame.headerOffset },
          });
        }
        this.entries.push(decoded);
      }
    }
  }

  warn(line: string): void {
    if (this.#warnings.length < MAX_WARNINGS) this.#warnings.push(line);
    else this.#warningsLeftOut++;
  }

  get warnings(): readonly string[] {
    if (this.#warningsLeftOut === 0) return this.#warnings;
    return [...this.#warnings, `${this.#warningsLeftOut} more warnings of this kind`];
  }
}
