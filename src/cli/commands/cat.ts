/** `peel cat`: the content of files, streamed. Only the spans that hold the bytes asked for are fetched. */
import { PeelError } from '../../errors.ts';
import { defineCommand } from '../command.ts';
import { imagePath } from '../image-path.ts';
import { openFiles } from '../open-files.ts';
import { forEachPath } from '../paths.ts';

const OPTIONS = {
  range: {
    type: 'string',
    value: 'A-B',
    summary: 'bytes A to B of each file, both included, from 0; A- to the end, -N the last N',
  },
  layer: { type: 'string', value: 'N', summary: 'from one layer alone, 0 = lowest' },
} as const;

export const cat = defineCommand({
  name: 'cat',
  summary: 'write the content of files of an image',
  usage: ['[--range A-B] [--layer N] IMAGE PATH...'],
  details: [
    'Symbolic links are followed inside the image. Bytes are written as they are, also to a terminal.',
    'A path that cannot be read is reported, the others are written, and the exit status is not 0.',
  ],
  options: OPTIONS,
  minArgs: 2,
  maxArgs: Number.POSITIVE_INFINITY,
  async run(context) {
    const { flags } = context;
    const range = flags.range === undefined ? undefined : parseRange(flags.range);
    const [imageName = '', ...paths] = context.args;
    const image = await context.openImage(imageName);
    return await forEachPath(context, paths, async (path) => {
      const files =
        flags.layer === undefined
          ? await image.filesystemFor(imagePath(path))
          : await openFiles(image, flags.layer);
      const node = files.resolve(imagePath(path), { follow: true });
      if (node.kind === 'dir') throw new PeelError('ERR_IS_A_DIRECTORY', `cat ${path}: is a directory`);
      if (node.kind !== 'file') {
        throw new PeelError(
          'ERR_NOT_A_REGULAR_FILE',
          `cat ${path}: is a ${node.kind} device or pipe, it has no content`,
        );
      }
      const { start, end } = range === undefined ? { start: 0, end: node.size } : range(node.size, path);
      for await (const piece of files.stream(node, start, end, context.signal))
        await context.stdout.write(piece);
    });
  },
});

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
