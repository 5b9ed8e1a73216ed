import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { hostPlatform, parsePlatform } from '../../src/reference/platform.ts';
import { openFolder } from '../../src/source/layout/folder.ts';
import { LayoutSource } from '../../src/source/layout/layout-source.ts';
import { type ResolvedImage, resolveImage } from '../../src/source/resolve-image.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { codeOfAsync } from '../reference/code-of.ts';
import { imagesDir } from '../support/images.ts';
import { openTestArchive } from '../support/open-archive.ts';
import { useTempPaths } from '../support/temp-dirs.ts';
import { type MadeDescriptor, MadeLayout, OCI_CONFIG, OCI_MANIFEST } from './made-image.ts';

const newPath = useTempPaths();
const AMD64 = { os: 'linux', architecture: 'amd64' };
const ARM64 = { os: 'linux', architecture: 'arm64' };
const S390X = { os: 'linux', architecture: 's390x' };
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';

/** A source over a made layout; what is asked of it as from a registry, which cannot say what is there. */
function sourceOf(layout: MadeLayout, top: MadeDescriptor, isRegistry = false): ImageSource {
  const directory = layout.setIndex([top]).write(newPath());
  const source = new LayoutSource(`oci:${directory}`, openFolder(directory));
  if (!isRegistry) return source;
  return {
    name: source.name,
    stats: source.stats,
    resolve: () => source.resolve(),
    fetchDocument: (descriptor) => source.fetchDocument(descriptor),
    fetchBlob: (descriptor, maxSize) => source.fetchBlob(descriptor, maxSize),
    openBlob: (descriptor) => source.openBlob(descriptor),
    measureBlob: (digest) => source.measureBlob(digest),
    close: () => source.close(),
  };
}

async function resolve(layout: MadeLayout, top: MadeDescriptor, wanted?: string): Promise<ResolvedImage> {
  const source = sourceOf(layout, top, true);
  try {
    return await resolveImage(source, wanted === undefined ? undefined : parsePlatform(wanted));
  } finally {
    await source.close();
  }
}

