/** Images in a registry: the distribution API behind the interface of all sources. */
import { PeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { algorithmOf, digestOf, verifyBytes } from '../../reference/digest.ts';
import { IMAGE_DOCUMENT_TYPES } from '../../reference/media-types.ts';
import { MAX_DOCUMENT_SIZE } from '../../reference/parse-document.ts';
import { formatReference, type RegistryReference } from '../../reference/registry-reference.ts';
import { documentDigest, isNamedBy } from '../../reference/schema1-payload.ts';
import { type CompressedRange, compressed, type Digest } from '../../units.ts';
import type { BlobSource, ImageSource, SourceStats, StoredDocument } from '../source.ts';
import { ForeignLayers } from './foreign-layers.ts';
import type { RegistryOptions } from './options.ts';
import { type BlobRequest, measureBlob } from './range-fetch.ts';
import { readBody } from './read-body.ts';
import { listReferrers } from './referrers.ts';
import { RegistryClient } from './registry-client.ts';
import type { RegistryHost } from './registry-host.ts';

export type { RegistryOptions } from './options.ts';

/** In one header: some servers read one alone. */
const ACCEPT = IMAGE_DOCUMENT_TYPES.join(', ');

/** No request is made until something is asked for. */
export function openRegistry(reference: RegistryReference, options: RegistryOptions): ImageSource {
  return new RegistrySource(reference, options);
}

class RegistrySource implements ImageSource {
  readonly name: string;
  readonly #reference: RegistryReference;
  readonly #client: RegistryClient;
  /** For what nobody needs: where it is refused, or slow, what is needed is not. */
  readonly #listClient: RegistryClient;
  readonly #foreign: ForeignLayers;
  /** Redirects of each blob, by digest: presigned addresses serve many ranges. */
  readonly #locations = new Map<Digest, Map<RegistryHost, URL>>();
  /** What the name led to: a moved tag changes nothing for the life of the source. */
  #resolved: StoredDocument | undefined;

  constructor(reference: RegistryReference, options: RegistryOptions) {
    this.name = formatReference(reference);
    this.#reference = reference;
    this.#client = new RegistryClient(reference, options);
    this.#listClient = new RegistryClient(reference, options);
    this.#foreign = new ForeignLayers(options.foreignLayers === true);
  }

  get stats(): SourceStats {
    const [one, other] = [this.#client.counters, this.#listClient.counters];
    return {
      requests: one.requests + other.requests,
      bytesFetched: one.bytesFetched + other.bytesFetched,
    };
  }

  async resolve(signal?: AbortSignal): Promise<StoredDocument> {
    if (this.#resolved === undefined) {
      const { tag, digest } = this.#reference;
      const found = await this.#fetchManifest(digest ?? tag ?? 'latest', digest, MAX_DOCUMENT_SIZE, signal);
      // Two at once may have got different answers for a moving tag: the first one stays.
      this.#resolved ??= found;
    }
    return this.#resolved;
  }

  async fetchDocument(descriptor: Descriptor, signal?: AbortSignal): Promise<StoredDocument> {
    const what = `manifest ${descriptor.digest} of ${this.name}`;
    refuseLarger(MAX_DOCUMENT_SIZE, descriptor, what);
    const known =
      descriptor.data ?? (this.#resolved?.digest === descriptor.digest ? this.#resolved.bytes : undefined);
    if (known !== undefined) {
      verifyBytes(known, descriptor, what);
      return { mediaType: descriptor.mediaType, digest: descriptor.digest, bytes: known };
    }
    const document = await this.#fetchManifest(descriptor.digest, descriptor.digest, descriptor.size, signal);
    verifyBytes(document.bytes, descriptor, what);
    return document;
  }

  fetchNamed(digest: Digest, signal?: AbortSignal): Promise<StoredDocument> {
    return this.#fetchManifest(digest, digest, MAX_DOCUMENT_SIZE, signal);
  }

  async resolveBeside(suffix: string, signal?: AbortSignal): Promise<StoredDocument | undefined> {
    const { tag } = this.#reference;
    return tag === undefined
      ? undefined
      : this.#fetchManifest(`${tag}${suffix}`, undefined, MAX_DOCUMENT_SIZE, signal);
  }

  listReferrers(subject: Digest, artifactType: string, signal?: AbortSignal): Promise<readonly Descriptor[]> {
    const fetchTag = async (tag: string): Promise<Buffer> =>
      (await this.#fetchManifest(tag, undefined, MAX_DOCUMENT_SIZE, signal, this.#listClient)).bytes;
    return listReferrers(this.#listClient, subject, artifactType, fetchTag, signal);
  }

  async fetchBlob(descriptor: Descriptor, maxSize: number, signal?: AbortSignal): Promise<Buffer> {
    const what = `blob ${descriptor.digest} of ${this.name}`;
    refuseLarger(maxSize, descriptor, what);
    let bytes = descriptor.data;
    if (bytes === undefined) {
      const chunks: Buffer[] = [];
      for await (const chunk of this.#fetch(
        descriptor,
        { start: compressed(0), end: compressed(descriptor.size) },
        signal,
      )) {
        chunks.push(chunk);
      }
      bytes = Buffer.concat(chunks);
    }
    verifyBytes(bytes, descriptor, what);
    return bytes;
  }

  openBlob(descriptor: Descriptor): BlobSource {
    const client = this.#client;
    return {
      digest: descriptor.digest,
      size: descriptor.size,
      get ignoresRanges() {
        return client.ignoresRanges;
      },
      fetch: (range, signal) => this.#fetch(descriptor, range, signal),
    };
  }

  measureBlob(digest: Digest, signal?: AbortSignal): Promise<number> {
    return measureBlob(this.#requestFor(digest), signal);
  }

  async reload(): Promise<void> {
    this.#locations.clear();
    await Promise.all([this.#client.reload(), this.#listClient.reload()]);
  }

  async close(): Promise<void> {
    await Promise.all([this.#client.close(), this.#listClient.close()]);
  }

  #fetch(
    descriptor: Descriptor,
    range: CompressedRange,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Buffer> {
    return this.#foreign.fetch(this.#requestFor(descriptor.digest), descriptor, range, signal);
  }

  #requestFor(digest: Digest): BlobRequest {
    let locations = this.#locations.get(digest);
    if (locations === undefined) {
      locations = new Map();
      this.#locations.set(digest, locations);
    }
    return { client: this.#client, digest, repository: this.#repositoryName(), locations };
  }

  /**
   * A manifest or index, in one request: a GET counts once against Docker Hub's limits, and a HEAD before it
   * would add nothing. `digest` undefined: a tag, whose content nothing is known about.
   */
  async #fetchManifest(
    name: string,
    digest: Digest | undefined,
    maxBytes: number,
    signal: AbortSignal | undefined,
    client = this.#client,
  ): Promise<StoredDocument> {
    const doing = `manifest ${name} of ${this.#repositoryName()}`;
    const operation = client.operation(doing, signal);
    for (;;) {
      const { answer, host } = await client.request(
        {
          path: `manifests/${name}`,
          headers: { accept: ACCEPT },
          doing,
          accepted: [200],
          isByTag: digest === undefined,
        },
        operation,
      );
      const bytes = await readBody(client, { answer, host }, maxBytes, doing, operation);
      if (bytes === undefined) {
        continue;
      }
      // Docker-Content-Digest is not asked: the bytes say it.
      if (digest !== undefined && !isNamedBy(bytes, digest)) {
        const failure = new PeelError(
          'ERR_DIGEST_MISMATCH',
          `${doing}: ${host.config.name} sent ${bytes.length} bytes with digest ${digestOf(bytes, algorithmOf(digest))}, expected ${digest}`,
          { facts: { digest, host: host.config.name } },
        );
        if (await client.demoteMirror(host)) {
          continue;
        }
        throw failure;
      }
      const mediaType = answer.header('content-type')?.split(';', 1)[0]?.trim();
      if (mediaType?.toLowerCase() === 'text/html') {
        throw new PeelError(
          'ERR_REGISTRY_RESPONSE',
          `${doing}: ${host.config.name} answered with a web page (text/html); a login page or proxy stands in the way, or it is no registry`,
          { facts: { host: host.config.name } },
        );
      }
      return {
        mediaType: mediaType === '' ? undefined : mediaType,
        digest: digest ?? documentDigest(bytes),
        bytes,
      };
    }
  }

  #repositoryName(): string {
    return `${this.#reference.registry}/${this.#reference.repository}`;
  }
}

/** @throws PeelError ERR_LIMIT_EXCEEDED, before anything is asked for. */
function refuseLarger(maxSize: number, { digest, size }: Descriptor, what: string): void {
  if (size <= maxSize) {
    return;
  }
  throw new PeelError(
    'ERR_LIMIT_EXCEEDED',
    `${what}: its size of ${size} bytes passes the limit of ${maxSize}`,
    { facts: { digest, size } },
  );
}
