/**
 * Images in an OCI layout: image-spec image-layout.md.
 *
 *   oci-layout           {"imageLayoutVersion": "1.0.0"}
 *   index.json           an image index: what images there are
 *   blobs/sha256/<hex>   documents and layers
 *
 * The same code reads a folder on disk and an OCI archive; `Folder` is where they differ.
 */
import { PeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { algorithmOf, digestOf, excerpt, hexOf } from '../../reference/digest.ts';
import type { ImageIndex } from '../../reference/documents.ts';
import { JsonFields } from '../../reference/json-fields.ts';
import { OCI_INDEX } from '../../reference/media-types.ts';
import { MAX_DOCUMENT_SIZE, parseDocument } from '../../reference/parse-document.ts';
import { parseJson } from '../../reference/parse-json.ts';
import type { Selection } from '../../reference/transport.ts';
import type { Digest } from '../../units.ts';
import { FileBlob, readWhole, readWholeBlob } from '../file-blob.ts';
import type { OpenFile } from '../local-file.ts';
import type { BlobSource, ImageSource, SourceStats, StoredDocument } from '../source.ts';
import { chooseImage } from './choose-image.ts';
import type { Folder } from './folder.ts';

const INDEX_FILE = 'index.json';
const LAYOUT_FILE = 'oci-layout';
/** The file holds one version number. */
const MAX_LAYOUT_FILE_SIZE = 64 * 1024;

export class LayoutSource implements ImageSource {
  readonly name: string;
  readonly #folder: Folder;
  readonly #selection: Selection | undefined;
  readonly #blobs = new Set<FileBlob>();
  #resolving: Promise<StoredDocument> | undefined;
  #isClosed = false;

  /** The source closes `folder`. */
  constructor(name: string, folder: Folder, selection?: Selection) {
    this.name = name;
    this.#folder = folder;
    this.#selection = selection;
  }

  get stats(): SourceStats {
    return { requests: 0, bytesFetched: 0 };
  }

  resolve(): Promise<StoredDocument> {
    this.#resolving ??= this.#resolve();
    return this.#resolving;
  }

  /** Only an image that was chosen by name has one that could lie beside it. */
  async resolveBeside(suffix: string): Promise<StoredDocument | undefined> {
    if (this.#selection?.by !== 'name') return undefined;
    const { document, index } = await this.readIndex();
    const name = `${this.#selection.name}${suffix}`;
    const choice = chooseImage(document, index, { by: 'name', name }, this.name);
    return choice.kind === 'descriptor' ? this.fetchDocument(choice.descriptor) : undefined;
  }

  async fetchDocument(descriptor: Descriptor): Promise<StoredDocument> {
    const bytes = await this.fetchBlob(descriptor, MAX_DOCUMENT_SIZE);
    return { mediaType: descriptor.mediaType, digest: descriptor.digest, bytes };
  }

  async fetchBlob(descriptor: Descriptor, maxSize: number): Promise<Buffer> {
    if (descriptor.data !== undefined && descriptor.data.length <= maxSize) return descriptor.data;
    const file = await this.#openBlobFile(descriptor.digest);
    try {
      return await readWholeBlob(file, descriptor, maxSize, `${this.name}: blob`);
    } finally {
      await file.close();
    }
  }

  openBlob(descriptor: Descriptor): BlobSource {
    const blob = new FileBlob(descriptor, `${this.name}: blob`, () => this.#openBlobFile(descriptor.digest));
    this.#blobs.add(blob);
    return blob;
  }

  async measureBlob(digest: Digest): Promise<number> {
    const file = await this.#openBlobFile(digest);
    await file.close();
    return file.size;
  }

  async isPresent(descriptor: Descriptor): Promise<boolean> {
    if (descriptor.data !== undefined) return true;
    const file = await this.#folder.open(pathOf(descriptor.digest));
    await file?.close();
    return file !== undefined;
  }

  /** What index.json lists; read once by `resolve`, again by each call. */
  async readIndex(): Promise<{ readonly document: StoredDocument; readonly index: ImageIndex }> {
    const bytes = await this.#readFile(INDEX_FILE, MAX_DOCUMENT_SIZE);
    if (bytes === undefined) {
      throw new PeelError(
        'ERR_IMAGE_NOT_FOUND',
        `${this.name} is not an OCI layout: it has no ${INDEX_FILE}`,
      );
    }
    const document = { mediaType: OCI_INDEX, digest: digestOf(bytes), bytes };
    return { document, index: this.#parseIndex(bytes) };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#blobs].map((blob) => blob.close()));
    this.#blobs.clear();
    await this.#folder.close();
  }

  async #resolve(): Promise<StoredDocument> {
    await this.#validateLayoutFile();
    const { document, index } = await this.readIndex();
    const choice = chooseImage(document, index, this.#selection, this.name);
    switch (choice.kind) {
      case 'descriptor':
        return this.fetchDocument(choice.descriptor);
      case 'document':
        return choice.document;
      case 'blob':
        return this.#readUnlisted(choice.digest);
      default:
        return choice satisfies never;
    }
  }

  /** A manifest that index.json does not list: its digest is known, its size is what the file has. */
  async #readUnlisted(digest: Digest): Promise<StoredDocument> {
    const file = await this.#openBlobFile(digest);
    try {
      const descriptor = { mediaType: '', digest, size: file.size };
      const bytes = await readWholeBlob(file, descriptor, MAX_DOCUMENT_SIZE, `${this.name}: manifest`);
      return { mediaType: undefined, digest, bytes };
    } finally {
      await file.close();
    }
  }

  /** Tools leave the file out, and read layouts without it; only a version that is not ours is refused. */
  async #validateLayoutFile(): Promise<void> {
    const bytes = await this.#readFile(LAYOUT_FILE, MAX_LAYOUT_FILE_SIZE);
    if (bytes === undefined) return;
    const what = `${this.name}: ${LAYOUT_FILE}`;
    const fields = new JsonFields(parseJson(bytes, what), what, ['imageLayoutVersion']);
    const version = fields.requiredText('imageLayoutVersion');
    if (/^1\.[0-9]{1,9}\.[0-9]{1,9}$/.test(version)) return;
    throw new PeelError('ERR_UNSUPPORTED', `${what} has version ${excerpt(version)}, expected 1.0.0`);
  }

  #parseIndex(bytes: Buffer): ImageIndex {
    let parsed: ReturnType<typeof parseDocument>;
    try {
      parsed = parseDocument(bytes, OCI_INDEX);
    } catch (error) {
      if (!(error instanceof PeelError)) throw error;
      throw new PeelError(error.code, `${this.name}: ${INDEX_FILE}: ${error.message}`, { cause: error });
    }
    if (parsed.kind === 'index') return parsed;
    throw new PeelError(
      'ERR_DOCUMENT_INVALID',
      `${this.name}: ${INDEX_FILE} is a manifest, expected an image index`,
    );
  }

  async #readFile(path: string, maxSize: number): Promise<Buffer | undefined> {
    const file = await this.#folder.open(path);
    if (file === undefined) return undefined;
    try {
      return await readWhole(file, maxSize, `${this.name}: ${path}`);
    } finally {
      await file.close();
    }
  }

  async #openBlobFile(digest: Digest): Promise<OpenFile> {
    if (this.#isClosed) throw new PeelError('ERR_IO', `${this.name} was closed`);
    const file = await this.#folder.open(pathOf(digest));
    if (file !== undefined) return file;
    throw new PeelError('ERR_IMAGE_NOT_FOUND', `${this.name} does not have the blob ${digest}`, {
      facts: { digest },
    });
  }
}

function pathOf(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}
