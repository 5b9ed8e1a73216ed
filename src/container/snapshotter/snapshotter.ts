/**
 * What containerd may ask of a snapshotter, each answered from the store, the folders and the lazy images.
 *
 *   Prepare, target named ─► lazy? ─ yes ─► committed under the target's name, "exists already": no download
 *                              └──── no ──► a folder that containerd unpacks the layer into
 *   Prepare, View of a container ─► the image below it is mounted, overlayfs goes on top
 *
 * A folder is made before its snapshot is recorded and removed after it is forgotten: what a crash leaves behind is a
 * folder that nothing names, which `cleanup` takes away.
 */
import { PeelError } from '../../errors.ts';
import { log } from '../../log.ts';
import { parseFilters } from './filters.ts';
import type { LazyImages } from './lazy-images.ts';
import { LAZY_LABEL, TARGET_LABEL } from './lazy-labels.ts';
import { lowerSnapshots, type Mount, mountsOf } from './mounts.ts';
import { NO_USAGE, type Snapshot, type Usage } from './snapshot.ts';
import type { SnapshotFolders } from './snapshot-folders.ts';
import type { SnapshotStore } from './snapshot-store.ts';

type Labels = Readonly<Record<string, string>>;

export interface SnapshotterParts {
  readonly store: SnapshotStore;
  readonly folders: SnapshotFolders;
  readonly images: LazyImages;
}

export class Snapshotter {
  readonly #store: SnapshotStore;
  readonly #folders: SnapshotFolders;
  readonly #images: LazyImages;
  /** Numbers of folders whose snapshots are being made. */
  readonly #making = new Set<number>();

  constructor({ store, folders, images }: SnapshotterParts) {
    this.#store = store;
    this.#folders = folders;
    this.#images = images;
  }

