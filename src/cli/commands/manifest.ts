/** `peel manifest`: the manifest that was chosen for the platform. */
import { defineCommand } from '../command.ts';
import { writeStoredJSON } from '../stored-json.ts';

export const manifest = defineCommand({
  name: 'manifest',
  summary: 'show the manifest of an image',
  usage: ['[--raw] IMAGE'],
  details: ['Indented for reading; --raw writes the bytes that the digest names.'],
  options: { raw: { type: 'boolean', summary: 'the exact bytes' } },
  minArgs: 1,
  maxArgs: 1,
  async run(context) {
    const image = await context.openImage(context.args[0] ?? '');
    await writeStoredJSON(context, image.manifestDocument.bytes, context.flags.raw);
    return 0;
  },
});
