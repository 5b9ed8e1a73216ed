/** `peel ls`: what a path of the image holds, in the shape of GNU ls or as JSON entries. */
import { PeelError } from '../../errors.ts';
import { attributesOf } from '../../filesystem/attributes.ts';
import type { FileSystem } from '../../filesystem/filesystem.ts';
import type { Node } from '../../tree/node.ts';
import { type ByteString, bufferOfBytes } from '../../units.ts';
import { displayWidth, formatColumns } from '../columns.ts';
import { type Context, defineCommand } from '../command.ts';
import { entryJSON } from '../entry-json.ts';
import { imagePath, tidyPath } from '../image-path.ts';
import { EntryWriter } from '../json-output.ts';
import { type ListOrder, listChildren, sortNodes } from '../list-options.ts';
import { formatLong } from '../long-format.ts';
import { openFiles } from '../open-files.ts';
import { paintName } from '../paint.ts';
import { forEachPath } from '../paths.ts';
import { quoteName } from '../quote.ts';
import { humanSize } from '../size.ts';
import { type Child, walk } from '../walk.ts';

const OPTIONS = {
  long: { type: 'boolean', short: 'l', summary: 'one line an entry, with mode, owner, size and time' },
  all: { type: 'boolean', short: 'a', summary: 'names that begin with a dot too, `.` and `..` among them' },
  'almost-all': { type: 'boolean', short: 'A', summary: 'the same without `.` and `..`' },
  recursive: { type: 'boolean', short: 'R', summary: 'directories below too' },
  'one-per-line': { type: 'boolean', short: '1', summary: 'one name a line' },
  'sort-time': { type: 'boolean', short: 't', summary: 'newest first' },
  'sort-size': { type: 'boolean', short: 'S', summary: 'largest first' },
  reverse: { type: 'boolean', short: 'r', summary: 'the other way round' },
  'human-readable': { type: 'boolean', short: 'h', summary: 'sizes like 1.5K (with -l)' },
  directory: { type: 'boolean', short: 'd', summary: 'directories themselves, not what they hold' },
  inode: { type: 'boolean', short: 'i', summary: 'inode number of each entry' },
  'numeric-uid-gid': { type: 'boolean', short: 'n', summary: 'the same as -l: owners are always numbers' },
  layers: { type: 'boolean', summary: 'the layer that each entry comes from, 0 = lowest' },
  layer: { type: 'string', value: 'N', summary: 'one layer alone, as if it were the image' },
  literal: { type: 'boolean', short: 'N', summary: 'raw names, into a pipe or file only' },
  zero: { type: 'boolean', short: '0', summary: 'raw names, each ended by NUL, into a pipe or file only' },
} as const;

type LsContext = Context<typeof OPTIONS>;

/** A path of the command line and what it leads to. */
interface Argument {
  /** As the user wrote it. */
  readonly shown: ByteString;
  /** Absolute. */
  readonly path: ByteString;
  readonly node: Node;
}

interface Row {
  readonly name: ByteString;
  readonly node: Node;
}

export const ls = defineCommand({
  name: 'ls',
  summary: 'list files of an image',
  usage: ['[-l -a -R -1 -t -S -h -d --layers --layer N] IMAGE [PATH...]'],
  details: [
    'Names are sorted by their bytes. Owners are numbers, since names of users belong to the image.',
    'Names that a terminal would act on are quoted in C notation, "like\\nthis"; -0 and --literal write raw bytes.',
    'With --format json or jsonl each entry is an object; `ls -R -a --format jsonl IMAGE /` is the whole tree, the root included.',
  ],
  options: OPTIONS,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  run: runLs,
});

