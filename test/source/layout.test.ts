import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Descriptor } from '../../src/reference/descriptor.ts';
import { parseDigest } from '../../src/reference/digest.ts';
import { parseDocument } from '../../src/reference/parse-document.ts';
import type { Selection } from '../../src/reference/transport.ts';
import { openFolder } from '../../src/source/layout/folder.ts';
import { LayoutSource } from '../../src/source/layout/layout-source.ts';
import { compressed } from '../../src/units.ts';
import { codeOfAsync } from '../reference/code-of.ts';
import { sha256Digest } from '../support/digests.ts';
import { imagesDir } from '../support/images.ts';
import { useTempPaths } from '../support/temp-dirs.ts';
import { collect, MadeLayout, OCI_LAYER, OCI_MANIFEST, REF_NAME } from './made-image.ts';

const newPath = useTempPaths();
const AMD64 = { os: 'linux', architecture: 'amd64' };
const ARM64 = { os: 'linux', architecture: 'arm64' };

function open(directory: string, selection?: Selection): LayoutSource {
  return new LayoutSource(`oci:${directory}`, openFolder(directory), selection);
}

async function resolvedDigest(layout: MadeLayout, selection?: Selection): Promise<string> {
  return (await open(layout.write(newPath()), selection).resolve()).digest;
}

function named(descriptor: object, name: string): object {
  return { ...descriptor, annotations: { [REF_NAME]: name } };
}

function asDescriptor(made: { digest: string; size: number; mediaType: string }): Descriptor {
  return { mediaType: made.mediaType, digest: parseDigest(made.digest), size: made.size };
}

