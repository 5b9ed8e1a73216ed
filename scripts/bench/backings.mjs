// The same files through different file systems: the columns of the metadata and data tables. Every one is checked
// to show the same tree before anything is timed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, linkSync, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { run } from './command.mjs';
import { layersOf } from './images.mjs';
import { Peel } from './peel.mjs';
import { registryWith } from './registry.mjs';
import { estargzImage, STARGZ, Stargz } from './stargz.mjs';

/** Lower folders of the tree that is dealt out. */
const SPLIT = 8;

/**
 * @typedef {object} Backing
 * @property {string} name heading of its column
 * @property {'ext4' | 'overlay' | 'peel' | 'stargz'} kind ext4: a plain folder on the disk, whatever its file system
 * @property {string} folder
 * @property {() => Promise<void>} close
 * @property {string} [cacheDir] of peel
 * @property {{base: string, names: string[]}} [lowers] of overlayfs: folders below `base`, uppermost first
 */

/**
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {import('./images.mjs').Image} image
 * @param {readonly {name: string, flags: string[]}[]} peelColumns
 * @param {readonly ('layers' | 'split' | 'stargz')[]} others which forms of overlayfs to set beside, and whether the
 * stargz snapshotter
 * @returns {Promise<Backing[]>}
 */
export async function openBackings(scratch, image, peelColumns, others) {
  const backings = [await unpacked(scratch, image)];
  const [{ folder: source } = { folder: '' }] = backings;
  if (others.includes('layers')) backings.push(await overlayOfLayers(scratch, image));
  if (others.includes('split')) backings.push(await overlayOfSplit(scratch, image, source));
  // One cache for all columns of peel: the first fills it.
  const peel = new Peel(scratch, `backings-${image.tag}`);
  for (const [number, { name, flags }] of peelColumns.entries()) {
    const { folder, unmount } = await peel.mount(image.reference, `${image.tag}-${number}`, flags);
    backings.push({ name, kind: 'peel', folder, close: unmount, cacheDir: peel.cacheDir });
  }
  if (others.includes('stargz')) backings.push(await stargzMount(scratch, image));
  return backings;
}

/** What containerd has of the image as eStargz right after its lazy pull. */
async function stargzMount(scratch, image) {
  const converted = await estargzImage(scratch, image);
  // It goes on asking for as long as the mount is there.
  const registry = await registryWith(scratch, converted);
  const stargz = await Stargz.start(scratch, image.tag);
  const { folder, unmount } = await stargz.mount(converted, registry.address, `${image.tag}-stargz`);
  return {
    name: STARGZ,
    kind: 'stargz',
    folder,
    close: async () => {
      await unmount();
      await stargz.close();
      await registry.close();
    },
  };
}

/** What a pull leaves: the merged tree as umoci unpacks it. */
async function unpacked(scratch, image) {
  const bundle = scratch.path(`unpacked-${image.tag}`);
  await run(scratch, ['umoci', 'unpack', '--image', `${image.layout}:${image.tag}`, bundle], { quiet: true });
  const folder = path.join(bundle, 'rootfs');
  const name = (await run(scratch, ['findmnt', '-no', 'FSTYPE', '--target', folder])).trim();
  return { name, kind: 'ext4', folder, close: () => rm(bundle, { recursive: true, force: true }) };
}

/** What a container engine mounts after a pull: every layer unpacked, under the kernel's overlayfs. */
async function overlayOfLayers(scratch, image) {
  const layers = layersOf(image);
  const base = scratch.path(`overlay-${image.tag}`);
  const folder = scratch.path(`mnt-overlay-${image.tag}`);
  mkdirSync(folder, { recursive: true });
  const lowers = [];
  for (const [number, layer] of layers.entries()) {
    const lower = path.join(base, String(number));
    mkdirSync(lower, { recursive: true });
    await run(scratch, [
      'tar',
      '--numeric-owner',
      '--xattrs',
      '--exclude=.wh.*',
      '-xpzf',
      layer.file,
      '-C',
      lower,
    ]);
    await makeWhiteouts(scratch, layer.file, lower);
    lowers.unshift(String(number));
  }
  const name = `overlayfs, ${layers.length} ${layers.length === 1 ? 'layer' : 'layers'}`;
  if (layers.length === 1) {
    // Overlayfs without an upper folder takes no fewer than two.
    mkdirSync(path.join(base, 'empty'));
    lowers.push('empty');
  }
  return mountOverlay(scratch, base, lowers, folder, name);
}