async function runLs(context: LsContext): Promise<number> {
  const { flags, stdout } = context;
  const isRaw = flags.literal || flags.zero;
  if (isRaw && stdout.isTerminal) {
    throw new PeelError(
      'ERR_USAGE',
      `ls: ${flags.zero ? '--zero' : '--literal'} writes names as raw bytes, which a terminal would act on; use it into a pipe or file`,
    );
  }
  const [imageName = '', ...paths] = context.args;
  const image = await context.openImage(imageName);
  const found: Argument[] = [];
  const status = await forEachPath(context, paths.length === 0 ? ['/'] : paths, async (text) => {
    const files =
      flags.layer === undefined
        ? await image.filesystemAt(imagePath(text))
        : await openFiles(image, flags.layer);
    found.push(resolveArgument(files, text, flags));
  });
  if (context.settings.format === 'table') await new Listing(context).print(found, paths.length > 1);
  else await printJSON(context, found);
  return status;
}

/**
 * As GNU ls: a link that is named on the command line is followed where it leads to a directory, unless -l
 * or -d ask for the link itself; a slash at the end follows it always.
 */
function resolveArgument(files: FileSystem, text: string, flags: LsContext['flags']): Argument {
  const path = imagePath(text);
  const shown = text.startsWith('/') ? path : (path.slice(1) as ByteString);
  const node = files.resolve(path, { follow: false });
  if (node.kind !== 'symlink' || isLong(flags) || flags.directory) return { shown, path, node };
  let target: Node;
  try {
    target = files.resolve(path, { follow: true });
  } catch {
    return { shown, path, node };
  }
  return { shown, path, node: target.kind === 'dir' ? target : node };
}

function isLong(flags: LsContext['flags']): boolean {
  return flags.long || flags['numeric-uid-gid'];
}

function orderOf(flags: LsContext['flags']): ListOrder {
  return {
    showHidden: flags.all || flags['almost-all'],
    sortBy: flags['sort-size'] ? 'size' : flags['sort-time'] ? 'time' : 'name',
    reverse: flags.reverse,
  };
}

/** Directories stand for what they hold; with -a for themselves too, as the `.` of the table. */
async function printJSON(context: LsContext, found: readonly Argument[]): Promise<void> {
  const { flags } = context;
  const order = orderOf(flags);
  const writer = new EntryWriter(context);
  for (const { path, node } of found) {
    const tidy = tidyPath(path);
    if (node.children === undefined || flags.directory || flags.all)
      await writer.write(entryJSON(tidy, node));
    if (node.children === undefined || flags.directory) continue;
    const depth = flags.recursive ? Number.POSITIVE_INFINITY : 1;
    for (const visit of walk(node, tidy, (directory) => listChildren(directory, order), depth)) {
      await writer.write(entryJSON(visit.path, visit.node));
    }
  }
  await writer.end();
}

/** The table: blocks of rows, with a heading where there is more than one. */
class Listing {
  readonly #context: LsContext;
  readonly #order: ListOrder;
  readonly #lineEnd: string;
  readonly #nowSec = Math.floor(Date.now() / 1000);
  readonly #isRaw: boolean;
  readonly #quote: (name: ByteString) => string;
  #hasPrinted = false;

  constructor(context: LsContext) {
    const { flags } = context;
    this.#context = context;
    this.#order = orderOf(flags);
    this.#lineEnd = flags.zero ? '\0' : '\n';
    this.#isRaw = flags.literal || flags.zero;
    this.#quote = this.#isRaw ? (name) => name : quoteName;
  }

  async print(found: readonly Argument[], hasSeveral: boolean): Promise<void> {
    const { flags } = this.#context;
    const isListed = (argument: Argument): boolean =>
      argument.node.children !== undefined && !flags.directory;
    const plain = found.filter((argument) => !isListed(argument));
    if (plain.length > 0) {
      const rows = plain.map(({ shown, node }) => ({ name: shown, node }));
      rows.sort((a, b) => (a.name < b.name ? -1 : 1));
      await this.#rows([...sortNodes(rows, this.#order, (row) => row.node)], false);
    }
    for (const argument of found.filter(isListed)) await this.#directory(argument, hasSeveral);
  }

