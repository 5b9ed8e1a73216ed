/**
 * Documents of registry images kept in the cache, so that an image seen once opens without the network
 * (P11) and a second command asks the registry for one document alone, the one that its tag names.
 *
 *   documents/sha256/<hex>      manifests, indexes and configs, as served; verified each time they are read
 *   names/<sha256 of the name>  what a name led to last: {"name", "digest", "mediaType"}
 *   sizes/sha256/<hex>          bytes of a layer whose manifest does not say it (schema 1), in decimal
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { PeelError } from '../errors.ts';
import { log } from '../log.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import { algorithmOf, hexOf, parseDigest, verifyBytes } from '../reference/digest.ts';
import { MAX_CONFIG_SIZE } from '../reference/parse-config.ts';
import { isNamedBy } from '../reference/schema1-payload.ts';
import { readOwnFile } from '../storage/own-file.ts';
import { prepareFolder, replaceFile } from '../storage/replace-file.ts';
import { type Digest, isDigest } from '../units.ts';
import { isRecord } from './is-record.ts';
import type { BlobSource, ImageSource, StoredDocument } from './source.ts';

/** Configs are the largest. */
const MAX_STORED_BYTES = MAX_CONFIG_SIZE;

const MAX_SIZE_DIGITS = 15;

interface NameRecord {
  readonly digest: Digest;
  readonly mediaType: string | undefined;
}

export class DocumentStore {
  readonly #directory: string;

