/**
 * What the user sees while layers are indexed: one bar that is redrawn on a terminal, a line now and then
 * with `--progress plain`, nothing at all where nobody looks.
 *
 *   indexing layer 2 of 5  [########------------]  41 %  12.9 MB of 31.4 MB  84.1 MB/s
 */
import type { IndexProgress } from '../image/opened-layers.ts';
import type { Output } from './output.ts';
import { quoteText } from './quote.ts';
import type { ProgressStyle } from './settings.ts';
import { decimalSize } from './size.ts';

export interface Progress {
  layerProgress(event: IndexProgress): void;
  /** Takes the bar off the terminal, so that a message can stand there; the next event brings it back. */
  clear(): void;
  /** The same, but it stays away until `release`: while data is written to the same terminal. */
  hold(): void;
  release(): void;
}

/** A bar that moves more often than this is not read any better. */
const REDRAW_MS = 100;
/** Plain lines go to logs: few. */
const PLAIN_MS = 5_000;
const BAR_CELLS = 20;
const ERASE_LINE = '\r\x1b[K';

const SILENT: Progress = { layerProgress: () => {}, clear: () => {}, hold: () => {}, release: () => {} };

/** `write` takes text for standard error at once. */
export function createProgress(
  style: ProgressStyle,
  options: {
    quiet: boolean;
    isTerminal: boolean;
    columns: () => number;
    write: (text: string) => void;
    now?: () => number;
  },
): Progress {
  const now = options.now ?? (() => performance.now());
  if (options.quiet || style === 'none') return SILENT;
  if (style === 'plain') return new PlainProgress(options.write, now);
  return options.isTerminal ? new BarProgress(options.write, options.columns, now) : SILENT;
}

/** `createProgress` over an Output; progress is never waited for. */
export function progressOn(stderr: Output, style: ProgressStyle, quiet: boolean): Progress {
  return createProgress(style, {
    quiet,
    isTerminal: stderr.isTerminal,
    columns: () => stderr.columns,
    write: (text) => {
      // A closed standard error is no reason to end: the data goes to standard output.
      stderr.write(text).catch(() => {});
    },
  });
}

class BarProgress implements Progress {
  readonly #write: (text: string) => void;
  readonly #columns: () => number;
  readonly #now: () => number;
  readonly #started = new Map<string, { at: number; from: number }>();
  #drawnAt = Number.NEGATIVE_INFINITY;
  #isShown = false;
  #isHeld = false;

  constructor(write: (text: string) => void, columns: () => number, now: () => number) {
    this.#write = write;
    this.#columns = columns;
    this.#now = now;
  }

  layerProgress(event: IndexProgress): void {
    const now = this.#now();
    const started = this.#started.get(doingOf(event)) ?? { at: now, from: event.bytes };
    this.#started.set(doingOf(event), started);
    if (event.isDone) {
      if (event.layer === event.layerCount - 1) this.clear();
      return;
    }
    if (this.#isHeld || now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    const line = `${describe(event)}${rateOf(event.bytes - started.from, now - started.at)}`;
    this.#write(`${ERASE_LINE}${line.slice(0, Math.max(1, this.#columns() - 1))}`);
    this.#isShown = true;
  }

  clear(): void {
    if (this.#isShown) this.#write(ERASE_LINE);
    this.#isShown = false;
    this.#drawnAt = Number.NEGATIVE_INFINITY;
  }

  hold(): void {
    this.clear();
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
  }
}

class PlainProgress implements Progress {
  readonly #write: (text: string) => void;
  readonly #now: () => number;
  readonly #layers = new Map<
    string,
    { startedAt: number; from: number; saidAt: number; isComplete: boolean }
  >();

  constructor(write: (text: string) => void, now: () => number) {
    this.#write = write;
    this.#now = now;
  }

  layerProgress(event: IndexProgress): void {
    const now = this.#now();
    let state = this.#layers.get(doingOf(event));
    if (state === undefined) {
      state = { startedAt: now, from: event.bytes, saidAt: now, isComplete: false };
      this.#layers.set(doingOf(event), state);
      this.#write(`${doingOf(event)}${event.size === 0 ? '' : `: ${decimalSize(event.size)}`}\n`);
    }
    if (event.isDone && !state.isComplete) {
      state.isComplete = true;
      this.#write(
        `${doneOf(event)}: ${decimalSize(event.size)}${rateOf(event.bytes - state.from, now - state.startedAt)}\n`,
      );
    } else if (!event.isDone && now - state.saidAt >= PLAIN_MS) {
      state.saidAt = now;
      this.#write(
        `${doingOf(event)}: ${sizesOf(event)}${rateOf(event.bytes - state.from, now - state.startedAt)}\n`,
      );
    }
  }

  clear(): void {}

  hold(): void {}

  release(): void {}
}

function describe(event: IndexProgress): string {
  if (event.size === 0) return `${doingOf(event)}  ${sizesOf(event)}`;
  const share = Math.min(1, event.bytes / event.size);
  const filled = Math.floor(share * BAR_CELLS);
  const bar = `${'#'.repeat(filled)}${'-'.repeat(BAR_CELLS - filled)}`;
  const percent = String(Math.floor(share * 100)).padStart(3);
  return `${doingOf(event)}  [${bar}] ${percent} %  ${sizesOf(event)}`;
}

function doingOf({ doing, layer, layerCount }: IndexProgress): string {
  return doing === undefined ? `indexing layer ${layer + 1} of ${layerCount}` : quoteText(doing);
}

function doneOf({ doing, layer, layerCount }: IndexProgress): string {
  return doing === undefined ? `indexed layer ${layer + 1} of ${layerCount}` : `done ${quoteText(doing)}`;
}

function sizesOf({ bytes, size }: IndexProgress): string {
  return size === 0 ? decimalSize(bytes) : `${decimalSize(bytes)} of ${decimalSize(size)}`;
}

/** Nothing for the first moments, when a rate would be a guess. */
function rateOf(bytes: number, elapsedMs: number): string {
  return elapsedMs < 200 ? '' : `  ${decimalSize(Math.round((bytes * 1000) / elapsedMs))}/s`;
}
