/** A document of the image on standard output. */
import { PeelError } from '../errors.ts';
import type { Context } from './command.ts';
import { formatJSON } from './quote.ts';

/**
 * Indented, or on one line with `--format jsonl`; with `isRaw` byte for byte, which a terminal must not get
 * where the document holds what it would act on.
 * @throws PeelError ERR_USAGE for raw bytes on a terminal that are not plain text.
 */
export async function writeStoredJSON(
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
