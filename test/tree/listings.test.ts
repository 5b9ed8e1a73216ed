/**
 * Real images against their reference listings, entry for entry. The listings come from another reader and equal what
 * `umoci unpack` gives (README beside them), but for directory times that umoci leaves at "now".
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { mergeLayers } from '../../src/tree/merge.ts';
import { imagesDir } from '../support/images.ts';
import { contentFrom, normalizedListing, rowsOf, tabbedRow } from '../support/listing.ts';
import { readLayer } from '../support/read-layer.ts';
import { EXCUSED, listedImage, listingsIn } from '../support/real-images.ts';
import { storedAndMapped } from '../support/tree-snapshot.ts';

const folder = imagesDir();

describe.skipIf(folder === undefined)('real images', () => {
  const images = folder ?? '';
  const listings = folder === undefined ? [] : listingsIn(images);

  test('every listing is compared or excused', () => {
    expect(listings.length).toBeGreaterThan(100);
    expect(Object.keys(EXCUSED).filter((name) => !listings.includes(name))).toEqual([]);
  });

  for (const listing of listings.filter((name) => !(name in EXCUSED))) {
    test(`${listing.replace(/\.tsv$/, '')} merges to its listing`, async () => {
      const layers = await Promise.all((await listedImage(listing, images)).layers.map(readLayer));
      const tree = mergeLayers(layers.map(({ entries }) => entries));
      // What the mount serves is the stored form: it must not differ in anything.
      const mapped = await storedAndMapped(tree);
      const rows = rowsOf(mapped, contentFrom(layers.map(({ tar }) => tar)));
      const expected = normalizedListing(readFileSync(path.join(images, 'listings', listing), 'utf8'));
      expect(rows.map(tabbedRow).sort()).toEqual(expected.sort());
    });
  }
});
