/**
 * Where images come from, behind one interface: a registry, an OCI layout, an OCI or docker archive.
 */
import type { Descriptor } from '../reference/descriptor.ts';
import type { CompressedRange, Digest } from '../units.ts';

/** A document (index, manifest, config) exactly as stored; `digest` was computed from `bytes`. */
export interface StoredDocument {
  readonly mediaType: string | undefined;
  readonly digest: Digest;
  readonly bytes: Buffer;
}

/** A blob that can be read by range. Structurally the `RangeSource` of `src/blob/`. */
export interface BlobSource {
  readonly digest: Digest;
  readonly size: number;
  readonly ignoresRanges?: boolean;
  fetch(range: CompressedRange, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

/** What a source has asked of its registry so far; zeros for local files. */
export interface SourceStats {
  readonly requests: number;
  readonly bytesFetched: number;
}

export interface ImageSource {
  /** How a user would write it again, transport included where it is not a registry. */
  readonly name: string;
  /** The top document that the name points to: an image index or a manifest. Asked once; not verified when
   *  the name has no digest, since there is nothing to verify against. */
  resolve(signal?: AbortSignal): Promise<StoredDocument>;
  /** A manifest or index by descriptor: digest and size are checked before it is returned (P1). */
  fetchDocument(descriptor: Descriptor, signal?: AbortSignal): Promise<StoredDocument>;
  /** A manifest or index of which only the digest is known, checked against it; absent where there are none. */
  fetchNamed?(digest: Digest, signal?: AbortSignal): Promise<StoredDocument>;
  /** What lies under the name of the image with `suffix` behind it, verified by nothing; undefined where it was named
   *  without a tag. Absent where there are none. @throws PeelError, ERR_IMAGE_NOT_FOUND where there is no such. */
  resolveBeside?(suffix: string, signal?: AbortSignal): Promise<StoredDocument | undefined>;
  /** What refers to a manifest, of one type, verified by nothing; absent where nothing can. */
  listReferrers?(subject: Digest, artifactType: string, signal?: AbortSignal): Promise<readonly Descriptor[]>;
  /** The whole of a small blob (config), digest and size checked, at most `maxSize` bytes. */
  fetchBlob(descriptor: Descriptor, maxSize: number, signal?: AbortSignal): Promise<Buffer>;
  /** A layer blob, by range. No request is made until it is read. */
  openBlob(descriptor: Descriptor): BlobSource;
  /** Bytes of a blob of which only the digest is known (manifests of schema 1). */
  measureBlob(digest: Digest, signal?: AbortSignal): Promise<number>;
  /** Whether a blob is at hand. Absent where only asking for it would tell (registries). */
  isPresent?(descriptor: Descriptor): Promise<boolean>;
  /** Counts up to now. */
  readonly stats: SourceStats;
  /** Reads credentials and host configuration again (SIGHUP). Absent for local files. */
  reload?(): Promise<void>;
  /** Ends connections and closes files; idempotent. */
  close(): Promise<void>;
}
