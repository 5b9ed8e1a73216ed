/**
 * Every image in the folder of real images, opened by name as a user does, whatever form it is stored in: entry for
 * entry and byte for byte its listing; where it has none, what umoci unpacks of its layers, which another reader took
 * out of the archive. What is no image is refused with the code that says why. Nothing in the folder is left out.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { openImage } from '../../src/image.ts';
import type { Node } from '../../src/tree/node.ts';
import { imagesDir } from '../support/images.ts';
import { normalizedListing, type Row, rowsOf, STARGZ_ROWS, tabbedRow } from '../support/listing.ts';
import { EXCUSED, listedImage, listingsIn } from '../support/real-images.ts';
import { imagesOfSaved } from '../support/saved-image.ts';
import { useSharedTempDirs } from '../support/temp-dirs.ts';
import { rowsOnDisk, UmociLayout, umociProblem, xattrsBelow } from '../support/umoci.ts';

const images = imagesDir() ?? '';
const makeDir = useSharedTempDirs();

/** Below `archives`, without a listing: how many images there are. `docker save` of all ages, kaniko, jib, bazel, crane. */
const SAVED: Readonly<Record<string, number>> = {
  'container-inspector/busybox.tgz': 1,
  'dive/test-docker-image.tar': 1,
  'dive/test-kaniko-image.tar': 1,
  'fanal/alpine-310.tar.gz': 1,
  'ggcr/26056c3-test_image_1.tar.gz': 1,
  'ggcr/bundle.tar': 2,
  'ggcr/d1f842d-test_bundle.tar': 2,
  'ggcr/hello-world-v25.tar': 1,
  'ggcr/no_manifest.tar': 1,
  'ggcr/overwritten_file.tar': 1,
  'ggcr/source_image.tar': 1,
  'ggcr/source_image_all_empty.tar': 1,
  'ggcr/source_image_with_empty_layer_history.tar': 1,
  'ggcr/test_bundle.tar': 2,
  'ggcr/test_image.tar': 1,
  'ggcr/test_image_1.tar': 1,
  'ggcr/test_image_1.tar.gz': 1,
  'ggcr/test_image_2.tar': 1,
  'ggcr/test_link.tar': 2,
  'ggcr/whiteout.tar': 1,
  'ggcr/whiteout_dir.tar': 1,
  'ggcr/whiteout_image.tar': 1,
  'jib/busybox-docker.tar': 1,
  'jib/busybox-jib.tar': 1,
  'jib/docker-save.tar': 1,
  'jib/jib-image.tar': 1,
  'moby/emptyLayer.tar': 1,
  'podman/docker-two-images.tar.xz': 2,
  'rules_docker/image_with_symlinked_layer.tar': 1,
  'rules_docker/pause.tar': 1,
};

/** What is no image that can be opened, and why. */
const REFUSED: Readonly<Record<string, string>> = {
  'archives/docker2aci/fixture-test-depsloop.docker': 'ERR_DOCUMENT_INVALID',
  'archives/docker2aci/fixture-test-invalidlayerid.docker': 'ERR_DOCUMENT_INVALID',
  'archives/ggcr/null_manifest.tar': 'ERR_DOCUMENT_INVALID',
  // Its index.json says another size than its manifest has (E144).
  'layouts/oci-tools/aufs-docker-v2-manifest': 'ERR_DIGEST_MISMATCH',
  // Artifacts of text, by name.
  'layouts/regclient/external:a3': 'ERR_UNSUPPORTED',
  'layouts/regclient/external:a4': 'ERR_UNSUPPORTED',
  // skopeo's `dir:`, and layers alone.
  'layouts/skopeo/busybox-latest': 'ERR_IMAGE_NOT_FOUND',
};

/** Read by tests of its own: two layers of which one is foreign (E182), and was never in the archive. */
const ELSEWHERE = ['archives/ggcr/foreign.tar', 'archives/ggcr/sparse_foreign.tar'];

/** All rows of an image: attributes from its tree, contents through its file system. */
async function openedRows(name: string): Promise<Row[]> {
  const image = await openImage(name, { cacheDir: makeDir(), source: { registry: {} } });
  try {
    const files = await image.filesystem();
    const contents = new Map<number, Buffer>();
    const visit = async (node: Node): Promise<void> => {
      if (node.kind === 'file' && !contents.has(node.ino)) {
        contents.set(node.ino, await files.read(node, 0, node.size));
      }
      for (const child of node.children?.values() ?? []) await visit(child);
    };
    const tree = await image.tree();
    await visit(tree.root);
    return rowsOf(tree, ({ ino }) => contents.get(ino) ?? Buffer.alloc(0));
  } finally {
    await image.close();
  }
}

