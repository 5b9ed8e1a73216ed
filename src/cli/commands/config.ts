/** `peel config`: the configuration document of the image. */
import { defineCommand } from '../command.ts';
import { writeStoredJSON } from '../stored-json.ts';

export const config = defineCommand({
  name: 'config',
  summary: 'show the configuration of an image',
  usage: ['[--raw] IMAGE'],
  details: ['Indented for reading; --raw writes the bytes that the digest names.'],
  options: { raw: { type: 'boolean', summary: 'the exact bytes' } },
  minArgs: 1,
  maxArgs: 1,
  async run(context) {
    const image = await context.openImage(context.args[0] ?? '');
    await writeStoredJSON(context, image.configBytes, context.flags.raw);
    return 0;
  },
});
