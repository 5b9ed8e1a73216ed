/**
 * Real images by the indexes that their layers bring, against the reference listings: what the index says, and each
 * byte read by it, equals what the plain layers hold.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { withoutStargzFiles } from '../../src/image/own-index-claim.ts';
import type { Toc } from '../../src/layer/toc.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import { imagesDir } from '../support/images.ts';
import { contentFrom, normalizedListing, rowsOf, STARGZ_ROWS, tabbedRow } from '../support/listing.ts';
import { type LayerWithIndex, ownTocOf, spaceOf } from '../support/own-toc.ts';
import { readLayer } from '../support/read-layer.ts';

const folder = imagesDir();

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly annotations: Readonly<Record<string, string>>;
}

function layersOf(layout: string): LayerWithIndex[] {
  const json = (name: string): unknown => JSON.parse(readFileSync(path.join(layout, name), 'utf8'));
  const blob = (digest: string): string => path.join('blobs', ...digest.split(':'));
  const { manifests } = json('index.json') as { manifests: Descriptor[] };
  const { layers } = json(blob(manifests[0]?.digest ?? '')) as { layers: Descriptor[] };
  return layers.map(({ mediaType, digest, annotations }) => ({
    blob: readFileSync(path.join(layout, blob(digest))),
    mediaType,
    annotations,
  }));
}

function layersOfArchive(archive: string): LayerWithIndex[] {
  const read = (name: string): Buffer => execFileSync('tar', ['-xOf', archive, name], { maxBuffer: 1 << 28 });
  const blob = (digest: string): Buffer => read(path.join('blobs', ...digest.split(':')));
  const { manifests } = JSON.parse(read('index.json').toString()) as { manifests: Descriptor[] };
  const { layers } = JSON.parse(blob(manifests[0]?.digest ?? '').toString()) as { layers: Descriptor[] };
  return layers.map(({ mediaType, digest, annotations }) => ({ blob: blob(digest), mediaType, annotations }));
}

describe.skipIf(folder === undefined)('real images by their own indexes (E117, E124, E136, E137)', () => {
  const images = folder ?? '';

  test.each([
    ['estargz-dive-14layers-64k', 'estargz'],
    ['estargz-dive-14layers-4m-prio', 'estargz'],
    ['zstdchunked-skopeo-dive-14layers', 'zstd-chunked'],
    ['zstdchunked-stargzlib-dive-14layers-64k', 'zstd-chunked'],
  ])('%s: the tree and every byte equal the listing, for one request a layer', async (name, format) => {
    const layers = layersOf(path.join(images, 'layouts', 'derived', name));
    expect(layers).toHaveLength(14);
    const spaces: Buffer[] = [];
    const lists = [];
    for (const layer of layers) {
      const { toc, requests } = await ownTocOf(layer);
      if (toc === undefined) throw new Error('no index was found');
      expect(toc.own?.format).toBe(format);
      expect(requests).toHaveLength(1);
      spaces.push(await spaceOf(toc, layer.blob));
      lists.push(withoutStargzFiles(toc.entries));
    }
    const rows = rowsOf(mergeLayers(lists), contentFrom(spaces)).map(tabbedRow);
    const listing = path.join(images, 'listings', 'layouts', 'derived', `${name}.o0.tsv`);
    const expected = normalizedListing(readFileSync(listing, 'utf8')).filter((row) => !STARGZ_ROWS.test(row));
    expect(rows.sort()).toEqual(expected.sort());
  });

  test('E123: in a lossless eStargz of BuildKit the TOC lies behind the end of the tar, and is found', async () => {
    const name = 'dive/test-oci-estargz-image.tar';
    const [layer] = layersOfArchive(path.join(images, 'archives', name));
    if (layer === undefined) throw new Error('no layer');
    const { toc } = await ownTocOf(layer);
    const plain = await readLayer(layer.blob);
    // The plain reader ends at the two zero blocks.
    expect(plain.entries.map(({ path: file }) => file)).not.toContain('stargz.index.json');
    const space = await spaceOf(toc as Toc, layer.blob);
    const rows = rowsOf(mergeLayers([toc?.entries ?? []]), contentFrom([space])).map(tabbedRow);
    const listing = readFileSync(path.join(images, 'listings', 'archives', `${name}.o0.tsv`), 'utf8');
    expect(rows.sort()).toEqual(
      normalizedListing(listing)
        .filter((row) => !STARGZ_ROWS.test(row))
        .sort(),
    );
  });

  test('E126: a stale stargz.index.json in a layer without a footer is a file like others', async () => {
    const blob = readFileSync(path.join(images, 'layers', 'nydus', 'alpine-stargz.tar.gz'));
    const layer = { blob, mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', annotations: {} };
    expect((await ownTocOf(layer, true)).toc).toBeUndefined();
    const { entries } = await readLayer(blob);
    expect(entries.map(({ path: file }) => file)).toContain('stargz.index.json');
  });
});
