/**
 * A mount that serves before all layers of its image are known: they are read from the top down, and each larger view of
 * the image replaces the one before. What no view says yet waits in the mount.
 *
 *   growing ──── the whole image ────► whole
 *     │  ▲
 *     ▼  │ somebody waits, and what failed may have passed
 *   stuck: what is known goes on being served, what is not ends with EIO
 *
 * A layer that turned out not to be what the image names, or not to be a layer, stays so: nobody downloads it again for
 * each lookup. All else (a registry that was away) is tried again for the next one who asks (P8).
 */
import { isPeelError, isVerdict, PeelError } from '../errors.ts';
import type { FileSystem } from '../filesystem/filesystem.ts';
import {
  DEFAULT_READ_TIMEOUT_MS,
  type GrowingMount,
  type Transport,
  type TransportOptions,
} from '../fuse/transport.ts';
import { log } from '../log.ts';

/** An image that is not known as a whole yet. */
export interface GrowingImage {
  /** How many. */
  readonly layers: number;
  /** What is known of any image: a root. */
  readonly start: FileSystem;
  /** Each knows more than the one before, the last is whole. Rejects when a layer fails; asked again, tries again. */
  views(): AsyncIterable<{ readonly filesystem: FileSystem; readonly isWhole: boolean }>;
  /** `listener` is called when bytes of a layer have come. */
  onProgress(listener: () => void): void;
}

export type GrowthState = 'growing' | 'stuck' | 'whole';

interface GrowthParts {
  readonly image: GrowingImage;
  /** Milliseconds without any progress after which those who wait end with EIO; 0: never. */
  readonly timeoutMs: number;
  readonly onState: (state: GrowthState) => void;
}

export interface Grown {
  readonly mounted: GrowingMount;
  readonly growth: Growth;
  /** Of the first attempt, whose failure is told nowhere else: resolves when the image is whole. */
  readonly whole: Promise<void>;
}

/** How exactly the deadline is kept. */
const MAX_TICK_MS = 500;

/**
 * Mounts what is known of an image, and reads the rest. `onState` is called at each change, until `Growth.end`.
 * @throws PeelError as `Transport.mount`.
 */
export async function mountGrowing(
  transport: Transport,
  image: GrowingImage,
  mountPoint: string,
  options: TransportOptions,
  onState: (state: GrowthState) => void,
): Promise<Grown> {
  if (transport.mountEarly === undefined) throw new TypeError(`${transport.name} shows whole images alone`);
  const timeoutMs = options.readTimeoutMs ?? DEFAULT_READ_TIMEOUT_MS;
  const growth = new Growth({ image, timeoutMs, onState });
  const early = { layers: image.layers, onWaiting: () => growth.wanted() };
  const mounted = await transport.mountEarly(image.start, mountPoint, options, early);
  const gone = mounted.closed.then(() => {
    throw new PeelError('ERR_INTERRUPTED', `${mountPoint} was unmounted before all layers were known`);
  });
  const whole = Promise.race([growth.start(mounted), gone]);
  whole.catch(() => undefined);
  return { mounted, growth, whole };
}

/** Whoever reads the log finds out why names of a mount are EIO (P8). What was ended on purpose is no failure. */
export function logMissing(error: unknown): void {
  if (isPeelError(error, 'ERR_INTERRUPTED')) return;
  const facts = isPeelError(error) ? { code: error.code, ...error.facts } : { code: 'bug', err: error };
  const message = error instanceof Error ? error.message : String(error);
  log().error(facts, `what is not known of the image yet ends with EIO: ${message}`);
}

export class Growth {
  readonly #parts: GrowthParts;
  #mount: GrowingMount | undefined;
  #state: GrowthState = 'growing';
  #failure: unknown;
  #isEnding = false;
  /** Since when somebody waits, or bytes came last: what the deadline counts from. */
  #waitsSince = 0;
  #hasProgressed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: GrowthParts) {
    this.#parts = parts;
    parts.image.onProgress(() => {
      this.#hasProgressed = true;
    });
  }

  /** Reads the layers for `mount`. Settles when the image is whole or a layer has failed for the first time. */
  start(mount: GrowingMount): Promise<void> {
    this.#mount = mount;
    return this.#grow();
  }

  /** Somebody waits for what is not known. */
  wanted(): void {
    if (this.#isEnding) {
      this.#mount?.failWaiting();
      return;
    }
    // What waited when the last layer came is answered already.
    if (this.#state === 'whole') return;
    this.#watch();
    if (this.#state !== 'stuck') return;
    if (isVerdict(this.#failure)) {
      this.#giveUp();
      logMissing(this.#failure);
    } else this.#grow().catch(logMissing);
  }

  /** Nothing is read for anybody any more: who waits, now or later, ends with EIO. */
  end(): void {
    this.#isEnding = true;
    this.#giveUp();
  }

  async #grow(): Promise<void> {
    this.#become('growing');
    try {
      for await (const { filesystem, isWhole } of this.#parts.image.views()) {
        this.#mount?.grow(filesystem, isWhole);
        if (!isWhole) continue;
        this.#become('whole');
        this.#stopWatching();
      }
    } catch (error) {
      if (this.#state !== 'whole') {
        this.#failure = error;
        this.#become('stuck');
        this.#giveUp();
      }
      throw error;
    }
  }

  #giveUp(): void {
    this.#stopWatching();
    this.#mount?.failWaiting();
  }

  #become(state: GrowthState): void {
    if (state === this.#state) return;
    this.#state = state;
    if (!this.#isEnding) this.#parts.onState(state);
  }

  #watch(): void {
    const { timeoutMs } = this.#parts;
    this.#waitsSince = performance.now();
    if (timeoutMs === 0 || this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.#tick(timeoutMs), Math.min(MAX_TICK_MS, timeoutMs / 4)).unref();
  }

  #tick(timeoutMs: number): void {
    if (this.#hasProgressed) {
      this.#hasProgressed = false;
      this.#waitsSince = performance.now();
      this.#mount?.noteProgress();
    } else if (performance.now() - this.#waitsSince > timeoutMs) {
      this.#giveUp();
      logMissing(new PeelError('ERR_DEADLINE', `no bytes of any layer came for ${timeoutMs / 1000} s`));
    }
  }

  #stopWatching(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
