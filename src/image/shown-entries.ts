/**
 * What was shown of layers that are read by the headers of their tar alone. The key of such a TOC names the layer and the
 * place that the headers come from, not what they said: another process may keep other ones under it, and so may this
 * one, once they were evicted. What is checked has to be what was shown.
 */
import { entriesDigest } from '../layer/encode-toc.ts';
import type { Toc } from '../layer/toc.ts';
import type { Digest } from '../units.ts';

export class ShownEntries {
  readonly #digests = new Map<Digest, Digest>();

  /** False where other entries of the layer were shown before. */
  note(toc: Toc): boolean {
    if (toc.own?.format !== 'headers') return true;
    const digest = entriesDigest(toc.entries);
    const before = this.#digests.get(toc.digest);
    if (before === undefined) this.#digests.set(toc.digest, digest);
    return before === undefined || before === digest;
  }

  of(layer: Digest): Digest | undefined {
    return this.#digests.get(layer);
  }

  /** `proved`: of the same layer, whatever it comes from. */
  isOther(proved: Toc): boolean {
    const shown = this.#digests.get(proved.digest);
    return shown !== undefined && shown !== entriesDigest(proved.entries);
  }
}
