/**
 * `peel cat`: the content of files, streamed. Of a layer that is indexed, only the spans that hold the bytes asked for
 * are fetched; of one that is not, the bytes are written while it passes, and verified at its end (FAULTS P2).
 */
import { PeelError, systemCodeOf } from '../../errors.ts';
import type { Found } from '../../image/find-file.ts';
import type { Node } from '../../tree/node.ts';
import { type Context, defineCommand } from '../command.ts';
import { imagePath } from '../image-path.ts';
import { layerNumber } from '../open-files.ts';
import { forEachPath } from '../paths.ts';

const OPTIONS = {
  range: {
    type: 'string',
    value: 'A-B',
    summary: 'bytes A to B of each file, both included, from 0; A- to the end, -N the last N',
  },
  layer: { type: 'string', value: 'N', summary: 'from one layer alone, 0 = lowest' },
  'trust-registry': {
    type: 'boolean',
    summary:
      'end with the last byte of the file: believe the transport, verify nothing of a layer not known yet',
  },
} as const;

const NEWLINE = 0x0a;

type CatContext = Context<typeof OPTIONS>;

export const cat = defineCommand({
  name: 'cat',
  summary: 'write the content of files of an image',
  usage: ['[--range A-B] [--layer N] IMAGE PATH...'],
  details: [
    'Symbolic links are followed inside the image. Bytes are written as they are, also to a terminal.',
    'A path that cannot be read is reported, the others are written, and the exit status is not 0.',
    'Of a layer that was never read before, a file is written while the layer comes in, and the command goes on to the end of the layer to verify it: exit status 6 says that what was written must not be trusted. With --verify strict nothing is written before that. With --trust-registry the command ends with the file.',
  ],
  options: OPTIONS,
  minArgs: 2,
  maxArgs: Number.POSITIVE_INFINITY,
  async run(context) {
    const { flags, settings } = context;
    const range = flags.range === undefined ? undefined : parseRange(flags.range);
    if (flags['trust-registry'] && settings.verify === 'strict') {
      throw new PeelError('ERR_USAGE', 'cat: --trust-registry and --verify strict exclude each other');
    }
    const verify = settings.verify ?? 'progressive';
    const [imageName = '', ...paths] = context.args;
    const image = await context.openImage(imageName);
    const layer = flags.layer === undefined ? undefined : layerNumber(flags.layer, image.layers.length);
    return await forEachPath(context, paths, async (path) => {
      const name = imagePath(path);
      const found =
        layer === undefined ? await image.find(name, verify) : await image.findInLayer(layer, name, verify);
      const node = found.files.resolve(name, { follow: true });
      if (node.kind === 'dir') throw new PeelError('ERR_IS_A_DIRECTORY', `cat ${path}: is a directory`);
      if (node.kind !== 'file') {
        throw new PeelError(
          'ERR_NOT_A_REGULAR_FILE',
          `cat ${path}: is a ${node.kind} device or pipe, it has no content`,
        );
      }
      await write(context, found, node, range?.(node.size, path) ?? { start: 0, end: node.size });
    });
  },
});

async function write(
  context: CatContext,
  found: Found,
  node: Node,
  { start, end }: { start: number; end: number },
): Promise<void> {
  const { stdout, signal, progress } = context;
  const endFound = async (): Promise<void> => {
    if (context.flags['trust-registry']) found.leave();
    else await found.proved();
  };
  // The layer goes on coming in while its file is written: a bar would stand in the middle of it.
  if (!found.isProved && stdout.isTerminal) progress.hold();
  let lastByte = NEWLINE;
  try {
    for await (const piece of found.files.stream(node, start, end, signal)) {
      await stdout.write(piece);
      lastByte = piece.at(-1) ?? lastByte;
    }
    // Whoever reads has it now, not when the rest of the layer has come.
    if (!found.isProved) await stdout.flush();
    if (lastByte === NEWLINE) progress.release();
    await endFound();
  } catch (error) {
    found.leave();
    // A reader that has gone had some of it: whether that was right is still to be said.
    if (systemCodeOf(error) === 'EPIPE') await endFound();
    throw error;
  } finally {
    progress.release();
  }
}

/** Half open, inside a file of `size` bytes. */
type RangeOf = (size: number, path: string) => { start: number; end: number };

/**
 * The spelling of HTTP and curl: both ends included. An end past the file is cut; a start past it is an error.
 * @throws PeelError ERR_USAGE
 */
export function parseRange(text: string): RangeOf {
  const [, first = '', last = ''] = /^(\d*)-(\d*)$/u.exec(text) ?? [];
  const from = Number(first);
  const to = Number(last);
  const isWrong =
    (first === '' && last === '') ||
    !Number.isSafeInteger(from) ||
    !Number.isSafeInteger(to) ||
    (first !== '' && last !== '' && to < from);
  if (isWrong) {
    throw new PeelError('ERR_USAGE', `--range ${text}: write A-B (bytes from 0, both included), A- or -N`);
  }
  if (first === '') return (size) => ({ start: Math.max(0, size - to), end: size });
  return (size, path) => {
    if (from >= size) {
      throw new PeelError(
        'ERR_USAGE',
        `cat ${path}: --range ${text} begins past the end; the file has ${size} bytes`,
      );
    }
    return { start: from, end: last === '' ? size : Math.min(size, to + 1) };
  };
}
