/** Collects the entries of one layer while it is scanned, within the caps of FAULTS section 7. */
import { PeelError } from '../errors.ts';
import type { TarFrame } from '../native.ts';
import { MAX_NAME_BYTES } from './clean-path.ts';
import { decodeFrame, isSkipped } from './header.ts';
import type { Entry } from './toc.ts';

const MAX_ENTRIES = 5_000_000;
/** A layer can hold millions of members that we skip; their warnings should not be the larger part of its TOC. */
const MAX_WARNINGS = 100;

/** Default: the caps. */
interface LayerLimits {
  readonly maxEntries?: number;
  readonly maxNameBytes?: number;
}

export class TocBuilder {
  readonly entries: Entry[] = [];
  readonly #warnings: string[] = [];
  #warningsLeftOut = 0;
  readonly #maxEntries: number;
  readonly #maxNameBytes: number;
  #nameBytes = 0;

  constructor({ maxEntries = MAX_ENTRIES, maxNameBytes = MAX_NAME_BYTES }: LayerLimits = {}) {
    this.#maxEntries = maxEntries;
    this.#maxNameBytes = maxNameBytes;
  }

  /** @throws PeelError for a header that is broken or passes a cap; its facts have the offset. */
  add(frames: readonly TarFrame[]): void {
    for (const frame of frames) {
      const decoded = decodeFrame(frame);
      if (isSkipped(decoded)) {
        this.warn(decoded.warning);
      } else {
        if (this.entries.length === this.#maxEntries) {
          throw tooMuch(`more than ${this.#maxEntries} entries in one layer`, frame);
        }
        this.#nameBytes += decoded.path.length + (decoded.target?.length ?? 0);
        if (this.#nameBytes > this.#maxNameBytes) {
          throw tooMuch(
            `paths and link targets of more than ${this.#maxNameBytes} bytes in one layer`,
            frame,
          );
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

function tooMuch(what: string, { headerOffset }: TarFrame): PeelError {
  return new PeelError('ERR_LIMIT_EXCEEDED', what, { facts: { offset: headerOffset } });
}
