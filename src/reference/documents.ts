/** The documents of an image, parsed into values that cannot be malformed: image-spec, distribution schema 2. */
import type { Digest } from '../units.ts';
import type { Descriptor } from './descriptor.ts';
import type { Platform } from './platform.ts';

export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  /** Lowest first. */
  readonly layers: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly artifactType?: string;
  /** What it says something about, where it is an artifact. */
  readonly subject?: Descriptor;
}

export interface HistoryItem {
  readonly created?: string;
  readonly createdBy?: string;
  readonly comment?: string;
  readonly author?: string;
  readonly emptyLayer: boolean;
}

export interface ImageConfig {
  readonly platform: Platform;
  readonly created?: string;
  readonly author?: string;
  /** Lowest first; empty where it was made up from a manifest of schema 1. */
  readonly diffIDs: readonly Digest[];
  readonly history: readonly HistoryItem[];
  /** `config` of the document: Env, Cmd, Entrypoint, User, WorkingDir, Labels, ... as they stand. */
  readonly runtime: Readonly<Record<string, unknown>>;
}
