/** `peel index list`: what lies beside an image in its registry, as whoever may write there says. */
import { PeelError } from '../errors.ts';
import type { Image } from '../image.ts';
import type { Context } from './command.ts';
import { EntryWriter } from './json-output.ts';
import { quoteText } from './quote.ts';
import { decimalSize } from './size.ts';
import { formatTable } from './table.ts';

interface ListedRow {
  /** Of the list, or of the artifact of a layer. */
  readonly digest: string;
  /** Bytes of it. */
  readonly size: number;
  /** What it refers to: the image's manifest, or a layer. */
  readonly subject: string;
  /** 0 = lowest; of those that it has an index for. */
  readonly layers: readonly number[];
  /** Why it cannot be used; absent where it can. */
  readonly problem?: string;
}

/** @throws PeelError ERR_OFFLINE, ERR_USAGE for an image that is in no registry; or what the registry answered. */
export async function listIndexes(
  context: Pick<Context, 'stdout' | 'settings' | 'signal'>,
  image: Image,
): Promise<void> {
  if (context.settings.offline) {
    throw new PeelError('ERR_OFFLINE', `index list ${image.name}: --offline forbids to ask the registry`);
  }
  const found = await image.referringIndexes(context.signal);
  if (found === undefined) {
    throw new PeelError(
      'ERR_USAGE',
      `index list: ${image.name} is in no registry, where indexes lie beside it`,
    );
  }
  const digests = image.layers.map(({ descriptor }) => descriptor.digest);
  const rows = found.map(({ referrer: { digest, size }, subject, layers, problem }): ListedRow => {
    const numbers = digests.flatMap((each, number) => (layers.includes(each) ? [number] : []));
    return { digest, size, subject, layers: numbers, ...(problem === undefined ? {} : { problem }) };
  });
  if (context.settings.format !== 'table') {
    const writer = new EntryWriter(context, 'indexes');
    for (const row of rows) await writer.write(row);
    await writer.end();
    return;
  }
  const ofText = ({ subject }: ListedRow): string => {
    return subject === image.digest ? 'image' : `layer ${digests.findIndex((digest) => digest === subject)}`;
  };
  const table = formatTable(
    [
      { heading: 'OF' },
      { heading: 'INDEX' },
      { heading: 'SIZE', alignRight: true },
      { heading: 'LAYERS', alignRight: true },
      { heading: 'RESULT' },
    ],
    rows.map((row) => [
      ofText(row),
      row.digest,
      decimalSize(row.size),
      `${row.layers.length} of ${digests.length}`,
      row.problem === undefined ? 'usable' : quoteText(row.problem),
    ]),
  );
  await context.stdout.write(table);
}