  /**
   * A snapshot to write to, over `parent` or empty.
   * @throws PeelError ERR_SNAPSHOT_EXISTS also where labels name a target that is now there; ERR_SNAPSHOT_NOT_FOUND.
   */
  async prepare(key: string, parent: string | undefined, labels: Labels): Promise<readonly Mount[]> {
    const target = labels[TARGET_LABEL];
    if (target !== undefined && (await this.#provide(target, key, parent, labels))) {
      throw new PeelError('ERR_SNAPSHOT_EXISTS', `the target '${target}' is there, and lazy`);
    }
    return this.#createAndMount(key, parent, 'active', labels);
  }

  /** The same to look at alone. */
  async view(key: string, parent: string | undefined, labels: Labels): Promise<readonly Mount[]> {
    return this.#createAndMount(key, parent, 'view', labels);
  }

  /** @throws PeelError ERR_SNAPSHOT_STATE of committed ones: nobody may change them. */
  async mounts(key: string): Promise<readonly Mount[]> {
    const snapshot = this.#store.get(key);
    if (snapshot.kind === 'committed') {
      throw new PeelError('ERR_SNAPSHOT_STATE', `mounting '${key}': it is committed, make a view of it`);
    }
    return this.#mountsOf(snapshot);
  }

  async commit(key: string, name: string, labels: Labels): Promise<void> {
    const usage = await this.#folders.usage(this.#store.get(key).id);
    await this.#store.commit(key, { name, labels, usage });
  }

  stat(key: string): Snapshot {
    return this.#store.get(key);
  }

  list(filters: readonly string[]): Snapshot[] {
    return this.#store.all().filter(parseFilters(filters));
  }

  /** Of a lazy one nothing: its bytes are in peel's cache, which all images share. */
  async usage(key: string): Promise<Usage> {
    const { id, kind, usage } = this.#store.get(key);
    return kind === 'active' ? this.#folders.usage(id) : usage;
  }

  /** `fields`: of the snapshot, as a protobuf field mask; none: all that may change, which is the labels. */
  async update(key: string, labels: Labels, fields: readonly string[]): Promise<Snapshot> {
    for (const field of fields) {
      if (field === 'labels' || field.startsWith('labels.')) continue;
      throw new PeelError('ERR_USAGE', `updating '${key}': its ${field} cannot be changed, its labels can`);
    }
    return this.#store.relabel(key, (old) => {
      if (fields.length === 0) return labels;
      let updated: Labels = old;
      for (const field of fields) {
        const label = field.slice('labels.'.length);
        updated = field === 'labels' ? labels : { ...updated, [label]: labels[label] ?? '' };
      }
      // A label without text is no label.
      return Object.fromEntries(Object.entries(updated).filter(([, value]) => value !== ''));
    });
  }

  /** @throws PeelError ERR_SNAPSHOT_NOT_FOUND, ERR_SNAPSHOT_STATE (others build on it). */
  async remove(key: string): Promise<void> {
    const { id } = await this.#store.remove(key);
    await this.#images.unmount(id);
    await this.#removeFolder(id);
  }

  /** Removes folders that no snapshot has. */
  async cleanup(): Promise<void> {
    for (const id of await this.#folders.ids()) {
      const isKnown = this.#making.has(id) || this.#store.all().some((snapshot) => snapshot.id === id);
      if (!isKnown) await this.#removeFolder(id);
    }
  }

  /** Mounts again what is in use, after a start. Nobody waits: what cannot be mounted is tried when it is asked for. */
  restore(): void {
    const lowest = this.#store
      .all()
      .filter(({ kind }) => kind !== 'committed')
      .map((user) => lowerSnapshots(this.#store.chain(user).slice(1)).at(-1));
    for (const snapshot of new Set(lowest))
      if (snapshot?.lazy !== undefined) this.#images.mountSoon(snapshot);
  }

  /** True where the target is there now: as a lazy snapshot over `parent`. */
  async #provide(
    target: string,
    key: string,
    parentName: string | undefined,
    labels: Labels,
  ): Promise<boolean> {
    const parent = parentName === undefined ? undefined : this.#store.get(parentName);
    const isThere = (): boolean => {
      const found = this.#store.find(target);
      return found?.lazy !== undefined && found.parent === parentName;
    };
    if (isThere()) return true;
    const found = await this.#images.find(labels, parent);
    if (found === undefined) return false;
    try {
      await this.#create(key, parentName, 'active', labels);
      const committed = await this.#store.commit(key, {
        name: target,
        labels: { ...labels, [LAZY_LABEL]: '1' },
        usage: NO_USAGE,
        lazy: found.lazy,
      });
      if (found.isWhole) this.#images.mountSoon(committed);
      return true;
    } catch (error) {
      // Another client was faster, with the same layer.
      if (!isThere()) throw error;
      if (this.#store.find(key) !== undefined) await this.remove(key);
      return true;
    }
  }

  /** A snapshot whose parents cannot be mounted is not kept: whoever asked asks again under the same name. */
  async #createAndMount(
    name: string,
    parent: string | undefined,
    kind: 'active' | 'view',
    labels: Labels,
  ): Promise<readonly Mount[]> {
    const snapshot = await this.#create(name, parent, kind, labels);
    try {
      return await this.#mountsOf(snapshot);
    } catch (error) {
      await this.remove(name);
      throw error;
    }
  }

  async #create(
    name: string,
    parentName: string | undefined,
    kind: 'active' | 'view',
    labels: Labels,
  ): Promise<Snapshot> {
    const parent = parentName === undefined ? undefined : this.#store.get(parentName);
    const id = this.#store.nextId();
    this.#making.add(id);
    try {
      await this.#folders.make(id, {
        isActive: kind === 'active',
        // What is mounted in the folder of a lazy one may not be known yet.
        ...(parent === undefined || parent.lazy !== undefined ? {} : { parent: parent.id }),
      });
      return await this.#store.create({ id, name, parent: parentName, kind, labels });
    } catch (error) {
      await this.#removeFolder(id);
      throw error;
    } finally {
      this.#making.delete(id);
    }
  }

  async #mountsOf(snapshot: Snapshot): Promise<readonly Mount[]> {
    const [, ...parents] = this.#store.chain(snapshot);
    const lowers = lowerSnapshots(parents);
    const lowest = lowers.at(-1);
    if (lowest?.lazy !== undefined) await this.#images.mount(lowest);
    return mountsOf(snapshot, lowers, this.#folders);
  }

  /** What stays is found by the next cleanup. */
  async #removeFolder(id: number): Promise<void> {
    try {
      await this.#folders.remove(id);
    } catch (error) {
      log().warn({ err: error, id }, `the folder of snapshot ${id} cannot be removed yet`);
    }
  }
}
