/** `peel images`: the images that the cache knows, and which layers they share. */
import { CacheDir } from '../../blob/cache-dir.ts';
import { cacheUsage } from '../../blob/cache-usage.ts';
import { ImageRecords } from '../../image/image-records.ts';
import { defineCommand } from '../command.ts';
import { drawLayerTree } from '../image-tree.ts';
import { EntryWriter } from '../json-output.ts';
import { type KnownImage, knownImages } from '../known-images.ts';
import { quoteText } from '../quote.ts';
import { decimalSize } from '../size.ts';
import { formatTable } from '../table.ts';

const OPTIONS = {
  tree: { type: 'boolean', summary: 'the layers, each once, and the images on top of them' },
  'no-trunc': { type: 'boolean', summary: 'whole digests' },
} as const;

export const images = defineCommand({
  name: 'images',
  summary: 'list the images that the cache knows, and the layers they share',
  usage: ['[--tree] [--no-trunc]'],
  details: [
    'Every image that was opened is listed with what its name led to last; no registry is asked. A layer that several images have is indexed and cached once.',
    'SIZE is compressed bytes; CACHED is what the layers take on the disk, indexes and content.',
  ],
  options: OPTIONS,
  minArgs: 0,
  maxArgs: 0,
  async run(context) {
    // Looking does not make the folder.
    const cache = new CacheDir(context.settings.cacheDir);
    const { layers } = await cacheUsage(cache);
    const known = knownImages(await new ImageRecords(cache.versionDir).list(), layers);
    if (context.settings.format !== 'table') {
      const writer = new EntryWriter(context, 'images');
      for (const image of known) await writer.write({ ...image, lastUsed: image.lastUsed.toISOString() });
      await writer.end();
      return 0;
    }
    const digestLength = context.flags['no-trunc'] ? undefined : SHORT_DIGEST;
    const shorten = (digest: string): string => digest.slice(digest.indexOf(':') + 1).slice(0, digestLength);
    await context.stdout.write(context.flags.tree ? drawLayerTree(known, shorten) : table(known, shorten));
    return 0;
  },
});

/** As docker and podman shorten identifiers. */
const SHORT_DIGEST = 12;

function table(known: readonly KnownImage[], shorten: (digest: string) => string): string {
  return formatTable(
    [
      { heading: 'IMAGE' },
      { heading: 'PLATFORM' },
      { heading: 'DIGEST' },
      { heading: 'LAYERS', alignRight: true },
      { heading: 'SHARED', alignRight: true },
      { heading: 'SIZE', alignRight: true },
      { heading: 'CACHED', alignRight: true },
    ],
    known.map((image) => [
      quoteText(image.name),
      quoteText(image.platform),
      shorten(image.digest),
      String(image.layers.length),
      String(image.layers.filter(({ sharedWith }) => sharedWith.length > 0).length),
      decimalSize(image.size),
      decimalSize(image.cachedBytes),
    ]),
  );
}
