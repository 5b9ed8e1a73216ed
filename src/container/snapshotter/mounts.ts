/**
 * What containerd is told to mount for a snapshot: overlayfs over the folders of its parents, as its own overlay
 * snapshotter says it. A lazy parent ends the list: its mount shows all that is below it, too.
 */
import { existsSync } from 'node:fs';
import type { Snapshot } from './snapshot.ts';
import type { SnapshotFolders } from './snapshot-folders.ts';

/** As mount(8) would take it. */
export interface Mount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** Where the kernel has the option at all. With it on, an upper folder could not be used over another lower one. */
const INDEX_OPTION = '/sys/module/overlay/parameters/index';

/** Of the parents of a snapshot, those whose folders are mounted: to the uppermost lazy one. The uppermost first. */
export function lowerSnapshots(parents: readonly Snapshot[]): readonly Snapshot[] {
  const lazy = parents.findIndex((parent) => parent.lazy !== undefined);
  return lazy === -1 ? parents : parents.slice(0, lazy + 1);
}

/** `lowers`: as `lowerSnapshots` gives them. */
export function mountsOf(
  snapshot: Snapshot,
  lowers: readonly Snapshot[],
  folders: SnapshotFolders,
): readonly Mount[] {
  const bind = (id: number, access: 'ro' | 'rw'): readonly Mount[] => [
    { type: 'bind', source: folders.upper(id), options: [access, 'rbind'] },
  ];
  const [only, ...more] = lowers;
  if (only === undefined) return bind(snapshot.id, snapshot.kind === 'view' ? 'ro' : 'rw');
  if (snapshot.kind === 'view' && more.length === 0) return bind(only.id, 'ro');
  const options = existsSync(INDEX_OPTION) ? ['index=off'] : [];
  if (snapshot.kind === 'active') {
    options.push(`workdir=${folders.work(snapshot.id)}`, `upperdir=${folders.upper(snapshot.id)}`);
  }
  options.push(`lowerdir=${lowers.map(({ id }) => folders.upper(id)).join(':')}`);
  return [{ type: 'overlay', source: 'overlay', options }];
}