  /** `directory` belongs to this user alone (src/blob/cache-dir.ts sees to that). */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The document, or undefined where it is not there or no longer what its digest says. */
  async readDocument(digest: Digest): Promise<Buffer | undefined> {
    try {
      const bytes = await readOwnFile(this.#digestPath('documents', digest), MAX_STORED_BYTES);
      if (bytes === undefined) return undefined;
      return isNamedBy(bytes, digest) ? bytes : undefined;
    } catch {
      return undefined;
    }
  }

  async writeDocument(digest: Digest, bytes: Buffer): Promise<void> {
    await this.#write(this.#digestPath('documents', digest), bytes);
  }

  async readName(name: string): Promise<NameRecord | undefined> {
    try {
      const bytes = await readOwnFile(this.#namePath(name), MAX_STORED_BYTES);
      if (bytes === undefined) return undefined;
      const record: unknown = JSON.parse(bytes.toString('utf8'));
      if (!isRecord(record)) return undefined;
      const { digest, mediaType } = record;
      if (typeof digest !== 'string') return undefined;
      return {
        digest: parseDigest(digest),
        mediaType: typeof mediaType === 'string' ? mediaType : undefined,
      };
    } catch {
      return undefined;
    }
  }

  async writeName(name: string, record: NameRecord): Promise<void> {
    await this.#write(this.#namePath(name), Buffer.from(JSON.stringify({ name, ...record })));
  }

  async readSize(digest: Digest): Promise<number | undefined> {
    const bytes = await readOwnFile(this.#digestPath('sizes', digest), MAX_SIZE_DIGITS).catch(
      () => undefined,
    );
    const text = bytes?.toString('latin1') ?? '';
    return /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
  }

  async writeSize(digest: Digest, size: number): Promise<void> {
    await this.#write(this.#digestPath('sizes', digest), Buffer.from(String(size)));
  }

  #digestPath(folder: 'documents' | 'sizes', digest: Digest): string {
    return path.join(this.#directory, folder, algorithmOf(digest), hexOf(digest));
  }

  #namePath(name: string): string {
    return path.join(this.#directory, 'names', createHash('sha256').update(name).digest('hex'));
  }

  /** Whole or not at all. A cache that cannot be written costs the next command a request, nothing else. */
  async #write(file: string, bytes: Buffer): Promise<void> {
    const folder = path.dirname(file);
    try {
      await prepareFolder(folder);
      const written = await replaceFile(folder, path.basename(file), [bytes]);
      await written.close();
    } catch (error) {
      log().warn({ err: error }, 'a document could not be kept in the cache');
    }
  }
}

/** The digest that a name ends with. */
function digestIn(name: string): Digest | undefined {
  const text = name.slice(name.lastIndexOf('@') + 1);
  return isDigest(text) ? text : undefined;
}

/** `source`, with its documents kept in `store`; with `offline`, answered from there alone. */
export function withDocumentStore(source: ImageSource, store: DocumentStore, offline: boolean): ImageSource {
  const missing = (what: string): PeelError =>
    new PeelError(
      'ERR_OFFLINE',
      `${source.name}: ${what} is not in the cache, and --offline forbids to fetch it`,
    );

  /** Digest and size were checked by `load`, or are checked here for what comes from the store. */
  const through = async (descriptor: Descriptor, load: () => Promise<Buffer>): Promise<Buffer> => {
    const stored = await store.readDocument(descriptor.digest);
    if (stored !== undefined) {
      verifyBytes(stored, descriptor, `stored document of ${source.name}`);
      return stored;
    }
    if (offline) throw missing(`document ${descriptor.digest}`);
    const bytes = await load();
    await store.writeDocument(descriptor.digest, bytes);
    return bytes;
  };

  return {
    name: source.name,
    get stats() {
      return source.stats;
    },
    async resolve(signal?: AbortSignal): Promise<StoredDocument> {
      const known = await store.readName(source.name);
      // A name with a digest always means the same document; a tag may have moved.
      if (known !== undefined && (offline || source.name.endsWith(`@${known.digest}`))) {
        const bytes = await store.readDocument(known.digest);
        if (bytes !== undefined) return { ...known, bytes };
      }
      // Asked for by digest, it may have come under another name.
      const asked = digestIn(source.name);
      const stored = asked === undefined ? undefined : await store.readDocument(asked);
      if (asked !== undefined && stored !== undefined) {
        return { digest: asked, bytes: stored, mediaType: undefined };
      }
      if (offline) throw missing('the image');
      const document = await source.resolve(signal);
      // The usual case is a tag that has not moved: nothing to write, no fsync to wait for.
      const { digest, mediaType } = document;
      if ((await store.readDocument(digest)) === undefined) await store.writeDocument(digest, document.bytes);
      if (known?.digest !== digest || known.mediaType !== mediaType) {
        await store.writeName(source.name, { digest, mediaType });
      }
      return document;
    },
    async fetchDocument(descriptor: Descriptor, signal?: AbortSignal): Promise<StoredDocument> {
      const load = async (): Promise<Buffer> => (await source.fetchDocument(descriptor, signal)).bytes;
      const bytes = await through(descriptor, load);
      return { mediaType: descriptor.mediaType, digest: descriptor.digest, bytes };
    },
    async resolveBeside(suffix: string, signal?: AbortSignal) {
      if (offline) throw missing(`what lies beside it under ${suffix}`);
      return source.resolveBeside?.(suffix, signal);
    },
    async listReferrers(subject: Digest, artifactType: string, signal?: AbortSignal) {
      return offline ? [] : ((await source.listReferrers?.(subject, artifactType, signal)) ?? []);
    },
    async fetchNamed(digest: Digest, signal?: AbortSignal): Promise<StoredDocument> {
      const stored = await store.readDocument(digest);
      if (stored !== undefined) return { digest, bytes: stored, mediaType: undefined };
      if (offline || source.fetchNamed === undefined) throw missing(`document ${digest}`);
      const document = await source.fetchNamed(digest, signal);
      await store.writeDocument(digest, document.bytes);
      return document;
    },
    fetchBlob(descriptor: Descriptor, maxSize: number, signal?: AbortSignal): Promise<Buffer> {
      return through(descriptor, () => source.fetchBlob(descriptor, maxSize, signal));
    },
    async measureBlob(digest: Digest, signal?: AbortSignal): Promise<number> {
      const stored = await store.readSize(digest);
      if (stored !== undefined) return stored;
      if (offline) throw missing(`the size of layer ${digest}`);
      const size = await source.measureBlob(digest, signal);
      await store.writeSize(digest, size);
      return size;
    },
    openBlob(descriptor: Descriptor): BlobSource {
      if (!offline) return source.openBlob(descriptor);
      return {
        digest: descriptor.digest,
        size: descriptor.size,
        fetch: (): AsyncIterable<Uint8Array> => ({
          [Symbol.asyncIterator]: () => ({
            next: () => Promise.reject(missing(`a part of layer ${descriptor.digest}`)),
          }),
        }),
      };
    },
    reload: () => source.reload?.() ?? Promise.resolve(),
    close: () => source.close(),
  };
}
