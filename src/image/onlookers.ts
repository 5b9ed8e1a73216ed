/** Whoever looks on while the layers of an image are indexed; each layer's are one to the pass over it. */
import type { Onlooker, Passing } from '../layer/layer-input.ts';
import type { Digest } from '../units.ts';

export class Onlookers {
  readonly #byLayer = new Map<Digest, Set<Onlooker>>();

  /** Returns what ends it. */
  add(layer: Digest, onlooker: Onlooker): () => void {
    const onlookers = this.#of(layer);
    onlookers.add(onlooker);
    return () => onlookers.delete(onlooker);
  }

  /** All of a layer, those to come too. Nobody is waited for once `signal` is aborted. */
  jointly(layer: Digest, signal: AbortSignal): Onlooker {
    const onlookers = this.#of(layer);
    const aborted = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    return {
      get isLooking() {
        return [...onlookers].some(({ isLooking }) => isLooking);
      },
      async passing(passing: Passing) {
        await Promise.race([aborted, Promise.all([...onlookers].map((each) => each.passing(passing)))]);
      },
    };
  }

  #of(layer: Digest): Set<Onlooker> {
    const onlookers = this.#byLayer.get(layer) ?? new Set();
    this.#byLayer.set(layer, onlookers);
    return onlookers;
  }
}
