/** An image whose registry was away for a moment goes on where it stopped, without being opened again (P8). */
import { expect, test } from 'vitest';
import { PeelError } from '../../src/errors.ts';
import type { StoredDocument } from '../../src/source/source.ts';
import { sha256Digest } from '../support/digests.ts';
import { HeldSource } from '../support/held-source.ts';
import { member } from '../support/image-layout.ts';
import { writeTar } from '../support/tar-bytes.ts';
import { useTempPaths } from '../support/temp-dirs.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const newPath = useTempPaths();

function documentOf(value: object): StoredDocument {
  const bytes = Buffer.from(JSON.stringify(value));
  return { mediaType: undefined, digest: sha256Digest(bytes), bytes };
}

test('a tree is asked for again where the SOCI index could not be had the first time', async () => {
  const empty = Buffer.from('{}');
  const config = { mediaType: 'application/json', digest: sha256Digest(empty), size: empty.length };
  const soci = documentOf({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [] });
  const listed = { mediaType: MANIFEST, digest: soci.digest, size: soci.bytes.length };
  const source = new HeldSource([Buffer.from(writeTar([member('file')]).bytes)]);
  source.release(0);
  let asked = 0;
  source.fetchDocument = async () => {
    asked += 1;
    if (asked === 1) throw new PeelError('ERR_REGISTRY_UNREACHABLE', 'the registry is away');
    return soci;
  };
  const image = await source.open(newPath(), {
    annotations: { 'com.amazon.soci.index-digest': soci.digest },
    indexDocument: documentOf({ schemaVersion: 2, manifests: [listed] }),
  });
  await expect(image.tree()).rejects.toMatchObject({ code: 'ERR_REGISTRY_UNREACHABLE' });
  await expect(image.tree()).resolves.toBeDefined();
  await image.close();
});
