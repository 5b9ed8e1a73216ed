/**
 * Pushes artifacts into one repository: distribution-spec "Push" and "Pushing Manifests with Subject".
 *
 *   blob      HEAD, there already? else POST ?mount, where another repository may have it; else upload.ts
 *   manifest  PUT; without `OCI-Subject` in the answer the registry has no referrers API: the fallback tag
 *             `sha256-<hex>` of the subject is read, what is new is added, and it is written
 */
import { isPeelError, PeelError } from '../../errors.ts';
import { log } from '../../log.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { algorithmOf, hexOf } from '../../reference/digest.ts';
import { OCI_INDEX } from '../../reference/media-types.ts';
import type { RegistryReference } from '../../reference/registry-reference.ts';
import type { Digest } from '../../units.ts';
import { isRecord } from '../is-record.ts';
import type { RegistryOptions } from './options.ts';
import { readBody } from './read-body.ts';
import { type ClientAnswer, type ClientRequest, RegistryClient } from './registry-client.ts';
import { BlobUpload } from './upload.ts';

const MAX_INDEX_BYTES = 4 * 1024 * 1024;
/** Others may write the fallback tag at the same time. */
const TAG_TRIES = 5;

export interface PushedContent {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

export class Pusher {
  readonly #client: RegistryClient;
  /** Its tokens may read the other repository, too: where that is refused, only this one is. */
  #mountClient: RegistryClient | undefined;
  readonly #mountFrom: string | undefined;
  readonly #name: string;
  readonly #signal: AbortSignal | undefined;
  /** Never rejects. */
  #pending: Promise<void> = Promise.resolve();

  /** `mountFrom`: another repository of the same registry, which may have the blobs already. */
  constructor(
    reference: RegistryReference,
    options: RegistryOptions,
    signal?: AbortSignal,
    mountFrom?: string,
  ) {
    this.#client = new RegistryClient(reference, options, {});
    this.#mountFrom = mountFrom;
    if (mountFrom !== undefined) this.#mountClient = new RegistryClient(reference, options, { mountFrom });
    this.#name = `${reference.registry}/${reference.repository}`;
    this.#signal = signal;
  }

  /** Unless it is there. @throws PeelError */
  async pushBlob(content: PushedContent): Promise<void> {
    const pushing = this.#pushBlob(content);
    this.#pending = pushing.catch(() => {});
    await pushing;
  }

  async #pushBlob({ descriptor: { digest }, bytes }: PushedContent): Promise<void> {
    const doing = `push of blob ${digest} to ${this.#name}`;
    const head = await this.#send({ method: 'HEAD', path: `blobs/${digest}`, accepted: [200, 404], doing });
    if (head === 200) return;
    const mounted = await this.#mount(digest, doing);
    if (mounted?.answer.status === 201) return;
    await new BlobUpload(this.#client, digest, bytes, doing, this.#signal).run(mounted);
  }

