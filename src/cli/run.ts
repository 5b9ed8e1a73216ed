/**
 * One run of the program: from the words of the command line to the exit status.
 *
 *   words ─► command, options ─► settings ─► context ─► command.run ─► status
 *                 │                                         │
 *                 └──── PeelError ──► one line on stderr ◄──┘
 */
import { isatty } from 'node:tty';
import { EXIT_STATUS_OF, PeelError, systemCodeOf } from '../errors.ts';
import type { SignalSource } from '../fuse/serve.ts';
import { checkPositionals, flagsOf, type OptionValues, parseOptions, splitCommandLine } from './arguments.ts';
import type { Command, Context, OptionTable } from './command.ts';
import { findCommand, unknownCommand } from './commands.ts';
import { readConfigFile } from './config-file.ts';
import { describeError, describeStack } from './error-report.ts';
import { GLOBAL_OPTIONS } from './global-options.ts';
import { formatHelp } from './help.ts';
import { listenForInterruption } from './interruption.ts';
import { startLog } from './log-output.ts';
import { ImageOpener } from './open-images.ts';
import { type Output, StreamOutput } from './output.ts';
import { progressOn } from './progress.ts';
import { quoteText } from './quote.ts';
import { configFileOf, mergeSettings, type Settings, wantsColor } from './settings.ts';
import { VERSION } from './version.ts';

/** What a run needs of the process it runs in. */
export interface Surroundings {
  /** Without node and script. */
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly stdout: NodeJS.WriteStream & { readonly fd: number };
  readonly stderr: NodeJS.WriteStream & { readonly fd: number };
  readonly signals: SignalSource;
  /** Ends the process at once: for a second interrupt. */
  readonly exit: (status: number) => never;
}

/** Options that stand alone, without a command. */
const TOP_OPTIONS = {
  ...GLOBAL_OPTIONS,
  version: { type: 'boolean', short: 'V', summary: 'the version' },
  help: { type: 'boolean', short: 'h', summary: 'this help' },
} as const satisfies OptionTable;

/** Above it, a status says what became of a container's command, or of us: docker's and the shells'. */
const LAST_OWN_STATUS = 124;

const HELP_OPTION = { help: { type: 'boolean', summary: 'help of this command' } } as const;

/** Resolves with the exit status; never rejects. */
export async function runCommandLine(surroundings: Surroundings): Promise<number> {
  const { env } = surroundings;
  const stderr = outputOn('standard error', surroundings.stderr, false);
  let settings: Settings | undefined;
  let command: Command | undefined;
  let stdout = outputOn('standard output', surroundings.stdout, false);
  try {
    const line = await parseCommandLine(surroundings.argv, (found) => {
      command = found;
    });
    settings = mergeSettings(line.globals, env, await readConfigFile(configFileOf(env)));
    const hasColor = wantsColor(settings.color, env, stdout.isTerminal);
    stdout = outputOn('standard output', surroundings.stdout, hasColor);
    if (line.print !== undefined) {
      await stdout.write(line.print);
      await stdout.flush();
      return 0;
    }
    return await runCommand(line, settings, { stdout, stderr }, surroundings);
  } catch (error) {
    // The reader of standard output has gone (`peel ls | head`): it got what it wanted.
    if (systemCodeOf(error) === 'EPIPE' && stdout.failure === error) return 0;
    const status = await reportError(error, settings, stderr);
    return status > LAST_OWN_STATUS ? status : (command?.failureStatus ?? status);
  }
}

interface CommandLine {
  readonly command: Command;
  readonly args: readonly string[];
  readonly flags: Record<string, unknown>;
  readonly globals: OptionValues;
  /** Help or version: printed in place of a run. */
  readonly print: string | undefined;
}

async function parseCommandLine(
  argv: readonly string[],
  onCommand: (command: Command) => void,
): Promise<CommandLine> {
  const { leading, name, rest } = splitCommandLine(argv, TOP_OPTIONS);
  const top = parseOptions(leading, TOP_OPTIONS);
  const wantsVersion = top.values.has('version');
  const wantsHelp =
    top.values.has('help') || (name === undefined && !wantsVersion && argv.length > 0 && top.values.size > 0);
  if (name === undefined && !wantsVersion && !wantsHelp) {
    throw new PeelError('ERR_USAGE', "no command; 'peel help' lists them");
  }
  const commandName = wantsHelp || wantsVersion || name === undefined ? 'help' : name;
  const command = await findCommand(commandName);
  if (command === undefined) throw unknownCommand(commandName);
  onCommand(command);
  const isTopOnly = wantsHelp || wantsVersion;
  const table = { ...HELP_OPTION, ...GLOBAL_OPTIONS, ...command.options };
  const { values, positionals } = parseOptions(isTopOnly ? [] : rest, table, command.optionsFirst);
  const asksForHelp = values.has('help');
  if (!asksForHelp) checkPositionals(command, positionals);
  const globals = new Map([...top.values, ...values].filter(([key]) => Object.hasOwn(GLOBAL_OPTIONS, key)));
  return {
    command,
    args: positionals,
    flags: flagsOf(values, command.options),
    globals,
    print: wantsVersion ? `peel ${VERSION}\n` : asksForHelp ? formatHelp(command) : undefined,
  };
}

async function runCommand(
  line: CommandLine,
  settings: Settings,
  outputs: { stdout: StreamOutput; stderr: StreamOutput },
  surroundings: Surroundings,
): Promise<number> {
  const { stdout, stderr } = outputs;
  const progress = progressOn(stderr, settings.progress, settings.quiet);
  const say = async (text: string): Promise<void> => {
    progress.clear();
    await stderr.write(text);
  };
  startLog(settings.logLevel, settings.quiet, (record) => {
    say(record).catch(() => {});
  });
  const interruption = listenForInterruption(surroundings.signals, {
    by: line.command.ownSignals === true ? [] : ['SIGINT', 'SIGTERM'],
    again: () => surroundings.exit(EXIT_STATUS_OF.ERR_INTERRUPTED),
  });
  const common = {
    settings,
    signal: interruption.signal,
    env: surroundings.env,
    progress,
    warn: async (message: string): Promise<void> => {
      if (!settings.quiet) await say(`peel: warning: ${quoteText(message)}\n`);
    },
  };
  const images = new ImageOpener(common);
  const context: Context = {
    ...common,
    args: line.args,
    flags: line.flags as Context['flags'],
    stdout,
    stderr,
    openImage: (name, options) => images.open(name, options),
    closeAtEnd: (closable) => images.closeAtEnd(closable),
  };
  try {
    // A command that waits for something deaf to the signal is left behind: the process ends.
    const status = await Promise.race([line.command.run(context), interruption.interrupted]);
    await stdout.flush();
    if (settings.checkUnverified === 'wait')
      await Promise.race([images.proveUnverified(), interruption.interrupted]);
    return status;
  } finally {
    progress.clear();
    await images.close();
    interruption.end();
  }
}

async function reportError(error: unknown, settings: Settings | undefined, stderr: Output): Promise<number> {
  const report = describeError(error);
  const isDebugging = settings?.logLevel === 'debug' || settings?.logLevel === 'trace';
  try {
    await stderr.write(`${report.line}\n${isDebugging ? describeStack(error) : ''}`);
  } catch {
    // Nobody can be told; the status still says it.
  }
  return report.status;
}

/** Standard output is gathered; what stands on standard error is read while the command runs. */
function outputOn(name: string, stream: Surroundings['stdout'], hasColor: boolean): StreamOutput {
  const gather = name === 'standard output';
  return new StreamOutput(stream, { name, isTerminal: isatty(stream.fd), hasColor, gather });
}