describe('resolveImage', () => {
  test('a manifest is taken for whatever platform it is, unless one was asked for', async () => {
    const layout = new MadeLayout();
    const manifest = layout.addImage('a', S390X);
    const found = await resolve(layout, manifest);
    expect(found.manifestDocument.digest).toBe(manifest.digest);
    expect(found.indexDigest).toBe(undefined);
    expect(found.config.platform).toEqual(S390X);
    await expect(resolve(layout, manifest, 'linux/amd64')).rejects.toThrow(
      /no manifest for linux\/amd64: there are linux\/s390x/,
    );
  });

  test('an index gives the manifest of the platform, and its own digest (E163)', async () => {
    const layout = new MadeLayout();
    const manifests = [S390X, AMD64, ARM64].map((platform) => ({
      ...layout.addImage('a', platform),
      platform,
    }));
    const top = layout.addIndex(manifests);
    const found = await resolve(layout, top, 'linux/arm64');
    expect(found.manifestDocument.digest).toBe(manifests[2]?.digest);
    expect(found.indexDigest).toBe(top.digest);
  });

  test('without a platform asked for, the host decides', async () => {
    const layout = new MadeLayout();
    const host = hostPlatform();
    const manifests = [S390X, { os: 'plan9', architecture: 'amd64' }, host].map((platform) => ({
      ...layout.addImage(platform.os, platform),
      platform,
    }));
    const found = await resolve(layout, layout.addIndex(manifests));
    expect(found.config.platform).toEqual(host);
  });

  test('an index of one image for another machine is looked into all the same, attestations not counted (E164)', async () => {
    const layout = new MadeLayout();
    const image = { ...layout.addImage('a', S390X), platform: S390X };
    const attestation = { ...layout.addImage('b'), platform: { os: 'unknown', architecture: 'unknown' } };
    const top = layout.addIndex([attestation, image]);
    expect((await resolve(layout, top)).manifestDocument.digest).toBe(image.digest);
    expect(await codeOfAsync(() => resolve(layout, top, 'linux/amd64'))).toBe('ERR_PLATFORM_NOT_FOUND');
  });

  test('several images, none for this machine: the error lists them (E165)', async () => {
    const layout = new MadeLayout();
    const platforms = ['plan9/amd64', 'plan9/386'].map((text) => parsePlatform(text));
    const top = layout.addIndex(
      platforms.map((platform) => ({ ...layout.addImage('a', platform), platform })),
    );
    await expect(resolve(layout, top)).rejects.toThrow('there are plan9/amd64, plan9/386');
  });

  test('a Docker list inside an OCI index is followed (E157)', async () => {
    const layout = new MadeLayout();
    const image = { ...layout.addImage('a', AMD64), platform: AMD64 };
    const other = { ...layout.addImage('b', ARM64), platform: ARM64 };
    const list = layout.addBlob(DOCKER_LIST, {
      schemaVersion: 2,
      mediaType: DOCKER_LIST,
      manifests: [other, image],
    });
    const top = layout.addIndex([list]);
    const found = await resolve(layout, top, 'linux/amd64');
    expect(found.manifestDocument.digest).toBe(image.digest);
    expect(found.indexDigest).toBe(top.digest);
  });

  test('four nested indexes are followed, a fifth is not (E157)', async () => {
    const layout = new MadeLayout();
    let top: MadeDescriptor = { ...layout.addImage('a', AMD64), platform: AMD64 };
    for (let depth = 0; depth < 4; depth += 1) top = layout.addIndex([top]);
    expect((await resolve(layout, top, 'linux/amd64')).config.platform).toEqual(AMD64);
    expect(await codeOfAsync(() => resolve(layout, layout.addIndex([top]), 'linux/amd64'))).toBe(
      'ERR_LIMIT_EXCEEDED',
    );
  });

  test('entries without a platform are told apart by their configs (E166)', async () => {
    const layout = new MadeLayout();
    const images = [S390X, ARM64, AMD64].map((platform) => layout.addImage('a', platform));
    const top = layout.addIndex(images);
    expect((await resolve(layout, top, 'linux/amd64')).manifestDocument.digest).toBe(images[2]?.digest);
    await expect(resolve(layout, top, 'linux/riscv64')).rejects.toThrow(
      'linux/s390x, linux/arm64, linux/amd64',
    );
  });

  test('an artifact among entries without a platform is passed over (E160, E166)', async () => {
    const layout = new MadeLayout();
    const chart = layout.addBlob(OCI_MANIFEST, {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: layout.addBlob('application/vnd.cncf.helm.config.v1+json', 'not json'),
      layers: [],
    });
    const images = [layout.addImage('a', ARM64), layout.addImage('b', AMD64)];
    const found = await resolve(layout, layout.addIndex([chart, ...images]), 'linux/amd64');
    expect(found.manifestDocument.digest).toBe(images[1]?.digest);
  });

  test('an index that makes us open documents without end is refused', async () => {
    const layout = new MadeLayout();
    const images = Array.from({ length: 70 }, (_, n) =>
      layout.addImage(`${n}`, { os: 'plan9', architecture: `cpu${n}` }),
    );
    expect(await codeOfAsync(() => resolve(layout, layout.addIndex(images)))).toBe('ERR_LIMIT_EXCEEDED');
  });

  test('an artifact alone is refused by name (E160)', async () => {
    const layout = new MadeLayout();
    const config = layout.addBlob('application/vnd.cncf.helm.config.v1+json', '{}');
    const chart = layout.addBlob(OCI_MANIFEST, {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config,
      layers: [],
    });
    await expect(resolve(layout, chart)).rejects.toThrow('a Helm chart');
  });

  test('a config that does not fit its manifest is refused (E146)', async () => {
    const layout = new MadeLayout();
    const config = layout.addBlob(OCI_CONFIG, { ...AMD64, rootfs: { type: 'layers', diff_ids: [] } });
    const layer = layout.addBlob('application/vnd.oci.image.layer.v1.tar', 'x');
    const manifest = layout.addBlob(OCI_MANIFEST, {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config,
      layers: [layer],
    });
    await expect(resolve(layout, manifest)).rejects.toThrow(/1 layers.*0 diff_ids/);
  });

  test('platforms whose manifests are not at hand are not chosen (E171)', async () => {
    const layout = new MadeLayout();
    const present = { ...layout.addImage('a', ARM64), platform: ARM64 };
    const absent = [AMD64, S390X].map((platform) => ({
      ...new MadeLayout().addImage('b', platform),
      platform,
    }));
    const source = sourceOf(layout, layout.addIndex([...absent, present]));
    expect((await resolveImage(source, undefined)).manifestDocument.digest).toBe(present.digest);
    await expect(resolveImage(source, parsePlatform('linux/s390x'))).rejects.toThrow('there are linux/arm64');
    await source.close();
  });

  test('where none is at hand, the error names the missing manifest (E171, E184)', async () => {
    const layout = new MadeLayout();
    const absent = { ...new MadeLayout().addImage('b', AMD64), platform: AMD64 };
    const source = sourceOf(layout, layout.addIndex([absent]));
    await expect(resolveImage(source, undefined)).rejects.toThrow(`does not have the blob ${absent.digest}`);
    await source.close();
  });
});

describe.skipIf(imagesDir() === undefined)('real images for several platforms', () => {
  const root = imagesDir() ?? '';

  // The index lists one image and its attestation; the archive of containerd lists platforms it does not hold.
  test.each([
    ['archives/snyk/busybox-single-arch-with-attestation-manifest.tar', 'linux/arm64'],
    ['archives/whaler/test-image.tar', 'linux/arm64'],
    ['archives/apple/scratch.tar', 'linux/amd64'],
    ['archives/oras-go/hello-world-prefixed-path.tar', 'linux/amd64'],
  ])('%s is opened for %s (E164, E171)', async (name, platform) => {
    const source = await openTestArchive(path.join(root, name));
    const found = await resolveImage(source, parsePlatform(platform));
    expect(found.config.platform).toMatchObject(parsePlatform(platform));
    await source.close();
  });

  test.each([
    ['linux/amd64', 'sha256:f54a58bc1aac5ea1a25d796ae155dc228b3f0e11d046ae276b39c4bf2f13d8c4'],
    ['linux/amd64/v3', 'sha256:f54a58bc1aac5ea1a25d796ae155dc228b3f0e11d046ae276b39c4bf2f13d8c4'],
  ])('hello-world for %s is %s', async (platform, digest) => {
    const directory = path.join(root, 'layouts/oci-tools/hello-world-docker-v2-manifest-list');
    const source = new LayoutSource('oci:x', openFolder(directory));
    expect((await resolveImage(source, parsePlatform(platform))).manifestDocument.digest).toBe(digest);
    await source.close();
  });
});