describe('choosing an image of a layout', () => {
  test('the only image needs no name', async () => {
    const layout = new MadeLayout();
    const image = layout.addImage('a', AMD64);
    expect(await resolvedDigest(layout.setIndex([named(image, 'x')]))).toBe(image.digest);
  });

  test('by name, by position and by digest', async () => {
    const layout = new MadeLayout();
    const images = ['a', 'b', 'c'].map((text) => layout.addImage(text, AMD64));
    // E184: names are annotations, not references; this one is no valid tag.
    layout.setIndex([
      named(images[0] ?? {}, 'UPPERCASE-IS-INVALID/:x'),
      named(images[1] ?? {}, 'two'),
      images[2] ?? {},
    ]);
    expect(await resolvedDigest(layout, { by: 'name', name: 'UPPERCASE-IS-INVALID/:x' })).toBe(
      images[0]?.digest,
    );
    expect(await resolvedDigest(layout, { by: 'position', position: 2 })).toBe(images[2]?.digest);
    const digest = parseDigest(images[1]?.digest ?? '');
    expect(await resolvedDigest(layout, { by: 'digest', digest })).toBe(digest);
  });

  test("containerd's full name is a name, too", async () => {
    const layout = new MadeLayout();
    const image = layout.addImage('a', AMD64);
    const annotations = { 'io.containerd.image.name': 'docker.io/library/a:1', [REF_NAME]: '1' };
    layout.setIndex([{ ...image, annotations }, layout.addImage('b')]);
    expect(await resolvedDigest(layout, { by: 'name', name: 'docker.io/library/a:1' })).toBe(image.digest);
  });

  test('a digest that only a nested index lists is found', async () => {
    const layout = new MadeLayout();
    const image = layout.addImage('a', AMD64);
    layout.setIndex([layout.addIndex([{ ...image, platform: AMD64 }])]);
    expect(await resolvedDigest(layout, { by: 'digest', digest: parseDigest(image.digest) })).toBe(
      image.digest,
    );
  });

  test('two names of one image are one image (E184)', async () => {
    const layout = new MadeLayout();
    const image = layout.addImage('a');
    expect(await resolvedDigest(layout.setIndex([named(image, 'x'), named(image, 'y')]))).toBe(image.digest);
  });

  test('several images without a name to go by: the error lists names and positions', async () => {
    const layout = new MadeLayout();
    layout.setIndex([named(layout.addImage('a'), 'one'), named(layout.addImage('b'), 'two')]);
    const source = open(layout.write(newPath()));
    await expect(source.resolve()).rejects.toThrow(/several images.*"one", "two".*:@0 to :@1/);
    expect(await codeOfAsync(() => source.resolve())).toBe('ERR_USAGE');
  });

  test('an unknown name is not found, and the error lists those there are', async () => {
    const layout = new MadeLayout();
    layout.setIndex([named(layout.addImage('a'), 'one')]);
    const source = open(layout.write(newPath()), { by: 'name', name: 'nine' });
    await expect(source.resolve()).rejects.toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND' });
    await expect(source.resolve()).rejects.toThrow('there are "one"');
  });

  test('a position past the end is not found', async () => {
    const layout = new MadeLayout();
    layout.setIndex([layout.addImage('a')]);
    expect(await codeOfAsync(() => resolvedDigest(layout, { by: 'position', position: 1 }))).toBe(
      'ERR_IMAGE_NOT_FOUND',
    );
  });

  test('entries that differ in platform alone are one image: index.json is its index', async () => {
    const layout = new MadeLayout();
    const manifests = [AMD64, ARM64].map((platform) => ({ ...layout.addImage('a', platform), platform }));
    const document = await open(layout.setIndex(manifests).write(newPath())).resolve();
    expect(document.bytes).toEqual(layout.files.get('index.json'));
    expect(document.digest).toBe(sha256Digest(document.bytes));
  });

  test('entries of one name that differ in platform are an index of those alone', async () => {
    const layout = new MadeLayout();
    const entries = [AMD64, ARM64].map((platform) => ({
      ...named(layout.addImage('a', platform), 'x'),
      platform,
    }));
    layout.setIndex([...entries, named(layout.addImage('b'), 'y')]);
    const directory = layout.write(newPath());
    const documents = await Promise.all(
      [1, 2].map(() => open(directory, { by: 'name', name: 'x' }).resolve()),
    );
    const [first] = documents;
    const index = parseDocument(first?.bytes ?? Buffer.alloc(0));
    expect(index.kind === 'index' && index.manifests.map((entry) => entry.platform?.architecture)).toEqual([
      'amd64',
      'arm64',
    ]);
    expect(documents.map((document) => document.digest)).toEqual([first?.digest, first?.digest]);
  });
});

