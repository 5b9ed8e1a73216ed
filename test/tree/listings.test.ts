/**
 * Real images against their reference listings, entry for entry. The listings come from another reader and equal what
 * `umoci unpack` gives (README beside them), but for directory times that umoci leaves at "now".
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { mergeLayers } from '../../src/tree/merge.ts';
import { imagesDir } from '../support/images.ts';
import { contentFrom, normalizedListing, rowsOf, tabbedRow } from '../support/listing.ts';
import { readLayer } from '../support/read-layer.ts';
import { imagesOfArchive, imagesOfLayout } from '../support/stored-image.ts';
import { storedAndMapped } from '../support/tree-snapshot.ts';

const folder = imagesDir();

/** Listings that are not compared, each with its reason. */
const EXCUSED: Readonly<Record<string, string>> = {
  'layouts/oci-tools/overlayfs-docker-v2-manifest.o0.tsv': 'its one layer is a squashfs image, not a tar',
  'layouts/regclient/testrepo.o21.tsv': 'an artifact of text blobs, no image: the listing is an empty root',
};

/** `layouts/a/b.o3.tsv` is the fourth image of the layout a/b; without a number the file itself is a layer. */
async function layersOf(listing: string, images: string): Promise<readonly Buffer[]> {
  const [, name, number] = /^(.*?)(?:\.o(\d+))?\.tsv$/.exec(listing) ?? [];
  const stored = path.join(images, name ?? '');
  if (number === undefined) {
    return [readFileSync(stored)];
  }
  const found = name?.startsWith('layouts/') ? imagesOfLayout(stored) : await imagesOfArchive(stored);
  const image = found[Number(number)];
  if (image === undefined) {
    throw new Error(`${listing}: the layout has ${found.length} images`);
  }
  return image.layers;
}

function listingsIn(images: string): string[] {
  return readdirSync(path.join(images, 'listings'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.tsv') && !name.startsWith('dialects/'))
    .sort();
}

describe.skipIf(folder === undefined)('real images', () => {
  const images = folder ?? '';
  const listings = folder === undefined ? [] : listingsIn(images);

  test('every listing is compared or excused', () => {
    expect(listings.length).toBeGreaterThan(100);
    expect(Object.keys(EXCUSED).filter((name) => !listings.includes(name))).toEqual([]);
  });

  for (const listing of listings.filter((name) => !(name in EXCUSED))) {
    test(`${listing.replace(/\.tsv$/, '')} merges to its listing`, async () => {
      const layers = await Promise.all((await layersOf(listing, images)).map(readLayer));
      const tree = mergeLayers(layers.map(({ entries }) => entries));
      // What the mount serves is the stored form: it must not differ in anything.
      const mapped = await storedAndMapped(tree);
      const rows = rowsOf(mapped, contentFrom(layers.map(({ tar }) => tar)));
      const expected = normalizedListing(readFileSync(path.join(images, 'listings', listing), 'utf8'));
      expect(rows.map(tabbedRow).sort()).toEqual(expected.sort());
    });
  }
});
