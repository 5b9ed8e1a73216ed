/**
 * The labels by which clients tell a snapshotter what a layer is. They are sent with Prepare:
 *
 *   containerd.io/snapshot.ref                       the name that the committed snapshot shall have: a chainID
 *   containerd.io/snapshot/cri.image-ref             CRI and every client that asks containerd's library for them
 *   containerd.io/snapshot/cri.layer-digest          (`AppendInfoHandlerWrapper`), containerd 2.1 in its transfer service
 *   containerd.io/snapshot/cri.manifest-digest       of them, but not of the oldest
 *   containerd.io/snapshot/remote/stargz.reference   ctr-remote rpull
 *   containerd.io/snapshot/remote/stargz.digest
 *
 * Plain `ctr images pull` sends the first one alone: its layers are unpacked.
 */

export const TARGET_LABEL = 'containerd.io/snapshot.ref';
/** What we add to a snapshot that is lazy, so that clients can tell. */
export const LAZY_LABEL = 'containerd.io/snapshot/remote';

const DIALECTS = [
  {
    image: 'containerd.io/snapshot/cri.image-ref',
    layer: 'containerd.io/snapshot/cri.layer-digest',
    manifest: 'containerd.io/snapshot/cri.manifest-digest',
  },
  {
    image: 'containerd.io/snapshot/remote/stargz.reference',
    layer: 'containerd.io/snapshot/remote/stargz.digest',
    manifest: undefined,
  },
] as const;

/** What a client says of a layer; nothing of it is checked. */
export interface LazyRequest {
  /** The chainID of the layer and those below it. */
  readonly target: string;
  /** As the client pulls it. */
  readonly image: string;
  /** Of the layer's blob. */
  readonly layer: string;
  /** Of the manifest, where the client says it. */
  readonly manifest: string | undefined;
}

/** undefined where the labels do not say enough to look for the layer. */
export function readLazyLabels(labels: Readonly<Record<string, string>>): LazyRequest | undefined {
  const target = labels[TARGET_LABEL];
  if (target === undefined) return undefined;
  for (const dialect of DIALECTS) {
    const image = labels[dialect.image];
    const layer = labels[dialect.layer];
    if (image === undefined || layer === undefined) continue;
    const manifest = dialect.manifest === undefined ? undefined : labels[dialect.manifest];
    return { target, image, layer, manifest };
  }
  return undefined;
}
