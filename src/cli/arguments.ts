/**
 * The command line, split into command, options and positionals. node:util parseArgs does the lexing
 * (`-la`, `--range=1-2`, `--`); the checks are here, so that every mistake is named with what to write instead.
 */
import { parseArgs } from 'node:util';
import { PeelError } from '../errors.ts';
import type { Command, OptionSpec, OptionTable } from './command.ts';
import { nearest } from './suggest.ts';

/** Long name to value: true, a text, or the texts of an option that may be repeated. */
/** false comes from the environment alone: a switch that is off there takes the place of config.json's. */
export type OptionValues = ReadonlyMap<string, boolean | string | readonly string[]>;

export interface ParsedArguments {
  readonly values: OptionValues;
  readonly positionals: readonly string[];
}

/**
 * Splits what stands before the command's name (`peel --log-level debug ls`) from the rest. Only options
 * of `table` may stand there.
 */
export function splitCommandLine(
  argv: readonly string[],
  table: OptionTable,
): { leading: readonly string[]; name: string | undefined; rest: readonly string[] } {
  let at = 0;
  while (at < argv.length) {
    const word = argv[at] ?? '';
    if (word === '--' || word === '-' || !word.startsWith('-')) break;
    at += takesNextWord(word, table) ? 2 : 1;
  }
  return { leading: argv.slice(0, at), name: argv[at], rest: argv.slice(at + 1) };
}

/**
 * `optionsFirst`: all from the first positional on are positionals, whatever they look like.
 * @throws PeelError ERR_USAGE for an option that is not in `table`, lacks its value or has one too many.
 */
export function parseOptions(
  argv: readonly string[],
  table: OptionTable,
  optionsFirst = false,
): ParsedArguments {
  const { tokens } = parseArgs({
    args: [...argv],
    options: parseArgsConfig(table),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, true | string | string[]>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (optionsFirst) return { values, positionals: argv.slice(token.index) };
      positionals.push(token.value);
    }
    if (token.kind !== 'option') continue;
    const spec = Object.hasOwn(table, token.name) ? table[token.name] : undefined;
    if (spec === undefined) throw unknownOption(token.rawName, table);
    if (spec.type === 'boolean') {
      if (token.value !== undefined) throw usage(`option ${token.rawName} takes no value`);
      values.set(token.name, true);
    } else {
      if (token.value === undefined) {
        throw usage(`option ${token.rawName} needs a value: ${token.rawName} ${spec.value ?? 'VALUE'}`);
      }
      const earlier = values.get(token.name);
      if (spec.multiple !== true) values.set(token.name, token.value);
      else if (Array.isArray(earlier)) earlier.push(token.value);
      else values.set(token.name, [token.value]);
    }
  }
  return { values, positionals };
}

/** The flags of a command as its `run` gets them: every option has a value. */
export function flagsOf(values: OptionValues, table: OptionTable): Record<string, unknown> {
  const flags: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(table)) {
    flags[name] = values.get(name) ?? defaultOf(spec);
  }
  return flags;
}

/** @throws PeelError ERR_USAGE where `command` cannot run with so many positionals. */
export function checkPositionals(command: Command, positionals: readonly string[]): void {
  if (positionals.length >= command.minArgs && positionals.length <= command.maxArgs) return;
  const surplus = positionals[command.maxArgs];
  const found = surplus === undefined ? 'too few arguments' : `unexpected argument '${surplus}'`;
  const forms = command.usage.map((form) => `peel ${command.name} ${form}`.trim()).join(' | ');
  throw usage(`${command.name}: ${found}; usage: ${forms}`);
}

function parseArgsConfig(table: OptionTable): Record<string, { type: 'boolean' | 'string'; short?: string }> {
  return Object.fromEntries(
    Object.entries(table).map(([name, { type, short }]) => [
      name,
      short === undefined ? { type } : { type, short },
    ]),
  );
}

function takesNextWord(word: string, table: OptionTable): boolean {
  if (word.startsWith('--')) return table[word.slice(2)]?.type === 'string';
  const last = word.at(-1);
  return Object.values(table).some((spec) => spec.type === 'string' && spec.short === last);
}

function defaultOf(spec: OptionSpec): unknown {
  if (spec.type === 'boolean') return false;
  return spec.multiple === true ? [] : undefined;
}

function unknownOption(rawName: string, table: OptionTable): PeelError {
  const similar = rawName.startsWith('--') ? nearest(rawName.slice(2), Object.keys(table)) : undefined;
  return usage(`unknown option ${rawName}${similar === undefined ? '' : `; did you mean --${similar}?`}`);
}

function usage(message: string): PeelError {
  return new PeelError('ERR_USAGE', message);
}