describe('a broken layout', () => {
  const image = (): { layout: MadeLayout; manifest: { digest: string; size: number; mediaType: string } } => {
    const layout = new MadeLayout();
    const manifest = layout.addImage('layer', AMD64);
    layout.setIndex([manifest]);
    return { layout, manifest };
  };
  const failure = (layout: MadeLayout): Promise<string> =>
    codeOfAsync(() => open(layout.write(newPath())).resolve());

  test('without oci-layout is read all the same (E184)', async () => {
    const { layout, manifest } = image();
    layout.files.delete('oci-layout');
    expect(await resolvedDigest(layout)).toBe(manifest.digest);
  });

  // E184: index.json and oci-layout that are absent, empty, of another kind or version, or too large.
  test.each<[string, string, string | undefined, string]>([
    ['index.json', 'that is absent', undefined, 'ERR_IMAGE_NOT_FOUND'],
    ['index.json', 'of no bytes', '', 'ERR_DOCUMENT_INVALID'],
    ['index.json', 'of {}', '{}', 'ERR_DOCUMENT_INVALID'],
    ['index.json', 'without images', '{"schemaVersion":2,"manifests":[]}', 'ERR_IMAGE_NOT_FOUND'],
    ['index.json', 'with null for images', '{"schemaVersion":2,"manifests":null}', 'ERR_IMAGE_NOT_FOUND'],
    [
      'index.json',
      'that is a manifest',
      '{"schemaVersion":2,"config":{},"layers":[]}',
      'ERR_DOCUMENT_INVALID',
    ],
    ['index.json', 'of more than 4 MiB', ' '.repeat((4 << 20) + 1), 'ERR_LIMIT_EXCEEDED'],
    ['oci-layout', 'of version 2', '{"imageLayoutVersion":"2.0.0"}', 'ERR_UNSUPPORTED'],
    ['oci-layout', 'without version', '{}', 'ERR_DOCUMENT_INVALID'],
    ['oci-layout', 'that is no JSON', 'x', 'ERR_DOCUMENT_INVALID'],
    ['oci-layout', 'of 1 MiB', ' '.repeat(1 << 20), 'ERR_LIMIT_EXCEEDED'],
  ])('with an %s %s is refused', async (file, _, content, code) => {
    const { layout } = image();
    if (content === undefined) layout.files.delete(file);
    else layout.files.set(file, Buffer.from(content));
    expect(await failure(layout)).toBe(code);
  });

  test('a manifest that is not there is named (E184)', async () => {
    const { layout, manifest } = image();
    layout.files.delete(MadeLayout.pathOf(manifest.digest));
    await expect(open(layout.write(newPath())).resolve()).rejects.toThrow(
      `does not have the blob ${manifest.digest}`,
    );
    expect(await failure(layout)).toBe('ERR_IMAGE_NOT_FOUND');
  });

  test('a manifest with another content is never parsed (E143, P1)', async () => {
    const { layout, manifest } = image();
    const file = MadeLayout.pathOf(manifest.digest);
    const bytes = Buffer.from(layout.files.get(file) ?? '');
    bytes[bytes.length - 2] = 0x20;
    layout.files.set(file, bytes);
    expect(await failure(layout)).toBe('ERR_DIGEST_MISMATCH');
  });

  test.each([-1, 1])('a manifest of a size that differs by %i is refused (E144)', async (difference) => {
    const { layout, manifest } = image();
    layout.setIndex([{ ...manifest, size: manifest.size + difference }]);
    await expect(open(layout.write(newPath())).resolve()).rejects.toThrow(
      `has ${manifest.size} bytes, expected ${manifest.size + difference}`,
    );
    expect(await failure(layout)).toBe('ERR_DIGEST_MISMATCH');
  });

  test('a manifest that is a folder, and an index that is a FIFO, end in an error and not in waiting', async () => {
    const { layout, manifest } = image();
    const directory = layout.write(newPath());
    const file = path.join(directory, MadeLayout.pathOf(manifest.digest));
    rmSync(file);
    mkdirSync(file);
    expect(await codeOfAsync(() => open(directory).resolve())).toBe('ERR_IO');
    rmSync(path.join(directory, 'index.json'));
    execFileSync('mkfifo', [path.join(directory, 'index.json')], { timeout: 10_000 });
    expect(await codeOfAsync(() => open(directory).resolve())).toBe('ERR_IO');
  });

  test('a config larger than the caller takes is refused before it is read', async () => {
    const layout = new MadeLayout();
    const blob = layout.addBlob('x/y', 'x'.repeat(100));
    const source = open(layout.write(newPath()));
    expect(await codeOfAsync(() => source.fetchBlob(asDescriptor(blob), 99))).toBe('ERR_LIMIT_EXCEEDED');
    expect((await source.fetchBlob(asDescriptor(blob), 100)).length).toBe(100);
  });
});