  /** 201: it is there; 202: an upload was begun instead; undefined: neither, for whatever reason. */
  async #mount(digest: Digest, doing: string): Promise<ClientAnswer | undefined> {
    const client = this.#mountClient;
    if (client === undefined) return undefined;
    const path = `blobs/uploads/?mount=${digest}&from=${this.#mountFrom ?? ''}`;
    const request = {
      method: 'POST',
      path,
      headers: {},
      doing,
      accepted: [201, 202],
      isByTag: false,
    } as const;
    try {
      const got = await client.request(request, client.operation(doing, this.#signal));
      if (got.answer.status === 201) await got.answer.excerpt();
      return got;
    } catch (error) {
      this.#signal?.throwIfAborted();
      if (!isPeelError(error)) throw error;
      // Whoever may not read there can still upload.
      log().debug({ err: error }, `${doing}: not mounted from ${this.#mountFrom ?? ''}`);
      this.#mountClient = undefined;
      await client.close();
      return undefined;
    }
  }

  /** With `subject`, found by it afterwards. `artifactType` stands in the list of referrers. @throws PeelError */
  async pushManifest(
    { descriptor, bytes }: PushedContent,
    subject: Digest,
    artifactType: string,
  ): Promise<void> {
    const { digest, mediaType, size } = descriptor;
    const doing = `push of manifest ${digest} to ${this.#name}`;
    const headers = { 'content-type': mediaType };
    const path = `manifests/${digest}`;
    const put = await this.#ask({ method: 'PUT', path, headers, body: bytes, accepted: [201], doing });
    await put.answer.excerpt();
    if (put.answer.header('oci-subject') === subject) return;
    await this.#addToTag(subject, { mediaType, digest, size, artifactType });
  }

  /** Once an upload that was interrupted is cancelled. Idempotent. */
  async close(): Promise<void> {
    await this.#pending;
    await this.#mountClient?.close();
    await this.#client.close();
  }

  /** What others put there stays: it is read, added to, written, and read again. */
  async #addToTag(subject: Digest, added: Descriptor): Promise<void> {
    const tag = `${algorithmOf(subject)}-${hexOf(subject)}`;
    const doing = `referrers of ${subject} (tag ${tag}) of ${this.#name}`;
    for (let attempt = 0; ; attempt += 1) {
      const { manifests, rest, etag } = await this.#readTag(tag, doing);
      if (manifests.some((each) => isRecord(each) && each['digest'] === added.digest)) return;
      if (attempt === TAG_TRIES) break;
      const document = { schemaVersion: 2, mediaType: OCI_INDEX, ...rest, manifests: [...manifests, added] };
      const headers = { 'content-type': OCI_INDEX, ...(etag === undefined ? {} : { 'if-match': etag }) };
      const body = Buffer.from(JSON.stringify(document));
      await this.#send({
        method: 'PUT',
        path: `manifests/${tag}`,
        headers,
        body,
        accepted: [201, 412],
        doing,
      });
      // Read again in the next turn, which ends it where ours is there.
    }
    throw new PeelError(
      'ERR_REGISTRY_RESPONSE',
      `${doing}: others wrote it each time, in ${TAG_TRIES} tries`,
    );
  }

  async #readTag(
    tag: string,
    doing: string,
  ): Promise<{ manifests: readonly unknown[]; rest: object; etag: string | undefined }> {
    const operation = this.#client.operation(doing, this.#signal);
    for (;;) {
      let got: ClientAnswer;
      try {
        const headers = { accept: OCI_INDEX };
        got = await this.#client.request(
          { path: `manifests/${tag}`, headers, doing, accepted: [200], isByTag: true },
          operation,
        );
      } catch (error) {
        if (!isPeelError(error, 'ERR_IMAGE_NOT_FOUND')) throw error;
        return { manifests: [], rest: {}, etag: undefined };
      }
      const bytes = await readBody(this.#client, got, MAX_INDEX_BYTES, doing, operation);
      if (bytes === undefined) continue;
      const document = parseIndex(bytes, doing);
      const { manifests, ...rest } = document;
      return { manifests, rest, etag: got.answer.header('etag') };
    }
  }

  async #send(request: Sending): Promise<number> {
    const { answer } = await this.#ask(request);
    await answer.excerpt();
    return answer.status;
  }

  #ask(request: Sending): Promise<ClientAnswer> {
    const operation = this.#client.operation(request.doing, this.#signal);
    return this.#client.request({ headers: {}, isByTag: false, ...request }, operation);
  }
}

type Sending = Omit<ClientRequest, 'headers' | 'isByTag'> & Partial<Pick<ClientRequest, 'headers'>>;

function parseIndex(
  bytes: Buffer,
  doing: string,
): { manifests: readonly unknown[] } & Record<string, unknown> {
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString('utf8'));
  } catch {
    // The parser's message quotes what the server sent.
  }
  if (isRecord(document) && Array.isArray(document['manifests'])) {
    return { ...document, manifests: document['manifests'] as readonly unknown[] };
  }
  throw new PeelError(
    'ERR_REGISTRY_RESPONSE',
    `${doing}: what the tag names is no image index; it is left as it is`,
  );
}
