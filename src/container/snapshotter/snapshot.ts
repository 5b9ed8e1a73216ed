/**
 * What is known of a snapshot. A snapshot is the state of a root file system after some layers: one that is being
 * written (`active`), one that may be read (`view`), or one that others build on (`committed`).
 */

export type SnapshotKind = 'view' | 'active' | 'committed';

/** What a snapshot takes on this disk, beside its parents. */
export interface Usage {
  /** Bytes. */
  readonly size: number;
  readonly inodes: number;
}

/** A committed snapshot that is shown by a mount of the image, in place of files of its own. */
export interface LazyLayers {
  /** With the digest of the manifest: it means the same for ever. */
  readonly image: string;
  /** How many of the image's layers, the lowest first. */
  readonly layers: number;
}

export interface Snapshot {
  /** Of its folder: never used twice as long as the folder is there. */
  readonly id: number;
  readonly name: string;
  readonly parent: string | undefined;
  readonly kind: SnapshotKind;
  readonly labels: Readonly<Record<string, string>>;
  /** Microseconds since 1970. */
  readonly createdAt: number;
  readonly updatedAt: number;
  /** Of committed ones; others are counted when somebody asks. */
  readonly usage: Usage;
  readonly lazy: LazyLayers | undefined;
}

export const NO_USAGE: Usage = { size: 0, inodes: 0 };
