/**
 * The merged view of an image: from the cache where it was stored, else of its layers' TOCs, once a process; and what the
 * upper layers say by themselves until then.
 */
import type { Toc } from '../layer/toc.ts';
import { log } from '../log.ts';
import { mergeLayers } from '../tree/merge.ts';
import type { Tree } from '../tree/node.ts';
import { type StoredTree, type TreeStore, treeKey } from '../tree/stored-tree.ts';
import type { OpenedLayers } from './opened-layers.ts';
import { proveUnverified } from './unverified.ts';
import { upperTrees } from './upper-trees.ts';

/** A tree of the image, as far as it is known. */
export interface KnownTree {
  /** Unless it is the whole image: each path in it is final, but directories may have more children. */
  readonly tree: Tree;
  readonly isWhole: boolean;
}

export class ImageTrees {
  /** Of the image. */
  readonly #name: string;
  readonly #layers: OpenedLayers;
  readonly #store: TreeStore;
  #loaded: Promise<StoredTree | undefined> | undefined;
  #whole: Promise<StoredTree> | undefined;

  constructor(name: string, layers: OpenedLayers, store: TreeStore) {
    this.#name = name;
    this.#layers = layers;
    this.#store = store;
  }

  /** Of all layers. Indexes those that have no TOC in the cache. */
  async whole(): Promise<Tree> {
    this.#whole ??= this.#loadOrMerge().catch((error: unknown) => {
      // Asked again, it is tried again: the registry may be back.
      this.#whole = undefined;
      throw error;
    });
    return (await this.#whole).tree;
  }

  /**
   * The same, as it becomes known: all layers are indexed, the upper ones first, and each tree reaches deeper than the
   * one before; the last is the whole image, and the only one where nothing needs to be indexed. Rejects as soon as any
   * layer fails; asked again, it is tried again.
   */
  async *known(): AsyncGenerator<KnownTree, void, undefined> {
    const whole = this.whole();
    whole.catch(() => {});
    if (!(await this.isAtHand())) {
      const toc = (layer: number): Promise<Toc> => this.#layers.toc(layer);
      const known = upperTrees({
        count: this.#layers.count,
        // No longer than until some layer has failed.
        entries: async (layer) => (await Promise.race([toc(layer), whole.then(() => toc(layer))])).entries,
        isAtHand: (layer) => this.#layers.isKnown(layer),
      });
      for await (const { tree } of known) yield { tree, isWhole: false };
    }
    yield { tree: await whole, isWhole: true };
  }

  /** Whether the whole can be had without indexing. */
  async isAtHand(): Promise<boolean> {
    for (let layer = 0; layer < this.#layers.count; layer += 1) {
      if (!this.#layers.isKnown(layer)) return this.isStored();
    }
    return true;
  }

  /** Whether the cache has the whole. */
  async isStored(): Promise<boolean> {
    return (await this.#load()) !== undefined;
  }

  /** As `proveUnverified` of unverified.ts. */
  proveUnverified(isInBackground: boolean): Promise<void> {
    return proveUnverified({ name: this.#name, layers: this.#layers, trees: this.#store }, isInBackground);
  }

  #load(): Promise<StoredTree | undefined> {
    this.#loaded ??= this.#loadByIdentity().catch((error: unknown) => {
      this.#loaded = undefined;
      throw error;
    });
    return this.#loaded;
  }

  async #loadByIdentity(): Promise<StoredTree | undefined> {
    const identities = await this.#layers.identities();
    return identities === undefined ? undefined : this.#store.load(treeKey(identities));
  }

  async #loadOrMerge(): Promise<StoredTree> {
    const stored = (await this.#load()) ?? (await this.#saveMerged());
    for (const warning of stored.tree.warnings) log().warn({ image: this.#name }, warning);
    return stored;
  }

  async #saveMerged(): Promise<StoredTree> {
    const tree = await this.#merge();
    const identities = await this.#layers.identities();
    if (identities === undefined) throw new TypeError(`${this.#name}: merged, but its layers are not known`);
    return this.#store.save(treeKey(identities), tree);
  }

  async #merge(): Promise<Tree> {
    const { count } = this.#layers;
    // The upper ones come first: they may say by themselves what somebody waits for.
    for (let layer = count - 1; layer >= 0; layer -= 1) this.#layers.startIndexing(layer);
    // One layer that fails ends it: nobody waits for the download of the others, which `close` interrupts.
    const tocs = await Promise.all(Array.from({ length: count }, (_, layer) => this.#layers.toc(layer)));
    return mergeLayers(tocs.map((toc) => toc.entries));
  }
}
