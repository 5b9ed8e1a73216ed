/** `peel tree`: directories of the image as a drawing, in the shape of tree(1). */
import { PeelError } from '../../errors.ts';
import type { Node } from '../../tree/node.ts';
import { type Context, defineCommand } from '../command.ts';
import { type EntryJSON, entryJSON } from '../entry-json.ts';
import { imagePath, tidyPath } from '../image-path.ts';
import { EntryWriter, writeDocument } from '../json-output.ts';
import { listChildren } from '../list-options.ts';
import { paintName } from '../paint.ts';
import { forEachPath } from '../paths.ts';
import { quoteName } from '../quote.ts';
import { humanSize } from '../size.ts';
import { type Child, walk } from '../walk.ts';

const OPTIONS = {
  level: { type: 'string', short: 'L', value: 'N', summary: 'at most N levels deep' },
  directories: { type: 'boolean', short: 'd', summary: 'directories only' },
  all: { type: 'boolean', short: 'a', summary: 'names that begin with a dot too' },
  du: { type: 'boolean', summary: 'size of each file, and of all below each directory' },
  'human-readable': { type: 'boolean', short: 'h', summary: 'sizes like 1.5K (with --du)' },
} as const;

type TreeContext = Context<typeof OPTIONS>;
/** Nodes are told apart by it: two views of one inode are two objects (src/tree/mapped-tree.ts). */
type Ino = Node['ino'];

type TreeEntry = EntryJSON & { totalSize?: number; children?: TreeEntry[] };

/** As tree(1) aligns sizes. */
const SIZE_WIDTH = 11;
const HUMAN_WIDTH = 4;

export const tree = defineCommand({
  name: 'tree',
  summary: 'draw the directories of an image',
  usage: ['[-L N] [-d] [-a] [--du] IMAGE [PATH...]'],
  details: [
    'Links are shown, not followed. --du counts a file with several names once.',
    'With --format json a directory holds its `children`; with jsonl it is the entries of `ls -R`.',
  ],
  options: OPTIONS,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  async run(context) {
    const maxDepth = parseLevel(context.flags.level);
    const [imageName = '', ...paths] = context.args;
    const image = await context.openImage(imageName);
    const files = await image.filesystem();
    const counts = { directories: 0, files: 0, bytes: 0 };
    const documents: TreeEntry[] = [];
    const status = await forEachPath(context, paths.length === 0 ? ['/'] : paths, async (text) => {
      const path = imagePath(text);
      const node = files.resolve(path, { follow: true });
      if (node.children === undefined)
        throw new PeelError('ERR_NOT_A_DIRECTORY', `tree ${text}: is no directory`);
      const drawing = new Drawing(context, maxDepth, context.flags.du ? totalSizes(node) : undefined);
      if (context.settings.format === 'table') {
        await drawing.draw(text, node, counts);
        counts.bytes += drawing.sizeOf(node);
      } else if (context.settings.format === 'json') {
        documents.push(drawing.document(tidyPath(path), node));
      } else {
        await drawing.lines(tidyPath(path), node);
      }
    });
    if (context.settings.format === 'json') await writeDocument(context, { trees: documents });
    if (context.settings.format === 'table')
      await context.stdout.write(`\n${summary(counts, context.flags)}\n`);
    return status;
  },
});

/** One directory named on the command line, in the three formats. */
class Drawing {
  readonly #context: TreeContext;
  readonly #maxDepth: number;
  readonly #totals: ReadonlyMap<Ino, number> | undefined;

  constructor(context: TreeContext, maxDepth: number, totals: ReadonlyMap<Ino, number> | undefined) {
    this.#context = context;
    this.#maxDepth = maxDepth;
    this.#totals = totals;
  }

