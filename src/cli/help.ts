/** What `peel help` prints, made from the tables that the commands themselves run by. */
import type { Command, OptionTable } from './command.ts';
import { GLOBAL_OPTIONS } from './global-options.ts';

const WIDTH = 100;

export function formatOverview(commands: readonly Command[]): string {
  return [
    'peel looks into container images, and mounts them, without pulling them first.\n',
    'Usage: peel COMMAND [OPTIONS] IMAGE [PATH...]\n',
    'An IMAGE is a registry reference (alpine, host:5000/repo:tag@digest), a path to a layout or archive, or',
    'docker://REF, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF].\n',
    'Commands:',
    ...pairs(commands.map(({ name, summary }) => [name, summary])),
    '\nOptions of every command:',
    ...optionLines(GLOBAL_OPTIONS),
    "\n'peel help COMMAND' has the options of one command. Exit status: 0 ok, 1 failed, 2 usage, 3 not found,",
    '4 authentication refused, 5 registry or network, 6 digest mismatch, 7 unsupported, 130 interrupted.\n',
  ].join('\n');
}

export function formatHelp(command: Command): string {
  const usage = command.usage.map((form, index) =>
    `${index === 0 ? 'Usage:' : '      '} peel ${command.name} ${form}`.trimEnd(),
  );
  const options = optionLines(command.options);
  return [
    ...usage,
    `\n${command.summary.charAt(0).toUpperCase()}${command.summary.slice(1)}.`,
    ...(options.length === 0 ? [] : ['\nOptions:', ...options]),
    ...(command.details ?? []).map((paragraph) => `\n${wrap(paragraph, WIDTH).join('\n')}`),
    "\n'peel help' has the options of every command.\n",
  ].join('\n');
}

function optionLines(table: OptionTable): string[] {
  return pairs(
    Object.entries(table).map(([name, spec]) => {
      const short = spec.short === undefined ? '    ' : `-${spec.short}, `;
      const value = spec.type === 'string' ? ` ${spec.value ?? 'VALUE'}` : '';
      return [`${short}--${name}${value}`, spec.summary];
    }),
  );
}

/** Two columns; a left side that is too wide has a line of its own. */
function pairs(items: readonly (readonly [left: string, right: string])[]): string[] {
  const left = Math.min(
    34,
    items.reduce((width, [text]) => Math.max(width, text.length), 0),
  );
  return items.flatMap(([name, text]) => {
    const lines = wrap(text, WIDTH - left - 4);
    const indent = ' '.repeat(left + 4);
    if (name.length > left) return [`  ${name}`, ...lines.map((line) => indent + line)];
    return lines.map((line, index) => (index === 0 ? `  ${name.padEnd(left)}  ${line}` : indent + line));
  });
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