  async #directory(argument: Argument, hasHeading: boolean): Promise<void> {
    const { flags } = this.#context;
    await this.#block(argument.shown, argument.node, hasHeading || flags.recursive);
    if (!flags.recursive) return;
    const childrenOf = (directory: Node): readonly Child[] => listChildren(directory, this.#order);
    for (const visit of walk(argument.node, argument.shown, childrenOf)) {
      if (visit.node.kind === 'dir') await this.#block(visit.path, visit.node, true);
    }
  }

  async #block(name: ByteString, directory: Node, hasHeading: boolean): Promise<void> {
    if (hasHeading) {
      const heading = `${this.#quote(name)}:${this.#lineEnd}`;
      await this.#write(this.#hasPrinted ? `${this.#lineEnd}${heading}` : heading);
    }
    const rows: Row[] = listChildren(directory, this.#order).map(([childName, node]) => ({
      name: childName,
      node,
    }));
    if (this.#context.flags.all) rows.unshift(...selfAndParent(directory));
    const sorted = this.#context.flags.all ? this.#sortWithSelf(rows) : rows;
    await this.#rows(sorted, true);
    this.#hasPrinted = true;
  }

  /** `.` and `..` take part in the sort, as in GNU ls. */
  #sortWithSelf(rows: Row[]): readonly Row[] {
    rows.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    return sortNodes(rows, this.#order, (row) => row.node);
  }

  async #rows(rows: readonly Row[], hasTotal: boolean): Promise<void> {
    const { flags, stdout } = this.#context;
    const prefixes = this.#prefixes(rows);
    this.#hasPrinted = true;
    if (isLong(flags)) {
      if (hasTotal) await this.#write(`total ${this.#total(rows)}${this.#lineEnd}`);
      const long = formatLong(
        rows.map(({ name, node }) => ({ shownName: this.#shown(name, node), node })),
        { human: flags['human-readable'], nowSec: this.#nowSec, showLink: this.#quote },
      );
      for (const [index, line] of long.entries()) {
        await this.#write(`${prefixes[index] ?? ''}${line}${this.#lineEnd}`);
      }
      return;
    }
    const painted = rows.map(({ name, node }, index) => `${prefixes[index] ?? ''}${this.#shown(name, node)}`);
    const plain = rows.map(({ name }, index) => `${prefixes[index] ?? ''}${this.#quote(name)}`);
    const inColumns = stdout.isTerminal && !flags['one-per-line'];
    const lines = inColumns ? formatColumns(plain, stdout.columns, painted) : painted;
    for (const line of lines) await this.#write(`${line}${this.#lineEnd}`);
  }

  #shown(name: ByteString, node: Node): string {
    const quoted = this.#quote(name);
    return this.#context.stdout.hasColor && !this.#isRaw ? paintName(quoted, node) : quoted;
  }

  /** Inode number and layer, as wide as the widest. */
  #prefixes(rows: readonly Row[]): string[] {
    const { flags } = this.#context;
    const columns: string[][] = [];
    if (flags.inode) columns.push(rows.map(({ node }) => String(node.ino)));
    if (flags.layers) columns.push(rows.map(({ node }) => String(node.layer)));
    const widths = columns.map((column) =>
      column.reduce((width, text) => Math.max(width, displayWidth(text)), 0),
    );
    return rows.map((_, row) =>
      columns.map((column, index) => `${(column[row] ?? '').padStart(widths[index] ?? 0)} `).join(''),
    );
  }

  /** In blocks of 1024 bytes, as `ls -l` counts. */
  #total(rows: readonly Row[]): string {
    const blocks = rows.reduce((sum, { node }) => sum + attributesOf(node).blocks, 0);
    return this.#context.flags['human-readable'] ? humanSize(blocks * 512) : String(blocks / 2);
  }

  /** Raw lines have one character a byte, quoted ones are text. */
  async #write(line: string): Promise<void> {
    await this.#context.stdout.write(this.#isRaw ? bufferOfBytes(line as ByteString) : line);
  }
}

function selfAndParent(directory: Node): Row[] {
  return [
    { name: '.' as ByteString, node: directory },
    { name: '..' as ByteString, node: directory.parent ?? directory },
  ];
}