  async draw(title: string, top: Node, counts: { directories: number; files: number }): Promise<void> {
    const { stdout } = this.#context;
    await stdout.write(`${this.#sizeColumn(top)}${quoteName(imagePathShown(title))}\n`);
    /** What stands in front of a line, level by level: a rail where more is to come, else blanks. */
    const rails: string[] = [];
    for (const visit of walk(top, imagePath('/'), (directory) => this.#children(directory), this.#maxDepth)) {
      if (visit.node.kind === 'dir') counts.directories += 1;
      else counts.files += 1;
      rails.length = visit.depth - 1;
      const link = visit.node.target === undefined ? '' : ` -> ${quoteName(visit.node.target)}`;
      const branch = visit.isLast ? '└── ' : '├── ';
      const quoted = quoteName(visit.name);
      const painted = stdout.hasColor ? paintName(quoted, visit.node) : quoted;
      const name = `${this.#sizeColumn(visit.node)}${painted}${link}`;
      await stdout.write(`${rails.join('')}${branch}${name}\n`);
      rails.push(visit.isLast ? '    ' : '│   ');
    }
  }

  async lines(path: ReturnType<typeof imagePath>, top: Node): Promise<void> {
    const writer = new EntryWriter(this.#context);
    await writer.write(this.#entry(path, top));
    for (const visit of walk(top, path, (directory) => this.#children(directory), this.#maxDepth)) {
      await writer.write(this.#entry(visit.path, visit.node));
    }
    await writer.end();
  }

  document(path: ReturnType<typeof imagePath>, top: Node): TreeEntry {
    const root = this.#entry(path, top);
    const parents: TreeEntry[] = [root];
    for (const visit of walk(top, path, (directory) => this.#children(directory), this.#maxDepth)) {
      const entry = this.#entry(visit.path, visit.node);
      const parent = parents[visit.depth - 1];
      if (parent !== undefined) (parent.children ??= []).push(entry);
      parents[visit.depth] = entry;
    }
    return root;
  }

  sizeOf(node: Node): number {
    return this.#totals?.get(node.ino) ?? node.size;
  }

  #entry(path: ReturnType<typeof imagePath>, node: Node): TreeEntry {
    const entry = entryJSON(path, node);
    return this.#totals === undefined || node.kind !== 'dir'
      ? { ...entry }
      : { ...entry, totalSize: this.sizeOf(node) };
  }

  #children(directory: Node): readonly Child[] {
    const { flags } = this.#context;
    return listChildren(directory, {
      showHidden: flags.all,
      sortBy: 'name',
      reverse: false,
      onlyDirectories: flags.directories,
    });
  }

  #sizeColumn(node: Node): string {
    if (this.#totals === undefined) return '';
    const size = this.sizeOf(node);
    const isHuman = this.#context.flags['human-readable'];
    const text = isHuman ? humanSize(size).padStart(HUMAN_WIDTH) : String(size).padStart(SIZE_WIDTH);
    return `[${text}]  `;
  }
}

/** Bytes of the files below each directory; a file with several names counts where it is met first. */
function totalSizes(top: Node): ReadonlyMap<Ino, number> {
  const totals = new Map<Ino, number>([[top.ino, 0]]);
  const counted = new Set<Ino>();
  const directories: Node[] = [top];
  for (const { node } of walk(top, imagePath('/'), (directory) => [...(directory.children ?? [])])) {
    if (node.kind === 'dir') directories.push(node);
  }
  for (const directory of directories) {
    let bytes = 0;
    for (const child of directory.children?.values() ?? []) {
      if (child.kind === 'dir' || counted.has(child.ino)) continue;
      counted.add(child.ino);
      bytes += child.size;
    }
    totals.set(directory.ino, bytes);
  }
  // Parents came before their children: backwards, each sum is complete when it goes up.
  for (const directory of directories.slice(1).reverse()) {
    const above = directory.parent;
    if (above !== undefined)
      totals.set(above.ino, (totals.get(above.ino) ?? 0) + (totals.get(directory.ino) ?? 0));
  }
  return totals;
}

function parseLevel(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  const level = /^\d{1,9}$/u.test(text) ? Number(text) : 0;
  if (level < 1) throw new PeelError('ERR_USAGE', `tree: -L ${text}: write a number of levels, 1 or more`);
  return level;
}

function imagePathShown(text: string): ReturnType<typeof imagePath> {
  return text.startsWith('/') ? imagePath(text) : (imagePath(text).slice(1) as ReturnType<typeof imagePath>);
}

function summary(
  counts: { directories: number; files: number; bytes: number },
  flags: TreeContext['flags'],
): string {
  const plural = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`;
  const directories = plural(counts.directories, 'directory', 'directories');
  const files = flags.directories ? '' : `, ${plural(counts.files, 'file', 'files')}`;
  const bytes = flags['human-readable'] ? humanSize(counts.bytes) : `${counts.bytes} bytes`;
  return flags.du ? `${bytes} used in ${directories}${files}` : `${directories}${files}`;
}
