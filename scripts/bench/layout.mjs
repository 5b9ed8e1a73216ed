// OCI layouts of images that are generated: for sizes and numbers of entries that no real image at hand has.
import { createHash } from 'node:crypto';
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

const BLOCK = 512;
const MEDIA = 'application/vnd.oci.image';
/** Of everything generated: 2024-01-01, so that the same image comes out every time. */
const MTIME = 1_704_067_200;

/**
 * @typedef {{path: string, type: 'file' | 'dir' | 'symlink', size?: number, target?: string,
 *   content?: () => Iterable<Buffer>}} Member content: `size` bytes
 */

/**
 * One member's ustar header.
 * @param {Member} member a path below 100 bytes
 */
export function ustarHeader({ path: name, type, size = 0, target = '' }) {
  if (Buffer.byteLength(name) > 99 || Buffer.byteLength(target) > 99)
    throw new RangeError(`${name}: too long for ustar without a prefix`);
  const header = Buffer.alloc(BLOCK);
  const octal = (value, at, length) => header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at);
  header.write(name, 0);
  octal({ file: 0o644, dir: 0o755, symlink: 0o777 }[type], 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(MTIME, 136, 12);
  header.write({ file: '0', dir: '5', symlink: '2' }[type], 156);
  header.write(target, 157);
  header.write('ustar\x0000', 257);
  header.fill(' ', 148, 156);
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return header;
}

/** @param {Iterable<Member>} members */
export function* tarOf(members) {
  for (const member of members) {
    yield ustarHeader(member);
    let written = 0;
    for (const piece of member.content?.() ?? []) {
      written += piece.length;
      yield piece;
    }
    if (written !== (member.size ?? 0))
      throw new RangeError(`${member.path}: ${written} bytes, ${member.size} said`);
    const rest = written % BLOCK;
    if (rest !== 0) yield Buffer.alloc(BLOCK - rest);
  }
  yield Buffer.alloc(2 * BLOCK);
}

/**
 * Writes an image into a new layout; TAG appears when it is whole. Nothing where the layout is there already.
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {string} layout
 * @param {string} tag
 * @param {readonly (() => Iterable<Buffer> | AsyncIterable<Buffer>)[]} layers tar bytes, lowest first
 * @param {number | undefined} level of gzip; undefined: none
 */
export async function writeLayout(scratch, layout, tag, layers, level) {
  if (existsSync(path.join(layout, 'index.json'))) return;
  const part = `${layout}.part`;
  const removePart = scratch.onClose(`removing ${part}`, () =>
    rmSync(part, { recursive: true, force: true }),
  );
  const blobs = path.join(part, 'blobs', 'sha256');
  rmSync(part, { recursive: true, force: true });
  mkdirSync(blobs, { recursive: true });
  const document = (mediaType, value) => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(path.join(blobs, digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
  };
  const descriptors = [];
  const diffIDs = [];
  for (const layer of layers) {
    const { diffID, descriptor } = await writeLayer(blobs, layer(), level);
    descriptors.push(descriptor);
    diffIDs.push(diffID);
  }
  const config = document(`${MEDIA}.config.v1+json`, {
    architecture: { x64: 'amd64' }[process.arch] ?? process.arch,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: diffIDs },
  });
  const manifest = document(`${MEDIA}.manifest.v1+json`, {
    schemaVersion: 2,
    mediaType: `${MEDIA}.manifest.v1+json`,
    config,
    layers: descriptors,
  });
  writeFileSync(path.join(part, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  writeFileSync(
    path.join(part, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ ...manifest, annotations: { 'org.opencontainers.image.ref.name': tag } }],
    }),
  );
  renameSync(part, layout);
  await removePart();
}

async function writeLayer(blobs, bytes, level) {
  const unpacked = createHash('sha256');
  const packed = createHash('sha256');
  let size = 0;
  const file = path.join(blobs, 'layer');
  await pipeline(
    Readable.from(bytes),
    async function* (chunks) {
      for await (const chunk of chunks) {
        unpacked.update(chunk);
        yield chunk;
      }
    },
    level === undefined ? new PassThrough() : createGzip({ level, chunkSize: 1 << 18 }),
    async function* (chunks) {
      for await (const chunk of chunks) {
        packed.update(chunk);
        size += chunk.length;
        yield chunk;
      }
    },
    createWriteStream(file),
  );
  const digest = packed.digest('hex');
  renameSync(file, path.join(blobs, digest));
  return {
    diffID: `sha256:${unpacked.digest('hex')}`,
    descriptor: {
      mediaType: `${MEDIA}.layer.v1.tar${level === undefined ? '' : '+gzip'}`,
      digest: `sha256:${digest}`,
      size,
    },
  };
}
