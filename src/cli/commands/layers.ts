/** `peel layers`: what the layers of an image are, and how each can be read without pulling it. */
import { defineCommand } from '../command.ts';
import { EntryWriter } from '../json-output.ts';
import { describeLayers } from '../layer-summary.ts';
import { quoteText } from '../quote.ts';
import { decimalSize } from '../size.ts';
import { formatTable } from '../table.ts';

const OPTIONS = {
  'no-trunc': { type: 'boolean', summary: 'whole digests, chain IDs and media types' },
} as const;

/** As docker and podman shorten identifiers. */
const SHORT_DIGEST = 12;

export const layers = defineCommand({
  name: 'layers',
  summary: 'show the layers of an image, lowest first',
  usage: ['[--no-trunc] IMAGE'],
  details: [
    'INDEXED says whether this cache holds the index of a layer; without it the layer is read once, whole, at first use, unless it brings an index of its own.',
    'CLASS is the verification class: A means that the digest of the whole layer, and its diffID where the image names one, are proved before a byte is served; B that the manifest names the index that the layer brings, and the index each chunk; C that it names a SOCI index beside the image, which is trusted for the content; D (only with --allow-unverified) that nothing verifies that index, or that there is none and the headers of a plain tar alone are read. A mount checks it behind that, and so does --check-unverified wait: the layer is class A then.',
  ],
  options: OPTIONS,
  minArgs: 1,
  maxArgs: 1,
  async run(context) {
    const image = await context.openImage(context.args[0] ?? '');
    const rows = await describeLayers(image);
    if (context.settings.format !== 'table') {
      const writer = new EntryWriter(context, 'layers');
      for (const row of rows) await writer.write(row);
      await writer.end();
      return 0;
    }
    const shorten = (digest: string): string =>
      context.flags['no-trunc'] ? digest : digest.slice(digest.indexOf(':') + 1).slice(0, SHORT_DIGEST);
    const table = formatTable(
      [
        { heading: 'LAYER', alignRight: true },
        { heading: 'DIGEST' },
        { heading: 'DIFF ID' },
        { heading: 'SIZE', alignRight: true },
        { heading: 'UNPACKED', alignRight: true },
        { heading: 'INDEXED' },
        { heading: 'READ LAZILY' },
        { heading: 'CLASS' },
        ...(context.flags['no-trunc'] ? [{ heading: 'CHAIN ID' }, { heading: 'MEDIA TYPE' }] : []),
      ],
      rows.map((row) => [
        String(row.layer),
        shorten(row.digest),
        row.diffID === undefined ? '-' : shorten(row.diffID),
        decimalSize(row.size),
        row.uncompressedSize === undefined ? '-' : decimalSize(row.uncompressedSize),
        row.isIndexed ? 'yes' : 'no',
        row.lazyBy,
        row.verificationClass,
        ...(context.flags['no-trunc'] ? [row.chainID ?? '-', quoteText(row.mediaType)] : []),
      ]),
    );
    await context.stdout.write(table);
    return 0;
  },
});