describe.skipIf(images === '')('every image that has a listing, by name', () => {
  const listings = images === '' ? [] : listingsIn(images);
  const isOpened = (each: string): boolean =>
    !(each in EXCUSED) && /\.o\d+\.tsv$/.test(each) && !(each.replace(/\.o0\.tsv$/, '') in REFUSED);
  for (const listing of listings.filter(isOpened)) {
    test(listing.replace(/\.tsv$/, ''), async () => {
      const { name, digest } = await listedImage(listing, images);
      const transport = name.startsWith('layouts/') ? 'oci' : 'oci-archive';
      const rows = (await openedRows(`${transport}:${path.join(images, name)}:@${digest}`)).map(tabbedRow);
      const expected = normalizedListing(readFileSync(path.join(images, 'listings', listing), 'utf8'));
      // Whether they are shown goes by what the manifest says of the layer.
      const withoutStargz = (all: string[]): string[] => all.filter((row) => !STARGZ_ROWS.test(row)).sort();
      expect(withoutStargz(rows)).toEqual(withoutStargz(expected));
    });
  }
});

/** What a disk keeps: no times of directories, counts and sizes of its own. */
function comparable(rows: readonly Row[]): object[] {
  return rows
    .map((row) => ({
      ...row,
      implied: false,
      xattrs: row.xattrs.filter((each) => each.startsWith('user.')),
      ...(row.kind === 'dir' ? { mtime: '', size: 0, nlink: 0 } : {}),
    }))
    .sort((one, other) => (one.path < other.path ? -1 : 1));
}

const NO_MEMBERS = Buffer.alloc(1024);

const problem = images === '' ? 'no images' : umociProblem();

describe.skipIf(problem !== undefined)('every archive of docker save that has none, by name', () => {
  for (const [name, count] of Object.entries(SAVED)) {
    test(name, async () => {
      const file = path.join(images, 'archives', name);
      const saved = imagesOfSaved(file, makeDir());
      expect(saved).toHaveLength(count);
      const folder = makeDir();
      const layout = new UmociLayout(folder);
      for (const [position, layers] of saved.entries()) {
        expect(layers).not.toContain(undefined);
        // An empty layer has no end, which umoci wants.
        layout.add(
          String(position),
          layers.map((layer) => (layer?.length ? layer : NO_MEMBERS)),
        );
        const target = path.join(makeDir(), 'tree');
        mkdirSync(target);
        expect(await layout.unpack(String(position), target)).toBeUndefined();
        const selection = count === 1 ? '' : `:@${position}`;
        const rows = await openedRows(`docker-archive:${file}${selection}`);
        expect(comparable(rows)).toEqual(comparable(rowsOnDisk(target, xattrsBelow(target))));
      }
    });
  }
});

describe.skipIf(images === '')('what is no image', () => {
  test.each(Object.entries(REFUSED))('%s is refused with %s', async (name, code) => {
    const where = name.startsWith('layouts/') ? 'oci:' : '';
    const failure = await openedRows(`${where}${path.join(images, name)}`).catch((error: unknown) => error);
    expect(isPeelError(failure) ? failure.code : failure).toBe(code);
  });
});

test.skipIf(images === '')('every archive and layout of the folder is in one of these', () => {
  const below = (folder: string): string[] =>
    readdirSync(path.join(images, folder), { recursive: true, encoding: 'utf8' }).map((file) =>
      path.join(folder, file),
    );
  const archives = below('archives').filter((file) => /\.(?:tar|tgz|docker|gz|xz)$/.test(file));
  const layouts = below('layouts')
    .filter((file) => /\/(?:index|manifest)\.json$/.test(file) && !file.includes('/blobs/'))
    .map((file) => path.dirname(file));
  const listed = listingsIn(images).map((listing) => listing.replace(/(?:\.o\d+)?\.tsv$/, ''));
  const known = new Set([
    ...listed,
    ...Object.keys(SAVED).map((name) => `archives/${name}`),
    ...Object.keys(REFUSED).map((name) => name.replace(/:.*$/, '')),
    ...ELSEWHERE,
  ]);
  expect([...archives, ...new Set(layouts)].filter((name) => !known.has(name))).toEqual([]);
  expect(archives.length + layouts.length).toBeGreaterThan(80);
});
