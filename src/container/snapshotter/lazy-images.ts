/**
 * The images behind lazy snapshots: whether a layer that containerd wants can be shown without unpacking it, and the
 * mounts that show it. One mount for a stack of layers, not one a layer: what is below is merged into it already, so
 * that only the uppermost layer that somebody builds on is ever mounted.
 */
import { isPeelError } from '../../errors.ts';
import type { Image } from '../../image.ts';
import { log } from '../../log.ts';
import { logMissing } from '../../mount/growth.ts';
import { type MountedImage, type MountImageOptions, mountImage } from '../../mount.ts';
import { parseDigest } from '../../reference/digest.ts';
import { factsOf, type ImageFacts, pinnedName } from './image-facts.ts';
import { type LazyRequest, readLazyLabels, TARGET_LABEL } from './lazy-labels.ts';
import type { LazyLayers, Snapshot } from './snapshot.ts';
import type { SnapshotFolders } from './snapshot-folders.ts';

/** A pull asks for the layers of one image, one after the other: so long the answers for a tag are those of one pull. */
const FACTS_MS = 60_000;
/** Of images; a few kilobytes each. */
const MAX_FACTS = 32;
/** What is still in use when the server ends has so long. */
const CLOSE_MS = 2000;

/** `layers`: so many of them, the lowest first, as if the image had no other; undefined: all. */
export type OpenImage = (
  name: string,
  options: { readonly layers?: number; readonly signal?: AbortSignal },
) => Promise<Image>;

interface Mounting {
  readonly mounted: Promise<MountedImage>;
  /** Ends the opening of the image and its indexing. */
  readonly ending: AbortController;
}

export interface LazyImagesParts {
  readonly openImage: OpenImage;
  readonly folders: SnapshotFolders;
  readonly mountOptions: MountImageOptions;
}

export interface FoundLayers {
  readonly lazy: LazyLayers;
  /** Whether they are the whole image. */
  readonly isWhole: boolean;
}

export class LazyImages {
  readonly #parts: LazyImagesParts;
  readonly #facts = new Map<string, { readonly at: number; readonly facts: Promise<ImageFacts> }>();
  readonly #mounts = new Map<number, Mounting>();

  constructor(parts: LazyImagesParts) {
    this.#parts = parts;
  }

  /**
   * The layers that `labels` speak of, or undefined where containerd has to unpack this one: the client does not say
   * which it is, the parent was unpacked, or the image cannot be had or is not the one the client has. Never rejects.
   */
  async find(
    labels: Readonly<Record<string, string>>,
    parent: Snapshot | undefined,
  ): Promise<FoundLayers | undefined> {
    const request = readLazyLabels(labels);
    if (request === undefined) return undefined;
    const { image, layer } = request;
    try {
      const { found, reason } = this.#match(request, parent, await this.#factsOf(request));
      if (found === undefined) log().warn({ image, layer }, `${image}: a layer is unpacked: ${reason}`);
      return found;
    } catch (error) {
      const facts = isPeelError(error) ? { code: error.code, ...error.facts } : { err: error };
      const message = error instanceof Error ? error.message : String(error);
      log().warn({ image, layer, ...facts }, `${image}: its layers are unpacked: ${message}`);
      return undefined;
    }
  }

  /** Shows the layers of a lazy snapshot in its folder, if they are not shown already. @throws PeelError of mountImage. */
  async mount(snapshot: Snapshot): Promise<void> {
    const { id } = snapshot;
    const { mounted } = this.#mounts.get(id) ?? this.#startMount(snapshot);
    await mounted;
  }

  /** The same, for somebody who will ask for it soon: layers begin to be indexed. Nobody waits, nothing is thrown. */
  mountSoon(snapshot: Snapshot): void {
    this.mount(snapshot).catch((error: unknown) => {
      log().warn({ err: error, image: snapshot.lazy?.image }, `'${snapshot.name}' cannot be mounted yet`);
    });
  }