describe('blobs of a layout', () => {
  const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, at) => (at * 7 + (at >> 8)) & 0xff));

  function blobOf(bytes: Buffer): { directory: string; file: string; descriptor: Descriptor } {
    const layout = new MadeLayout();
    const blob = layout.addBlob(OCI_LAYER, bytes);
    const directory = layout.write(newPath());
    return {
      directory,
      file: path.join(directory, MadeLayout.pathOf(blob.digest)),
      descriptor: asDescriptor(blob),
    };
  }

  test.each([
    [0, 1],
    [0, 3_000_000],
    [1_048_575, 1_048_577],
    [2_999_999, 3_000_000],
    [17, 2_500_000],
  ])('bytes %i to %i come exactly', async (start, end) => {
    const { directory, descriptor } = blobOf(content);
    const source = open(directory);
    const blob = source.openBlob(descriptor);
    const bytes = await collect(blob.fetch({ start: compressed(start), end: compressed(end) }));
    expect(bytes.equals(content.subarray(start, end))).toBe(true);
    await source.close();
  });

  test('many reads at once share one descriptor, and closing leaves none open', async () => {
    const before = readdirSync('/proc/self/fd').length;
    const { directory, descriptor } = blobOf(content);
    const source = open(directory);
    const blob = source.openBlob(descriptor);
    const reads = Array.from({ length: 20 }, (_, n) =>
      collect(blob.fetch({ start: compressed(n * 1000), end: compressed(n * 1000 + 500_000) })),
    );
    const parts = await Promise.all(reads);
    expect(readdirSync('/proc/self/fd').length).toBe(before + 1);
    parts.forEach((part, n) =>
      expect(part.equals(content.subarray(n * 1000, n * 1000 + 500_000))).toBe(true),
    );
    await source.close();
    await source.close();
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });

  test('a range outside the blob is a mistake of the caller', async () => {
    const { directory, descriptor } = blobOf(content);
    const blob = open(directory).openBlob(descriptor);
    await expect(collect(blob.fetch({ start: compressed(0), end: compressed(3_000_001) }))).rejects.toThrow(
      RangeError,
    );
  });

  test.each([-1, 1])('a file whose length differs by %i yields no byte (E144)', async (difference) => {
    const { directory, descriptor } = blobOf(content);
    const blob = open(directory).openBlob({ ...descriptor, size: descriptor.size + difference });
    expect(await codeOfAsync(() => collect(blob.fetch({ start: compressed(0), end: compressed(10) })))).toBe(
      'ERR_DIGEST_MISMATCH',
    );
  });

  test('a file that is cut while it is open ends in an error, not in fewer bytes', async () => {
    const { directory, descriptor, file } = blobOf(content);
    const source = open(directory);
    const blob = source.openBlob(descriptor);
    await collect(blob.fetch({ start: compressed(0), end: compressed(10) }));
    truncateSync(file, 2_000_000);
    const late = collect(blob.fetch({ start: compressed(1_500_000), end: compressed(2_500_000) }));
    await expect(late).rejects.toThrow(/ends at byte 2000000, expected 3000000/);
    await source.close();
  });

  test('a layer that is missing is an error for its reader alone (E184)', async () => {
    const { directory, descriptor, file } = blobOf(content);
    renameSync(file, `${file}.away`);
    const source = open(directory);
    const blob = source.openBlob(descriptor);
    const read = (): Promise<Buffer> => collect(blob.fetch({ start: compressed(0), end: compressed(10) }));
    expect(await codeOfAsync(read)).toBe('ERR_IMAGE_NOT_FOUND');
    expect(await source.isPresent(descriptor)).toBe(false);
    renameSync(`${file}.away`, file);
    expect((await read()).length).toBe(10);
    await source.close();
  });

  test('aborting ends a read between two chunks', async () => {
    const { directory, descriptor } = blobOf(content);
    const source = open(directory);
    const abort = new AbortController();
    const stream = source
      .openBlob(descriptor)
      .fetch({ start: compressed(0), end: compressed(3_000_000) }, abort.signal);
    const reader = stream[Symbol.asyncIterator]();
    await reader.next();
    abort.abort();
    expect(await codeOfAsync(() => reader.next())).toBe('ERR_INTERRUPTED');
    await source.close();
  });

  // E183: layouts of build tools are made of links, into the layout and out of it.
  test.each(['inside', 'outside'])(
    'a blob that is a link to a file %s the layout is followed (E183)',
    async (where) => {
      const { directory, descriptor, file } = blobOf(content);
      const target = where === 'inside' ? path.join(directory, 'rootfs.tar.gz') : newPath();
      renameSync(file, target);
      symlinkSync(where === 'inside' ? '../../rootfs.tar.gz' : target, file);
      const source = open(directory);
      const bytes = await collect(
        source.openBlob(descriptor).fetch({ start: compressed(5), end: compressed(50) }),
      );
      expect(bytes.equals(content.subarray(5, 50))).toBe(true);
      await source.close();
    },
  );

  test('a link to a file that is not the blob gives nothing of it away', async () => {
    const layout = new MadeLayout();
    const manifest = layout.addImage('a');
    const directory = layout.setIndex([manifest]).write(newPath());
    const secret = newPath();
    writeFileSync(secret, 'hunter2'.repeat(200).slice(0, manifest.size));
    const file = path.join(directory, MadeLayout.pathOf(manifest.digest));
    rmSync(file);
    symlinkSync(secret, file);
    await expect(open(directory).resolve()).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    await expect(open(directory).resolve()).rejects.not.toThrow('hunter2');
  });
});