/**
 * The unpacked tree dealt out over eight folders, file by file, so that overlayfs merges every folder of it: what a
 * tree comes to that was built in many steps. The files are links to the unpacked ones: the same place on the disk.
 */
async function overlayOfSplit(scratch, image, source) {
  const base = scratch.path(`split-${image.tag}`);
  const folder = scratch.path(`mnt-split-${image.tag}`);
  mkdirSync(folder, { recursive: true });
  const lowers = Array.from({ length: SPLIT }, (_, number) => String(number));
  const deal = (from, name) => {
    const { mode, uid, gid } = lstatSync(from);
    for (const lower of lowers) {
      const to = path.join(base, lower, name);
      mkdirSync(to, { recursive: true });
      chownSync(to, uid, gid);
      chmodSync(to, mode & 0o7777);
    }
    for (const [number, entry] of readdirSync(from, { withFileTypes: true }).entries()) {
      const below = path.join(name, entry.name);
      if (entry.isDirectory()) deal(path.join(from, entry.name), below);
      else linkSync(path.join(from, entry.name), path.join(base, String(number % SPLIT), below));
    }
  };
  deal(source, '');
  return mountOverlay(scratch, base, lowers, folder, `overlayfs, split over ${SPLIT}`);
}

async function mountOverlay(scratch, base, lowers, folder, name) {
  const unmount = scratch.onClose(`unmounting ${folder}`, () =>
    spawnSync('umount', ['--lazy', folder], { stdio: 'ignore' }),
  );
  // Relative names: the option string is limited to a page.
  const options = `ro,noatime,lowerdir=${lowers.join(':')}`;
  await run(scratch, ['mount', '-t', 'overlay', 'overlay', '-o', options, folder], { cwd: base });
  return {
    name,
    kind: 'overlay',
    folder,
    lowers: { base, names: lowers },
    close: async () => {
      await unmount();
      await rm(base, { recursive: true, force: true });
    },
  };
}

/**
 * `.wh.NAME` of the image format as a device 0/0 of overlayfs, an opaque marker as its attribute. A whiteout below
 * what the same layer makes a file of hides nothing that the file does not.
 */
async function makeWhiteouts(scratch, layer, lower) {
  const names = (await run(scratch, ['tar', '--quoting-style=literal', '-tzf', layer])).split('\n');
  for (const name of names.filter((each) => path.basename(each).startsWith('.wh.'))) {
    const parent = path.join(lower, path.dirname(name));
    const hidden = path.basename(name).slice('.wh.'.length);
    if (lstatSync(parent, { throwIfNoEntry: false })?.isDirectory() === false) continue;
    mkdirSync(parent, { recursive: true });
    if (hidden === '.wh..opq')
      await run(scratch, ['setfattr', '-n', 'trusted.overlay.opaque', '-v', 'y', parent]);
    else await run(scratch, ['mknod', path.join(parent, hidden), 'c', '0', '0']);
  }
}

/**
 * Digest of all names, types, modes, owners, sizes and link targets below a folder, and their number.
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {string} folder
 */
async function treeOf(scratch, folder) {
  const text = await run(scratch, ['find', '.', '-printf', '%P\\t%y\\t%m\\t%U\\t%G\\t%l\\n'], {
    cwd: folder,
  });
  const lines = text.split('\n').slice(0, -1).sort();
  return {
    entries: lines.length,
    digest: createHash('sha256').update(lines.join('\n')).digest('hex'),
    lines,
  };
}

/**
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {readonly Backing[]} backings
 * @returns {Promise<number>} entries of the tree they all show
 * @throws {Error} naming a line that only one of them has
 */
export async function checkSameTree(scratch, backings) {
  const [first, ...others] = backings;
  const wanted = await treeOf(scratch, first.folder);
  for (const other of others) {
    const got = await treeOf(scratch, other.folder);
    if (got.digest === wanted.digest) continue;
    const known = new Set(wanted.lines);
    const seen = new Set(got.lines);
    const odd = got.lines.find((line) => !known.has(line)) ?? wanted.lines.find((line) => !seen.has(line));
    throw new Error(`${first.name} and ${other.name} show different trees: ${JSON.stringify(odd)}`);
  }
  return wanted.entries;
}
