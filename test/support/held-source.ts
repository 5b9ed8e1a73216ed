/**
 * An image whose layers come when the test lets them: each blob is held until it is released, as it is or spoilt.
 */
import { openCacheDir } from '../../src/blob/cache-dir.ts';
import { interruptionOf } from '../../src/errors.ts';
import { Image } from '../../src/image.ts';
import type { Descriptor } from '../../src/reference/descriptor.ts';
import { parseConfig } from '../../src/reference/parse-config.ts';
import { parseDocument } from '../../src/reference/parse-document.ts';
import type { BlobSource, ImageSource, StoredDocument } from '../../src/source/source.ts';
import { sha256Digest } from './digests.ts';

const LAYER = 'application/vnd.oci.image.layer.v1.tar';

/** As a network delivers. */
const CHUNK_BYTES = 16 * 1024;

const notAsked = (): Promise<never> => Promise.reject(new Error('not asked'));

interface HeldBlob {
  readonly bytes: Buffer;
  readonly released: Promise<Buffer>;
  readonly release: (bytes: Buffer) => void;
  isReleased: boolean;
}

interface HeldIndex {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly indexDocument?: StoredDocument;
}

export class HeldSource implements ImageSource {
  readonly name = 'oci:held';
  readonly stats = { requests: 0, bytesFetched: 0 };
  /** Digests in the order in which their blobs were asked for. */
  readonly asked: string[] = [];
  /** Requests that were ended while their blob was held. */
  ended = 0;
  readonly #blobs: readonly HeldBlob[];
  readonly #diffIDs: readonly string[] | undefined;

  readonly resolve = notAsked;
  fetchDocument: ImageSource['fetchDocument'] = notAsked;
  readonly fetchBlob = notAsked;
  readonly measureBlob = notAsked;

  /** Lowest first; without `diffIDs` they are plain tars. */
  constructor(layers: readonly Buffer[], diffIDs?: readonly string[]) {
    this.#diffIDs = diffIDs;
    this.#blobs = layers.map((bytes) => {
      let release = (_bytes: Buffer): void => {};
      const released = new Promise<Buffer>((resolve) => {
        release = resolve;
      });
      return { bytes, released, release, isReleased: false };
    });
  }

  get digests(): readonly string[] {
    return this.#blobs.map(({ bytes }) => sha256Digest(bytes));
  }

  release(layer: number): void {
    this.#let(layer, (bytes) => bytes);
  }

  /** As many bytes, all of them wrong. */
  spoil(layer: number): void {
    this.#let(layer, (bytes) => Buffer.alloc(bytes.length, 1));
  }

  #let(layer: number, send: (bytes: Buffer) => Buffer): void {
    const blob = this.#blobs[layer];
    if (blob === undefined) throw new RangeError(`no layer ${layer}`);
    blob.isReleased = true;
    blob.release(send(blob.bytes));
  }

  openBlob({ digest, size }: Descriptor): BlobSource {
    const send = (signal: AbortSignal | undefined): Promise<Buffer> => this.#send(digest, signal);
    return {
      digest,
      size,
      async *fetch({ start, end }, signal) {
        const bytes = (await send(signal)).subarray(start, end);
        for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
      },
    };
  }

  async #send(digest: string, signal: AbortSignal | undefined): Promise<Buffer> {
    this.asked.push(digest);
    const blob = this.#blobs.find(({ bytes }) => sha256Digest(bytes) === digest);
    if (blob === undefined) throw new RangeError(`no layer ${digest}`);
    const ended = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => {
        if (!blob.isReleased) this.ended += 1;
        reject(interruptionOf(signal, 'reading'));
      });
    });
    return Promise.race([blob.released, ended]);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** The image of these layers; with `annotations` in its manifest, listed by `indexDocument`. */
  async open(cacheDir: string, { annotations = {}, indexDocument }: HeldIndex = {}): Promise<Image> {
    const layers = this.#blobs.map(({ bytes }) => ({
      mediaType: LAYER,
      digest: sha256Digest(bytes),
      size: bytes.length,
    }));
    const configBytes = Buffer.from(
      JSON.stringify({
        os: 'linux',
        architecture: 'amd64',
        rootfs: { type: 'layers', diff_ids: this.#diffIDs ?? this.digests },
      }),
    );
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        config: {
          mediaType: 'application/vnd.oci.image.config.v1+json',
          digest: sha256Digest(configBytes),
          size: configBytes.length,
        },
        layers,
        annotations,
      }),
    );
    const manifest = parseDocument(bytes);
    if (manifest.kind !== 'manifest') throw new Error('not a manifest');
    const resolved = {
      manifest,
      manifestDocument: { mediaType: manifest.mediaType, digest: sha256Digest(bytes), bytes },
      indexDigest: indexDocument?.digest,
      ...(indexDocument === undefined ? {} : { indexDocument }),
      config: parseConfig(configBytes),
      configBytes,
    };
    const cache = await openCacheDir(cacheDir);
    return new Image(this, resolved, cache, { cacheDir, source: { registry: {} } });
  }
}
