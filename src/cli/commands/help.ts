/** `peel help`: all commands, or one. */
import { PeelError } from '../../errors.ts';
import { defineCommand } from '../command.ts';
import { allCommands, findCommand } from '../commands.ts';
import { formatHelp, formatOverview } from '../help.ts';

export const help = defineCommand({
  name: 'help',
  summary: 'explain a command',
  usage: ['[COMMAND]'],
  options: {},
  minArgs: 0,
  maxArgs: 1,
  async run(context) {
    const [name] = context.args;
    if (name === undefined) {
      await context.stdout.write(formatOverview(await allCommands()));
      return 0;
    }
    const command = await findCommand(name);
    if (command === undefined) throw new PeelError('ERR_USAGE', `help: there is no command '${name}'`);
    await context.stdout.write(formatHelp(command));
    return 0;
  },
});
