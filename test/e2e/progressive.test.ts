/** Files of real images, found and read while their layers pass for the first time, against the reference listings. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import type { Verify } from '../../src/image/find-file.ts';
import type { ByteString } from '../../src/units.ts';
import { sha256Digest, sha256Hex } from '../support/digests.ts';
import { HeldSource } from '../support/held-source.ts';
import { imagesDir } from '../support/images.ts';
import { readLayer } from '../support/read-layer.ts';
import { EXCUSED, listedImage, listingsIn } from '../support/real-images.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const images = imagesDir() ?? '';
const makeDir = useTempDirs();
/** Of each image: each means to index it anew. */
const FILES = 4;

interface Listed {
  readonly path: ByteString;
  readonly sha256: string;
}

/** Some files of a listing, from its first to its last. */
function someFiles(listing: string): Listed[] {
  const files = readFileSync(path.join(images, 'listings', listing), 'latin1')
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([, letter, , , , , size]) => letter === 'f' && size !== '0')
    .map((fields) => ({ path: fields[0] as ByteString, sha256: fields[7] ?? '' }));
  const step = Math.max(1, (files.length - 1) / (FILES - 1));
  return Array.from(
    { length: Math.min(FILES, files.length) },
    (_, index) => files[Math.round(index * step)],
  ).filter((file) => file !== undefined);
}

interface Outcome {
  readonly sha256: string;
  readonly wasEarly: boolean;
  /** `proved`, or the code of what it failed with. */
  readonly verdict: string;
}

async function readFirst(
  layers: readonly Buffer[],
  diffIDs: readonly string[],
  name: ByteString,
  verify: Verify,
): Promise<Outcome> {
  const source = new HeldSource(layers, diffIDs);
  const image = await source.open(makeDir());
  try {
    for (const layer of layers.keys()) source.release(layer);
    const found = await image.find(name, verify);
    const node = found.files.resolve(name, { follow: true });
    const pieces: Buffer[] = [];
    for await (const piece of found.files.stream(node)) pieces.push(piece);
    const verdict = await found.proved().then(
      () => 'proved',
      (error: unknown) => (isPeelError(error) ? error.code : String(error)),
    );
    return { sha256: sha256Hex(Buffer.concat(pieces)), wasEarly: !found.isProved, verdict };
  } finally {
    await image.close();
  }
}

describe.skipIf(images === '')('files of real images, read as they pass', () => {
  const listings = images === '' ? [] : listingsIn(images).filter((name) => !(name in EXCUSED));
  let early = 0;
  let replaced = 0;

  test.each(listings)(
    '%s',
    async (listing) => {
      const layers = (await listedImage(listing, images)).layers;
      const diffIDs = await Promise.all(
        layers.map(async (layer) => sha256Digest((await readLayer(layer)).tar)),
      );
      for (const { path: name, sha256 } of someFiles(listing)) {
        const { wasEarly, verdict, ...read } = await readFirst(layers, diffIDs, name, 'progressive');
        early += wasEarly ? 1 : 0;
        if (verdict === 'ERR_ENTRY_REPLACED') {
          replaced += 1;
          expect(read.sha256).not.toBe(sha256);
        } else {
          expect([name, verdict, read.sha256]).toEqual([name, 'proved', sha256]);
        }
      }
    },
    60_000,
  );

  // The others lie in layers that were known already, or are hard links to what has passed.
  test('most were read early, and none was replaced by its own layer', () => {
    expect([early > 120, replaced]).toEqual([true, 0]);
  });
});