describe.skipIf(imagesDir() === undefined)('real layouts', () => {
  const root = path.join(imagesDir() ?? '', 'layouts');
  const layouts =
    imagesDir() === undefined
      ? []
      : readdirSync(root, { recursive: true, encoding: 'utf8' })
          .filter((name) => path.basename(name) === 'index.json')
          .map((name) => path.dirname(name))
          .sort();
  // index.json of these lists several images or platforms without one to take, or a manifest of another size.
  const OTHERWISE = /hello-world-registry|hello-world-cosign|regclient|apko|aufs-docker/;
  const single = layouts.filter((name) => !OTHERWISE.test(name));

  test('there are layouts to look at', () => {
    expect(single.length).toBeGreaterThan(20);
  });

  test.each(single)('%s leads to the document that skopeo reads', async (name) => {
    const directory = path.join(root, name);
    const expected = execFileSync('skopeo', ['inspect', '--raw', `oci:${directory}`], {
      timeout: 20_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const document = await open(directory).resolve();
    expect(document.bytes.equals(expected)).toBe(true);
    expect(document.digest).toBe(sha256Digest(expected));
  });

  test.each(['v1', 'v2', 'a1', 'child'])('regclient/testrepo:%s is found by its name', async (tag) => {
    const directory = path.join(root, 'regclient', 'testrepo');
    const index = JSON.parse(readFileSync(path.join(directory, 'index.json'), 'utf8')) as {
      manifests: { digest: string; annotations?: Record<string, string> }[];
    };
    const expected = index.manifests.find((entry) => entry.annotations?.[REF_NAME] === tag)?.digest;
    expect(expected).toBeDefined();
    expect((await open(directory, { by: 'name', name: tag }).resolve()).digest).toBe(expected);
  });

  test('a manifest of 536 bytes that is listed with 525 is refused (E144)', async () => {
    const directory = path.join(root, 'oci-tools', 'aufs-docker-v2-manifest');
    await expect(open(directory).resolve()).rejects.toThrow('has 536 bytes, expected 525');
  });

  test('the embedded data of true/oci is used without its blobs (E158)', async () => {
    const source = open(path.join(root, 'true', 'oci'));
    const manifest = parseDocument((await source.resolve()).bytes, OCI_MANIFEST);
    if (manifest.kind !== 'manifest') throw new Error('expected a manifest');
    expect(manifest.config.data).toBeDefined();
    const empty = new LayoutSource('oci:empty', openFolder(newPath()));
    const config = await empty.fetchBlob(manifest.config, 1 << 20);
    expect(sha256Digest(config)).toBe(manifest.config.digest);
  });
});
