/** `peel tags`: the tags of a repository, as the registry lists them. */
import { PeelError } from '../../errors.ts';
import { parseImageName } from '../../reference/transport.ts';
import { listTags } from '../../source/registry/tags.ts';
import { defineCommand } from '../command.ts';
import { EntryWriter } from '../json-output.ts';
import { registryOptionsOf } from '../open-images.ts';
import { quoteText } from '../quote.ts';

export const tags = defineCommand({
  name: 'tags',
  summary: 'list the tags of a repository',
  usage: ['REPOSITORY'],
  details: ['One a line, in the order of the registry, written as they come.'],
  options: {},
  minArgs: 1,
  maxArgs: 1,
  async run(context) {
    const { settings, env, signal, stdout } = context;
    const [text = ''] = context.args;
    const name = parseImageName(text);
    if (name.transport !== 'docker') {
      throw new PeelError(
        'ERR_USAGE',
        `tags: '${text}' is a file or folder; name a repository of a registry`,
      );
    }
    if (/[:@]/.test(text.slice(text.lastIndexOf('/') + 1))) {
      throw new PeelError(
        'ERR_USAGE',
        `tags: '${text}' names one image; name its repository, without tag or digest`,
      );
    }
    if (settings.offline) {
      throw new PeelError('ERR_OFFLINE', `tags of ${text}: --offline forbids to ask the registry`);
    }
    const writer = settings.format === 'table' ? undefined : new EntryWriter(context, 'tags');
    for await (const page of listTags(name.reference, registryOptionsOf(settings, env), signal)) {
      for (const tag of page) {
        if (writer === undefined) await stdout.write(`${quoteText(tag)}\n`);
        else await writer.write({ name: tag });
      }
    }
    await writer?.end();
    return 0;
  },
});