  /** Of the snapshot with this number. Who still looks into it is served until he leaves. */
  async unmount(id: number): Promise<void> {
    await (await this.#end(id))?.unmount({ lazy: true });
  }

  /** Reads credentials again. */
  async reload(): Promise<void> {
    for (const { mounted } of this.#mounts.values()) await (await mounted.catch(() => undefined))?.reload();
  }

  /** Takes all mounts down. Containers that use one get ENOTCONN for what the kernel has not kept, once this process ends. */
  async close(): Promise<void> {
    const ending = [...this.#mounts.keys()].map(async (id) => {
      const mounted = await this.#end(id);
      mounted?.interruptReads();
      await mounted?.unmount({ lazy: true });
      await mounted?.closed;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS);
    });
    await Promise.race([Promise.allSettled(ending), late]);
    clearTimeout(timer);
  }

  /** Nobody waits for what was still to come of it; undefined where it is not mounted. */
  async #end(id: number): Promise<MountedImage | undefined> {
    const mounting = this.#mounts.get(id);
    mounting?.ending.abort();
    return mounting?.mounted.catch(() => undefined);
  }

  #startMount({ id, lazy }: Snapshot): Mounting {
    if (lazy === undefined) throw new TypeError(`snapshot ${id} is not lazy`);
    const ending = new AbortController();
    const mounted = this.#open(id, lazy, ending.signal);
    const mounting = { mounted, ending };
    this.#mounts.set(id, mounting);
    const forget = (): void => {
      if (this.#mounts.get(id) === mounting) this.#mounts.delete(id);
    };
    // What cannot be mounted now, or was unmounted by somebody, is mounted again for the next who asks.
    mounted.then(({ closed }) => closed).then(forget, forget);
    return mounting;
  }

  async #open(id: number, { image: name, layers }: LazyLayers, signal: AbortSignal): Promise<MountedImage> {
    const { openImage, folders, mountOptions } = this.#parts;
    const image = await openImage(name, { layers, signal });
    try {
      const mounted = await mountImage(image, folders.upper(id), mountOptions);
      mounted.whole.catch(logMissing);
      return mounted;
    } catch (error) {
      await image.close();
      throw error;
    }
  }

  #match(
    { target, layer }: LazyRequest,
    parent: Snapshot | undefined,
    { image, layers }: ImageFacts,
  ): { readonly found?: FoundLayers; readonly reason?: string } {
    const index = layers.findIndex(({ chainID }) => chainID === target);
    if (index === -1 || layers[index]?.digest !== layer) {
      return { reason: `${image} has no layer ${layer} with the chainID ${target}` };
    }
    if (!layers.slice(0, index + 1).every(({ isReadable }) => isReadable)) {
      return { reason: 'it, or one below it, is of a type that peel does not read' };
    }
    if (index > 0 && parent?.lazy === undefined) return { reason: 'the layers below it were unpacked' };
    if (parent?.labels[TARGET_LABEL] !== layers[index - 1]?.chainID) {
      return { reason: 'the layers below it are not those of the image' };
    }
    return { found: { lazy: { image, layers: index + 1 }, isWhole: index + 1 === layers.length } };
  }

  #factsOf({ image, manifest }: LazyRequest): Promise<ImageFacts> {
    const name = manifest === undefined ? `docker://${image}` : pinnedName(image, parseDigest(manifest));
    const known = this.#facts.get(name);
    if (known !== undefined && performance.now() - known.at < FACTS_MS) return known.facts;
    const facts = this.#readFacts(name, image);
    this.#facts.delete(name);
    this.#facts.set(name, { at: performance.now(), facts });
    for (const oldest of this.#facts.keys()) {
      if (this.#facts.size <= MAX_FACTS) break;
      this.#facts.delete(oldest);
    }
    facts.catch(() => this.#facts.delete(name));
    return facts;
  }

  async #readFacts(name: string, reference: string): Promise<ImageFacts> {
    const image = await this.#parts.openImage(name, {});
    try {
      return factsOf(image, reference);
    } finally {
      await image.close();
    }
  }
}
