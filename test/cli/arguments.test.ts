import { describe, expect, test } from 'vitest';
import { flagsOf, parseOptions, splitCommandLine } from '../../src/cli/arguments.ts';
import type { OptionSpec, OptionTable } from '../../src/cli/command.ts';
import { allCommands, unknownCommand } from '../../src/cli/commands.ts';
import { GLOBAL_OPTIONS } from '../../src/cli/global-options.ts';
import { decodeArgument, encodeArgument } from '../../src/cli/raw-arguments.ts';
import { isPeelError } from '../../src/errors.ts';

const TABLE = {
  long: { type: 'boolean', short: 'l', summary: '' },
  all: { type: 'boolean', short: 'a', summary: '' },
  level: { type: 'string', short: 'L', value: 'N', summary: '' },
  host: { type: 'string', multiple: true, summary: '' },
} as const satisfies OptionTable;

function usageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (isPeelError(error, 'ERR_USAGE')) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('parseOptions', () => {
  test('short options may be grouped, values may be glued or apart, a dash value stays a value', () => {
    const parsed = parseOptions(['-la', 'IMAGE', '-L2', '--host=a', '--host', 'b', '/x'], TABLE);
    expect(parsed.positionals).toEqual(['IMAGE', '/x']);
    expect(flagsOf(parsed.values, TABLE)).toEqual({ long: true, all: true, level: '2', host: ['a', 'b'] });
    expect(parseOptions(['--level', '-5'], TABLE).values.get('level')).toBe('-5');
  });

  test('flags that are not given are false, undefined or empty', () => {
    expect(flagsOf(parseOptions([], TABLE).values, TABLE)).toEqual({
      long: false,
      all: false,
      level: undefined,
      host: [],
    });
  });

  test('what follows -- is a path even where it looks like an option', () => {
    expect(parseOptions(['IMAGE', '--', '-l', '--all'], TABLE).positionals).toEqual(['IMAGE', '-l', '--all']);
  });

  test('an unknown option is refused with the nearest known one', () => {
    expect(usageOf(() => parseOptions(['--lng'], TABLE))).toBe('unknown option --lng; did you mean --long?');
    expect(usageOf(() => parseOptions(['-x'], TABLE))).toBe('unknown option -x');
    expect(usageOf(() => parseOptions(['--constructor'], TABLE))).toBe('unknown option --constructor');
    expect(usageOf(() => parseOptions(['--__proto__=1'], TABLE))).toContain('unknown option');
  });

  test('a missing value and a value too many are refused', () => {
    expect(usageOf(() => parseOptions(['--level'], TABLE))).toBe('option --level needs a value: --level N');
    expect(usageOf(() => parseOptions(['--long=yes'], TABLE))).toBe('option --long takes no value');
  });
});

describe('splitCommandLine', () => {
  test('global options may stand before the command', () => {
    expect(splitCommandLine(['--level', '3', '-l', '--host=x', 'ls', '-a'], TABLE)).toEqual({
      leading: ['--level', '3', '-l', '--host=x'],
      name: 'ls',
      rest: ['-a'],
    });
  });
});

describe('the commands', () => {
  test('no option of a command has the name or letter of an option that all have', async () => {
    const letters = Object.values<OptionSpec>(GLOBAL_OPTIONS).flatMap(({ short }) => short ?? []);
    expect(letters).toContain('q');
    const commands = await allCommands();
    expect(commands.length).toBeGreaterThanOrEqual(12);
    for (const command of commands) {
      const names = Object.keys(command.options);
      expect(names.filter((name) => Object.hasOwn(GLOBAL_OPTIONS, name) || name === 'help')).toEqual([]);
      const own = Object.values(command.options).flatMap(({ short }) => short ?? []);
      expect(own.filter((letter) => letters.includes(letter))).toEqual([]);
      expect(new Set(own).size).toBe(own.length);
    }
  });

  test('an unknown command is refused with the nearest known one', () => {
    expect(unknownCommand('sl').message).toContain("did you mean 'ls'");
    expect(unknownCommand('moutn').message).toContain("did you mean 'mount'");
    expect(unknownCommand('unmount').message).toContain("did you mean 'umount'");
    expect(unknownCommand('frobnicate').message).toContain("'peel help' lists them");
    expect(unknownCommand('__proto__').message).toContain("'peel help' lists them");
  });
});

describe('arguments with bytes that are not UTF-8', () => {
  test.each([
    Buffer.from('plain'),
    Buffer.from('日本語 😀'),
    Buffer.from([0x63, 0x61, 0x66, 0xe9]),
    Buffer.from([0xff, 0xc3, 0xa9, 0x80, 0xed, 0xa0, 0x80]),
  ])('%s survives as bytes', (bytes) => {
    expect(Buffer.from(encodeArgument(decodeArgument(bytes)), 'latin1').equals(bytes)).toBe(true);
  });
});
