/** A command that writes one document of an image on standard output: `manifest`, `config`. */
import { PeelError } from '../errors.ts';
import type { Image } from '../image.ts';
import { type Command, type Context, defineCommand } from './command.ts';
import { formatJSON } from './quote.ts';

/** @param bytesOf the document as it is stored: JSON that was parsed before. */
export function documentCommand(name: string, summary: string, bytesOf: (image: Image) => Buffer): Command {
  return defineCommand({
    name,
    summary,
    usage: ['[--raw] IMAGE'],
    details: ['Indented for reading; --raw writes the bytes that the digest names.'],
    options: { raw: { type: 'boolean', summary: 'the exact bytes' } },
    minArgs: 1,
    maxArgs: 1,
    async run(context) {
      const image = await context.openImage(context.args[0] ?? '');
      await writeDocument(context, bytesOf(image), context.flags.raw);
      return 0;
    },
  });
}

/**
 * Indented, or on one line with `--format jsonl`; with `isRaw` byte for byte, which a terminal must not get
 * where the document holds what it would act on.
 * @throws PeelError ERR_USAGE for raw bytes on a terminal that are not plain text.
 */
async function writeDocument(
  context: Pick<Context, 'stdout' | 'settings'>,
  bytes: Buffer,
  isRaw: boolean,
): Promise<void> {
  const { stdout, settings } = context;
  if (!isRaw) {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    await stdout.write(`${formatJSON(value, settings.format === 'jsonl' ? undefined : 2)}\n`);
    return;
  }
  if (stdout.isTerminal && !/^[\t\n\r\x20-\x7e]*$/u.test(bytes.toString('latin1'))) {
    throw new PeelError('ERR_USAGE', '--raw: the document is not plain text; write it into a pipe or file');
  }
  await stdout.write(bytes);
}
