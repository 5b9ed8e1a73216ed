/**
 * What is known of all snapshots, in memory and on disk: one small file each, named by the snapshot's number.
 *
 *   ROOT/metadata/12      {"version":1,"id":12,"name":"…","parent":"…","kind":"committed",…}
 *
 * Each change touches one file, which is replaced whole and forced to disk before it counts. So a crash at any point
 * leaves the state before the change or after it, and there is no log to replay.
 */
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { PeelError } from '../../errors.ts';
import { readOwnFile } from '../../storage/own-file.ts';
import { prepareFolder, replaceFile, syncFolder } from '../../storage/replace-file.ts';
import { decodeRecord, encodeRecord } from './record-format.ts';
import { type LazyLayers, NO_USAGE, type Snapshot, type SnapshotKind, type Usage } from './snapshot.ts';
import { wallClock } from './wall-clock.ts';

/** Labels are small; a message of gRPC is never larger. */
const MAX_RECORD_BYTES = 4 * 1024 * 1024;

export interface NewSnapshot {
  readonly id: number;
  readonly name: string;
  readonly parent: string | undefined;
  readonly kind: Exclude<SnapshotKind, 'committed'>;
  readonly labels: Readonly<Record<string, string>>;
}

export interface Committing {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly usage: Usage;
  readonly lazy?: LazyLayers;
}

export class SnapshotStore {
  readonly #folder: string;
  readonly #byName = new Map<string, Snapshot>();
  #lastId: number;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, lastId: number) {
    this.#folder = folder;
    this.#lastId = lastId;
  }

  /**
   * @param usedIds numbers that are taken although no snapshot has them: of folders that were left behind.
   * @throws PeelError ERR_CACHE where a file is damaged, or two say the same name; NotOurFile.
   */
  static async open(folder: string, usedIds: readonly number[]): Promise<SnapshotStore> {
    await prepareFolder(folder);
    const names = (await readdir(folder)).filter((name) => /^[1-9][0-9]*$/.test(name));
    const store = new SnapshotStore(folder, Math.max(0, ...usedIds, ...names.map(Number)));
    for (const name of names) {
      const file = path.join(folder, name);
      const bytes = await readOwnFile(file, MAX_RECORD_BYTES);
      if (bytes === undefined) continue;
      const snapshot = decodeRecord(bytes, file);
      const twin = store.#byName.get(snapshot.name);
      if (snapshot.id !== Number(name) || twin !== undefined) {
        throw new PeelError(
          'ERR_CACHE',
          `reading the snapshots of ${folder}: ${file} says that it is ${snapshot.id}, '${snapshot.name}'` +
            `${twin === undefined ? '' : `, as ${twin.id} does`}; move one of them away`,
          { facts: { path: file } },
        );
      }
      store.#byName.set(snapshot.name, snapshot);
    }
    return store;
  }

  /** A number for a snapshot that is about to be made; it is not given again while this runs. */
  nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  find(name: string): Snapshot | undefined {
    return this.#byName.get(name);
  }

  /** @throws PeelError ERR_SNAPSHOT_NOT_FOUND */
  get(name: string): Snapshot {
    const snapshot = this.find(name);
    if (snapshot === undefined) {
      throw new PeelError('ERR_SNAPSHOT_NOT_FOUND', `there is no snapshot '${name}'`);
    }
    return snapshot;
  }

  /** In no order. */
  all(): Snapshot[] {
    return [...this.#byName.values()];
  }

  /** A snapshot and what it builds on, the uppermost first. */
  chain(snapshot: Snapshot): Snapshot[] {
    const chain = [snapshot];
    for (let { parent } = snapshot; parent !== undefined; ) {
      const next = this.get(parent);
      if (chain.push(next) > this.#byName.size) {
        throw new PeelError('ERR_CACHE', `the snapshot '${snapshot.name}' builds on itself`);
      }
      parent = next.parent;
    }
    return chain;
  }

  hasChildren(name: string): boolean {
    return this.all().some(({ parent }) => parent === name);
  }

  /** @throws PeelError ERR_SNAPSHOT_EXISTS, ERR_SNAPSHOT_NOT_FOUND (the parent), ERR_USAGE (it is not committed). */
  create(made: NewSnapshot): Promise<Snapshot> {
    return this.#alone(async () => {
      this.#refuseName(made.name);
      if (made.parent !== undefined && this.get(made.parent).kind !== 'committed') {
        throw new PeelError('ERR_USAGE', `the parent '${made.parent}' is not a committed snapshot`);
      }
      const createdAt = wallClock();
      return this.#put({ ...made, createdAt, updatedAt: createdAt, usage: NO_USAGE, lazy: undefined });
    });
  }

  /** @throws PeelError ERR_SNAPSHOT_NOT_FOUND, ERR_SNAPSHOT_EXISTS, ERR_SNAPSHOT_STATE (it is not active). */
  commit(key: string, { name, labels, usage, lazy }: Committing): Promise<Snapshot> {
    return this.#alone(async () => {
      const active = this.get(key);
      this.#refuseName(name);
      if (active.kind !== 'active') {
        throw new PeelError(
          'ERR_SNAPSHOT_STATE',
          `committing '${key}': it is ${active.kind}, and must be active`,
        );
      }
      const createdAt = wallClock();
      const committed: Snapshot = {
        ...active,
        name,
        kind: 'committed',
        labels,
        createdAt,
        updatedAt: createdAt,
        usage,
        lazy,
      };
      await this.#put(committed);
      this.#byName.delete(key);
      return committed;
    });
  }

  /** @throws PeelError ERR_SNAPSHOT_NOT_FOUND */
  relabel(
    name: string,
    labelsOf: (labels: Snapshot['labels']) => Readonly<Record<string, string>>,
  ): Promise<Snapshot> {
    return this.#alone(async () => {
      const snapshot = this.get(name);
      return this.#put({ ...snapshot, labels: labelsOf(snapshot.labels), updatedAt: wallClock() });
    });
  }

  /** @throws PeelError ERR_SNAPSHOT_NOT_FOUND, ERR_SNAPSHOT_STATE (others build on it). */
  remove(name: string): Promise<Snapshot> {
    return this.#alone(async () => {
      const snapshot = this.get(name);
      if (this.hasChildren(name)) {
        throw new PeelError('ERR_SNAPSHOT_STATE', `cannot remove '${name}': other snapshots build on it`);
      }
      await rm(path.join(this.#folder, String(snapshot.id)), { force: true });
      await syncFolder(this.#folder);
      this.#byName.delete(name);
      return snapshot;
    });
  }

  #refuseName(name: string): void {
    if (name === '') throw new PeelError('ERR_USAGE', 'a snapshot must have a name');
    if (this.find(name) === undefined) return;
    throw new PeelError('ERR_SNAPSHOT_EXISTS', `there is a snapshot '${name}' already`);
  }

  async #put(snapshot: Snapshot): Promise<Snapshot> {
    const written = await replaceFile(this.#folder, String(snapshot.id), [encodeRecord(snapshot)]);
    await written.close();
    await syncFolder(this.#folder);
    this.#byName.set(snapshot.name, snapshot);
    return snapshot;
  }

  /** One change after the other: each looks at what the one before has left. */
  #alone<T>(change: () => Promise<T>): Promise<T> {
    const changed = this.#queue.then(change);
    this.#queue = changed.catch(() => undefined);
    return changed;
  }
}
