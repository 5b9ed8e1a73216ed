/** What the commands need of an opened image; `src/image.ts` provides it. */
import type { FileSystem } from '../filesystem/filesystem.ts';
import type { Toc } from '../layer/toc.ts';
import type { Descriptor } from '../reference/descriptor.ts';
import type { ImageConfig, Manifest } from '../reference/documents.ts';
import type { Platform } from '../reference/platform.ts';
import type { StoredDocument } from '../source/source.ts';
import type { Node, Tree } from '../tree/node.ts';
import type { Digest } from '../units.ts';

export interface Image {
  /** How a user would write it again. */
  readonly name: string;
  /** Of the manifest. */
  readonly digest: Digest;
  /** Of the index it was chosen from. */
  readonly indexDigest?: Digest;
  readonly manifest: Manifest;
  readonly manifestDocument: StoredDocument;
  readonly config: ImageConfig;
  readonly configBytes: Buffer;
  /** Lowest first. */
  readonly layers: readonly { readonly descriptor: Descriptor; readonly diffID: Digest }[];
  readonly platform: Platform;
  tree(): Promise<Tree>;
  filesystem(): Promise<FileSystem>;
  /** The file system of one layer alone. */
  layerTree(layer: number): Promise<FileSystem>;
  layerToc(layer: number): Promise<Toc>;
  /** Bytes of a file's content that are in the cache. */
  cachedShare(node: Node): Promise<number>;
  close(): Promise<void>;
}
