/** The real images that have a reference listing. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { imagesOfArchive, imagesOfLayout } from './stored-image.ts';

/** Listings that are not compared, each with its reason. */
export const EXCUSED: Readonly<Record<string, string>> = {
  'layouts/oci-tools/overlayfs-docker-v2-manifest.o0.tsv': 'its one layer is a squashfs image, not a tar',
  'layouts/regclient/testrepo.o21.tsv': 'an artifact of text blobs, no image: the listing is an empty root',
};

/** A listing's own image. */
export interface ListedImage {
  /** Below the folder of images. */
  readonly name: string;
  /** Of its manifest; undefined where the file itself is a layer. */
  readonly digest: string | undefined;
  readonly layers: readonly Buffer[];
}

/** `layouts/a/b.o3.tsv` is the fourth image of the layout a/b; without a number the file itself is a layer. */
export async function listedImage(listing: string, images: string): Promise<ListedImage> {
  const [, name = '', number] = /^(.*?)(?:\.o(\d+))?\.tsv$/.exec(listing) ?? [];
  const stored = path.join(images, name);
  if (number === undefined) {
    return { name, digest: undefined, layers: [readFileSync(stored)] };
  }
  const found = name.startsWith('layouts/') ? imagesOfLayout(stored) : await imagesOfArchive(stored);
  const image = found[Number(number)];
  if (image === undefined) {
    throw new Error(`${listing}: the layout has ${found.length} images`);
  }
  return { name, ...image };
}

export function listingsIn(images: string): string[] {
  return readdirSync(path.join(images, 'listings'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.tsv') && !name.startsWith('dialects/'))
    .sort();
}
