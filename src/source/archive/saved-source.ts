/**
 * What both kinds of `docker save` archives have in common: a manifest that is made up when the archive is opened, and
 * members that stand for the blobs that it names.
 */
import type { Descriptor } from '../../reference/descriptor.ts';
import { verifyBytes } from '../../reference/digest.ts';
import { MAX_DOCUMENT_SIZE } from '../../reference/parse-document.ts';
import type { Selection } from '../../reference/transport.ts';
import type { Digest } from '../../units.ts';
import type { BlobSource, ImageSource, SourceStats, StoredDocument } from '../source.ts';
import { MemberBlobs } from './member-blobs.ts';
import type { Archive } from './open-archive.ts';

export abstract class SavedSource implements ImageSource {
  readonly name: string;
  protected readonly archive: Archive;
  protected readonly selection: Selection | undefined;
  /** Those that the manifest names are put here while it is made. */
  protected readonly blobs: MemberBlobs;
  #manifest: StoredDocument | undefined;
  #resolving: Promise<StoredDocument> | undefined;

  /** The source closes `archive`. */
  constructor(name: string, archive: Archive, selection?: Selection) {
    this.name = name;
    this.archive = archive;
    this.selection = selection;
    this.blobs = new MemberBlobs(name, archive);
  }

  /** The manifest of the image that is selected. */
  protected abstract makeManifest(signal: AbortSignal | undefined): Promise<StoredDocument>;

  get stats(): SourceStats {
    return { requests: 0, bytesFetched: 0 };
  }

  resolve(signal?: AbortSignal): Promise<StoredDocument> {
    this.#resolving ??= this.makeManifest(signal).then((manifest) => {
      this.#manifest = manifest;
      return manifest;
    });
    return this.#resolving;
  }

  async fetchDocument(descriptor: Descriptor): Promise<StoredDocument> {
    if (descriptor.digest === this.#manifest?.digest) {
      verifyBytes(this.#manifest.bytes, descriptor, `${this.name}: manifest`);
      return this.#manifest;
    }
    const bytes = await this.fetchBlob(descriptor, MAX_DOCUMENT_SIZE);
    return { mediaType: descriptor.mediaType, digest: descriptor.digest, bytes };
  }

  async fetchBlob(descriptor: Descriptor, maxSize: number): Promise<Buffer> {
    return descriptor.data ?? this.blobs.read(descriptor, maxSize);
  }

  openBlob(descriptor: Descriptor): BlobSource {
    return this.blobs.open(descriptor);
  }

  async measureBlob(digest: Digest): Promise<number> {
    return this.blobs.measure(digest);
  }

  async close(): Promise<void> {
    await this.archive.close();
  }
}
