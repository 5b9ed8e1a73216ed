/** `peel stat`: everything the image says about a path, in the shape of stat(1), and where its bytes lie. */
import { attributesOf } from '../../filesystem/attributes.ts';
import type { Image } from '../../image.ts';
import type { Node } from '../../tree/node.ts';
import type { ByteString } from '../../units.ts';
import { defineCommand } from '../command.ts';
import { entryJSON } from '../entry-json.ts';
import { imagePath, tidyPath } from '../image-path.ts';
import { EntryWriter } from '../json-output.ts';
import { modeString } from '../long-format.ts';
import { forEachPath } from '../paths.ts';
import { quoteName } from '../quote.ts';

const OPTIONS = {
  dereference: { type: 'boolean', short: 'L', summary: 'what a symbolic link leads to, not the link' },
} as const;

const KIND_NAME: Readonly<Record<Node['kind'], string>> = {
  file: 'regular file',
  dir: 'directory',
  symlink: 'symbolic link',
  char: 'character special file',
  block: 'block special file',
  fifo: 'fifo',
};
/** Values of extended attributes are shown up to this many bytes; JSON has them whole. */
const MAX_SHOWN_VALUE = 64;

export const stat = defineCommand({
  name: 'stat',
  summary: 'show what an image says about a path',
  usage: ['[-L] IMAGE PATH...'],
  details: [
    'Layer is the one whose entry gave the path its attributes, 0 = lowest; Cached is how much of a file is in the cache.',
  ],
  options: OPTIONS,
  minArgs: 2,
  maxArgs: Number.POSITIVE_INFINITY,
  async run(context) {
    const [imageName = '', ...paths] = context.args;
    const image = await context.openImage(imageName);
    const writer = context.settings.format === 'table' ? undefined : new EntryWriter(context);
    const status = await forEachPath(context, paths, async (text) => {
      const path = imagePath(text);
      const files = await image.filesystemAt(path);
      const node = files.resolve(path, { follow: context.flags.dereference });
      const layer = layerOf(image, node);
      const cachedBytes = node.kind === 'file' ? await image.cachedBytes(node) : undefined;
      if (writer === undefined) {
        const shown = text.startsWith('/') ? path : (path.slice(1) as ByteString);
        await context.stdout.write(formatStat(shown, node, layer, cachedBytes));
      } else {
        await writer.write({
          ...entryJSON(tidyPath(path), node),
          ...(layer === undefined ? {} : { layerDigest: layer.digest, layerDiffID: layer.diffID }),
          ...(cachedBytes === undefined ? {} : { cachedBytes }),
        });
      }
    });
    await writer?.end();
    return status;
  },
});

function layerOf(image: Image, node: Node): { digest: string; diffID: string | undefined } | undefined {
  const layer = image.layers[node.layer];
  return layer === undefined || node.implied
    ? undefined
    : { digest: layer.descriptor.digest, diffID: layer.diffID };
}

function formatStat(
  shown: ByteString,
  node: Node,
  layer: { digest: string } | undefined,
  cachedBytes: number | undefined,
): string {
  const { blocks, blksize } = attributesOf(node);
  const link = node.target === undefined ? '' : ` -> ${quoteName(node.target)}`;
  const device = node.rdev === undefined ? '' : `     Device type: ${node.rdev[0]},${node.rdev[1]}`;
  const kind = node.kind === 'file' && node.size === 0 ? 'regular empty file' : KIND_NAME[node.kind];
  const lines = [
    `  File: ${quoteName(shown)}${link}`,
    `  Size: ${pad(node.size)}   Blocks: ${pad(blocks)} IO Block: ${String(blksize).padEnd(6)} ${kind}`,
    ` Inode: ${pad(node.ino)}   Links: ${node.nlink}${device}`,
    `Access: (${node.mode.toString(8).padStart(4, '0')}/${modeString(node)})  Uid: ${node.uid}   Gid: ${node.gid}`,
    `Modify: ${longTime(node.mtimeSec, node.mtimeNsec)}`,
    layer === undefined
      ? ' Layer: none (a deeper name implies this directory)'
      : ` Layer: ${node.layer}  ${layer.digest}`,
  ];
  if (cachedBytes !== undefined) lines.push(`Cached: ${cachedBytes} of ${storedBytes(node)} bytes`);
  for (const [name, value] of node.xattrs ?? [])
    lines.push(` Xattr: ${quoteName(name)} = ${shownValue(value)}`);
  return `${lines.join('\n')}\n`;
}

/** Bytes of a file that its layer stores: without the holes of a sparse file. */
function storedBytes(node: Node): number {
  return node.content?.sparse?.reduce((sum, piece) => sum + piece.length, 0) ?? node.size;
}

/** `2026-11-21 00:16:00.000000000 +0000`, in the local time zone, as stat(1). */
function longTime(sec: number, nsec: number): string {
  const date = new Date(sec * 1000);
  if (Number.isNaN(date.getTime())) return `${sec}.${String(nsec).padStart(9, '0')} s since 1970`;
  const two = (value: number): string => String(value).padStart(2, '0');
  const offset = -date.getTimezoneOffset();
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time}.${String(nsec).padStart(9, '0')} ${zone}`;
}

function pad(value: number): string {
  return String(value).padEnd(10);
}

/** Printable values as quoted text, others in base64 (prefix `0s`), as getfattr(1) writes them. */
function shownValue(value: Buffer): string {
  const isPrintable = value.length > 0 && value.every((byte) => byte >= 0x20 && byte < 0x7f);
  const cut = value.subarray(0, MAX_SHOWN_VALUE);
  const more = value.length > MAX_SHOWN_VALUE ? `... (${value.length} bytes)` : '';
  const text = isPrintable
    ? `"${cut.toString('latin1').replaceAll(/["\\]/gu, '\\$&')}"`
    : `0s${cut.toString('base64')}`;
  return `${text}${more}`;
}
