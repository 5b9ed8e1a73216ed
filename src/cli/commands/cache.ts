/** `peel cache`: how much of the disk the cache takes, where it lies, and making it smaller. */
import { CacheDir, openCacheDir } from '../../blob/cache-dir.ts';
import { cacheUsage, pruneCache } from '../../blob/cache-usage.ts';
import { PeelError } from '../../errors.ts';
import { type Context, defineCommand } from '../command.ts';
import { EntryWriter, writeDocument } from '../json-output.ts';
import { decimalSize, parseSize } from '../size.ts';
import { formatTable } from '../table.ts';

const OPTIONS = {
  all: { type: 'boolean', short: 'a', summary: 'prune: everything, indexes too' },
  content: { type: 'boolean', short: 'c', summary: 'prune: all content; indexes stay' },
  keep: { type: 'string', value: 'SIZE', summary: 'prune: the most recently used SIZE stays' },
} as const;

type CacheContext = Context<typeof OPTIONS>;

export const cache = defineCommand({
  name: 'cache',
  summary: 'show or shrink the cache',
  usage: ['du', 'path', 'prune [--all | --content | --keep SIZE]'],
  details: [
    'du: bytes on disk for each layer: its index, and the content that was read. path: the folder.',
    'prune: removes content, least recently used first, down to --keep SIZE (default: --cache-max-size).',
  ],
  options: OPTIONS,
  minArgs: 1,
  maxArgs: 1,
  async run(context) {
    const [action = ''] = context.args;
    if (action === 'path') return await printPath(context);
    if (action === 'du') return await printUsage(context);
    if (action === 'prune') return await prune(context);
    throw new PeelError('ERR_USAGE', `cache: '${action}' is none of du, path, prune`);
  },
});

async function printPath(context: CacheContext): Promise<number> {
  const { cacheDir, format } = context.settings;
  if (format === 'table') await context.stdout.write(`${cacheDir}\n`);
  else await writeDocument(context, { path: cacheDir });
  return 0;
}

async function printUsage(context: CacheContext): Promise<number> {
  // Looking does not make the folder.
  const { layers, totalBytes } = await cacheUsage(new CacheDir(context.settings.cacheDir));
  if (context.settings.format !== 'table') {
    const writer = new EntryWriter(context, 'layers');
    for (const layer of layers) await writer.write({ ...layer, lastUsed: layer.lastUsed.toISOString() });
    await writer.end();
    return 0;
  }
  const sum = (part: (layer: (typeof layers)[number]) => number): number =>
    layers.reduce((total, layer) => total + part(layer), 0);
  const index = sum((layer) => layer.tocBytes + layer.windowBytes);
  const contentOf = (layer: (typeof layers)[number]): number => layer.spanBytes + layer.backingBytes;
  const content = sum(contentOf);
  const table = formatTable(
    [
      { heading: 'LAYER' },
      { heading: 'INDEX', alignRight: true },
      { heading: 'CONTENT', alignRight: true },
      { heading: 'SPANS', alignRight: true },
    ],
    [
      ...layers.map((layer) => [
        layer.digest,
        decimalSize(layer.tocBytes + layer.windowBytes),
        decimalSize(contentOf(layer)),
        `${layer.spansPresent}/${layer.spansTotal}`,
      ]),
      [`total ${decimalSize(totalBytes)}`, decimalSize(index), decimalSize(content)],
    ],
  );
  await context.stdout.write(table);
  return 0;
}

async function prune(context: CacheContext): Promise<number> {
  const { flags, settings } = context;
  if (Number(flags.all) + Number(flags.content) + Number(flags.keep !== undefined) > 1) {
    throw new PeelError('ERR_USAGE', 'cache prune: --all, --content and --keep exclude each other');
  }
  const keepBytes = flags.keep === undefined ? settings.cacheMaxSize : parseSize(flags.keep, '--keep');
  const cacheDir = await openCacheDir(settings.cacheDir);
  const freed = await pruneCache(cacheDir, whatToPrune(flags.all, flags.content, keepBytes));
  if (settings.format === 'table') await context.stdout.write(`freed ${decimalSize(freed)}\n`);
  else await writeDocument(context, { freedBytes: freed });
  return 0;
}

function whatToPrune(all: boolean, content: boolean, keepBytes: number): Parameters<typeof pruneCache>[1] {
  if (all) return { all };
  return content ? { content } : { keepBytes };
}
