// The images the benchmarks look at. Built once and kept below the user's cache folder, since debootstrap and a
// GiB of gzip take minutes; a new name where what is in them changes.
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { run } from './command.mjs';
import { tarOf, writeLayout } from './layout.mjs';

const root = path.resolve(import.meta.dirname, '..', '..');
export const HOME = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'peel-bench');

const BASE_TAG = 'debian-npm-git';
/** One layer each, over debootstrap and below the two of the application: eight. Chosen for many small files. */
const BASE_LAYERS = ['python3', 'nodejs', 'npm', 'git', 'curl ca-certificates'];

const LARGE_FILE_BYTES = 2 ** 30;

/** @typedef {{layout: string, tag: string, reference: string}} Image */

export const imageOf = (layout, tag) => ({ layout, tag, reference: `oci:${layout}:${tag}` });

/** @returns {Promise<Image>} debootstrap, python3, nodejs and others: eight layers, over 20,000 entries */
export async function baseImage(scratch) {
  mkdirSync(HOME, { recursive: true });
  const layout = path.join(HOME, 'layout');
  await run(scratch, ['bash', path.join(root, 'scripts', 'make-image.sh'), layout, BASE_TAG, ...BASE_LAYERS]);
  return imageOf(layout, BASE_TAG);
}

const blobFile = (layout, digest) => path.join(layout, 'blobs', ...digest.split(':'));
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

function manifestOf({ layout, tag }) {
  const descriptor = readJson(path.join(layout, 'index.json')).manifests.find(
    (each) => each.annotations?.['org.opencontainers.image.ref.name'] === tag,
  );
  if (descriptor === undefined) throw new Error(`${layout} has no ${tag}`);
  return readJson(blobFile(layout, descriptor.digest));
}

/** @param {Image} image @returns {{digest: string, size: number, file: string}[]} lowest first */
export function layersOf(image) {
  return manifestOf(image).layers.map(({ digest, size }) => ({
    digest,
    size,
    file: blobFile(image.layout, digest),
  }));
}

/** Compressed bytes of all layers. @param {Image} image */
export const sizeOf = (image) => layersOf(image).reduce((sum, layer) => sum + layer.size, 0);

/** The name that containerd gives the stack of all layers: image-spec config.md, "Layer ChainID". @param {Image} image */
export function chainIDOf(image) {
  const { rootfs } = readJson(blobFile(image.layout, manifestOf(image).config.digest));
  return rootfs.diff_ids.reduce(
    (below, diffID) => `sha256:${createHash('sha256').update(`${below} ${diffID}`).digest('hex')}`,
  );
}

/**
 * @param {import('./scratch.mjs').Scratch} scratch
 * @returns {Promise<Image>} one file of 1 GiB, `large`, that compresses to about half
 */
export async function largeFileImage(scratch) {
  const layout = path.join(HOME, 'large-file-v1');
  mkdirSync(HOME, { recursive: true });
  const members = [{ path: 'large', type: 'file', size: LARGE_FILE_BYTES, content: hexadecimal }];
  await writeLayout(scratch, layout, 'large', [() => tarOf(members)], 1);
  return imageOf(layout, 'large');
}

/**
 * @param {import('./scratch.mjs').Scratch} scratch
 * @returns {Promise<Image>} one layer of 1 GiB that is not compressed: 64 files of 16 MiB
 */
export async function plainLayerImage(scratch) {
  const layout = path.join(HOME, 'plain-layer-v1');
  mkdirSync(HOME, { recursive: true });
  const piece = 2 ** 20;
  const members = Array.from({ length: 64 }, (_, at) => ({
    path: `file-${at}`,
    type: 'file',
    size: 16 * piece,
    content: () => Array.from({ length: 16 }, () => Buffer.alloc(piece, at)),
  }));
  await writeLayout(scratch, layout, 'plain', [() => tarOf(members)], undefined);
  return imageOf(layout, 'plain');
}

/** Pieces of 1 MiB, each of its own bytes: 32 different KiB of hexadecimal digits over and over. */
function* hexadecimal() {
  const pieceBytes = 2 ** 20;
  const blockBytes = 2 ** 15;
  for (let piece = 0; piece < LARGE_FILE_BYTES / pieceBytes; piece += 1) {
    const digests = [];
    for (let at = 0; at < blockBytes / 64; at += 1)
      digests.push(createHash('sha256').update(`${piece} ${at}`).digest('hex'));
    yield Buffer.alloc(pieceBytes, digests.join(''));
  }
}

/**
 * An image of `entries` entries in four layers, shaped like installed packages: a folder of twenty for each.
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {number} entries
 * @returns {Promise<Image>}
 */
export async function manyEntriesImage(scratch, entries) {
  const layout = path.join(HOME, `entries-${entries}-v1`);
  mkdirSync(HOME, { recursive: true });
  const layers = [0, 1, 2, 3].map((layer) => () => tarOf(packages(layer, entries / 4)));
  await writeLayout(scratch, layout, 'many', layers, 1);
  return imageOf(layout, 'many');
}

export function* packages(layer, entries) {
  for (let entry = 0; entry < entries; entry += 1) {
    const folder = `srv/layer-${layer}/package-${String(Math.floor(entry / 20)).padStart(5, '0')}`;
    if (entry % 20 === 0) yield { path: `${folder}/`, type: 'dir' };
    else if (entry % 20 === 1) yield { path: `${folder}/latest`, type: 'symlink', target: 'module-2.js' };
    else {
      const text = Buffer.from(`export const number = ${layer * entries + entry};\n`);
      yield {
        path: `${folder}/module-${entry % 20}.js`,
        type: 'file',
        size: text.length,
        content: () => [text],
      };
    }
  }
}

/**
 * The whole image as one layer packed by `gzip -6`, as a builder with --squash leaves it.
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {Image} image
 * @returns {Promise<Image>}
 */
export async function squashedImage(scratch, image) {
  const layout = path.join(HOME, `${image.tag}-squashed`);
  if (!existsSync(layout)) {
    const bundle = scratch.path('to-squash');
    const tar = scratch.path('squashed.tar');
    await run(scratch, ['umoci', 'unpack', '--image', `${image.layout}:${image.tag}`, bundle], {
      quiet: true,
    });
    await run(scratch, ['tar', '--sort=name', '-cf', tar, '-C', path.join(bundle, 'rootfs'), '.']);
    await writeLayout(
      scratch,
      layout,
      'squashed',
      [() => createReadStream(tar, { highWaterMark: 1 << 20 })],
      6,
    );
    await run(scratch, ['rm', '-rf', bundle, tar]);
  }
  return imageOf(layout, 'squashed');
}
