/** Archives that other programs made: Docker, kaniko, jib, bazel, crane, buildah. skopeo reads the same documents. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/reference/parse-config.ts';
import { codeOfAsync } from '../reference/code-of.ts';
import { sha256Digest } from '../support/digests.ts';
import { imagesDir } from '../support/images.ts';
import { openTestArchive } from '../support/open-archive.ts';
import { readAll, readLayer, readManifest } from './read-archive.ts';

const REFUSED: readonly (readonly [string, string])[] = [
  ['ggcr/null_manifest.tar', 'ERR_DOCUMENT_INVALID'],
  ['dive/test-estargz-image.tar', 'ERR_IMAGE_NOT_FOUND'],
  ['moby/layer.tar', 'ERR_IMAGE_NOT_FOUND'],
  ['jib/symlinks.tar', 'ERR_IMAGE_NOT_FOUND'],
];

/** Number of images, for those with more than one; layers of each by position. */
const DOCKER: readonly (readonly [string, readonly number[]])[] = [
  ['dive/test-docker-image.tar', [14]],
  ['dive/test-kaniko-image.tar', [14]],
  ['ggcr/bundle.tar', [1, 1]],
  ['ggcr/test_bundle.tar', [1, 1]],
  ['ggcr/test_link.tar', [1, 2]],
  ['ggcr/foreign.tar', [2]],
  ['ggcr/hello-world-v25.tar', [1]],
  ['ggcr/overwritten_file.tar', [3]],
  ['ggcr/source_image_with_empty_layer_history.tar', [1]],
  ['ggcr/whiteout.tar', [4]],
  ['ggcr/whiteout_dir.tar', [4]],
  ['jib/busybox-docker.tar', [1]],
  ['jib/busybox-jib.tar', [2]],
  ['jib/docker-save.tar', [2]],
  ['jib/jib-image.tar', [2]],
  ['rules_docker/image_with_symlinked_layer.tar', [2]],
  ['rules_docker/pause.tar', [2]],
];

const OCI = [
  'dive/test-oci-estargz-image.tar',
  'dive/test-oci-gzip-image.tar',
  'dive/test-oci-uncompressed-image.tar',
  'dive/test-oci-zstd-image.tar',
  'apple/scratch_no_annotations.tar',
  'oras-go/hello-world-prefixed-path.tar',
  'snyk/busybox-single-arch-with-attestation-manifest.tar',
  'whaler/test-image.tar',
];

describe.skipIf(imagesDir() === undefined)('real archives', () => {
  const root = path.join(imagesDir() ?? '', 'archives');

  test.each(REFUSED)('%s is refused with %s', async (name, code) => {
    const file = path.join(root, name);
    expect(
      await codeOfAsync(async () => {
        const source = await openTestArchive(file);
        try {
          return await source.resolve();
        } finally {
          await source.close();
        }
      }),
    ).toBe(code);
  });

  // Every layer is read through the source, unpacked by zlib and hashed: its diffID is what docker computed.
  test.each(DOCKER)('%s gives the layers that its config names', async (name, counts) => {
    const file = path.join(root, name);
    for (const [position, count] of counts.entries()) {
      const image = await readAll(file, counts.length === 1 ? undefined : { by: 'position', position });
      expect(image.name.startsWith('docker-archive:')).toBe(true);
      expect(image.layers).toHaveLength(count);
      const unpacked = image.layers.map((layer) => (layer[0] === 0x1f ? gunzipSync(layer) : layer));
      expect(unpacked.map(sha256Digest)).toEqual(parseConfig(image.config).diffIDs);
      expect(image.layers.map(sha256Digest)).toEqual(image.manifest.layers.map((layer) => layer.digest));
    }
  });

  // Not those whose layers skopeo cannot account for; it reads them all to make its manifest.
  const toSkopeo = DOCKER.filter(
    ([name, counts]) => counts.length === 1 && !name.includes('empty_layer_history'),
  );
  test.each(toSkopeo.map(([name]) => name))('%s has the config that skopeo reads', async (name) => {
    const file = path.join(root, name);
    const args = ['inspect', '--config', '--raw', `docker-archive:${file}`];
    expect(
      (await readAll(file)).config.equals(
        execFileSync('skopeo', args, { timeout: 20_000, stdio: ['pipe', 'pipe', 'ignore'] }),
      ),
    ).toBe(true);
  });

  test.each(OCI)('%s leads to the document that skopeo reads', async (name) => {
    const file = path.join(root, name);
    const source = await openTestArchive(file);
    const expected = execFileSync('skopeo', ['inspect', '--raw', `oci-archive:${file}`], {
      timeout: 20_000,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const document = await source.resolve();
    expect(document.bytes.equals(expected)).toBe(true);
    expect(document.digest).toBe(sha256Digest(expected));
    await source.close();
  });

  test('ggcr/sparse_foreign.tar opens without its foreign layer, which keeps its descriptor (E182)', async () => {
    const source = await openTestArchive(path.join(root, 'ggcr/sparse_foreign.tar'));
    const manifest = await readManifest(source);
    expect(manifest.layers[1]).toMatchObject({
      digest: 'sha256:015b6ec6d1bc15e26c868d36ef75577c7a0405609ea9abc028b69204b56e7325',
      size: 701,
      urls: ['example.com'],
    });
    expect((await readLayer(source, manifest, 0)).length).toBe(439);
    await expect(readLayer(source, manifest, 1)).rejects.toThrow('foreign layer');
    await source.close();
  });
});
