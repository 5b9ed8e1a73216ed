/**
 * What a command is, and what it is given to run with. One command is one file in `commands/`; it declares
 * its options as a table (node:util parseArgs reads it, `peel help` prints it) and gets them back typed.
 *
 * Commands never touch process.*: what they need of the process comes in the Context, so that a test can
 * run one with an output of its own.
 */
import type { Image } from '../image.ts';
import type { Output } from './output.ts';
import type { Progress } from './progress.ts';
import type { Settings } from './settings.ts';

export interface OptionSpec {
  readonly type: 'boolean' | 'string';
  readonly short?: string;
  /** String options that may be given several times; the flag is then a list. */
  readonly multiple?: boolean;
  /** What `help` calls the value: `N`, `FILE`. String options only. */
  readonly value?: string;
  readonly summary: string;
}

/** Long name (without dashes) to option. */
export type OptionTable = Readonly<Record<string, OptionSpec>>;

type FlagOf<Spec extends OptionSpec> = Spec['type'] extends 'boolean'
  ? boolean
  : Spec['multiple'] extends true
    ? readonly string[]
    : string | undefined;

/** The flags of a command line: booleans default to false, lists to empty, strings to undefined. */
export type Flags<Options extends OptionTable> = { readonly [Name in keyof Options]: FlagOf<Options[Name]> };

export interface Closable {
  /** Idempotent. */
  close(): Promise<void>;
}

/** What a command may want otherwise than the settings say. */
export interface ImageOptions {
  /** Undefined where layers are read as a whole on purpose: nobody wants to hear of an index. */
  readonly onIndexBeside?: undefined;
  /** For one read, ms; 0 waits for ever. */
  readonly readDeadlineMs?: number;
  /** It is served for long, and checked meanwhile: `--check-unverified wait` does not wait for it. */
  readonly isServed?: boolean;
}

export interface Context<Options extends OptionTable = OptionTable> {
  /** Positionals after the command's name. */
  readonly args: readonly string[];
  /** The command's own options. The ones that every command has are in `settings`. */
  readonly flags: Flags<Options>;
  /** Data. */
  readonly stdout: Output;
  /** Progress, warnings, messages. Nothing here is data. */
  readonly stderr: Output;
  readonly settings: Settings;
  /** Aborted by SIGINT and SIGTERM; the reason is a PeelError ERR_INTERRUPTED. */
  readonly signal: AbortSignal;
  readonly env: NodeJS.ProcessEnv;
  readonly progress: Progress;
  /** Opens an image with the settings of the command line. It is closed when the command ends, at the latest. */
  openImage(name: string, options?: ImageOptions): Promise<Image>;
  /** Closes it when the command has ended, also when it was interrupted, and waits for that a while. */
  closeAtEnd(closable: Closable): void;
  /** One line on standard error, quoted, unless `--quiet`. */
  warn(message: string): Promise<void>;
}

export interface Command<Options extends OptionTable = OptionTable> {
  readonly name: string;
  /** One line, lower case, no full stop: the table of `peel help`. */
  readonly summary: string;
  /** What follows `peel NAME`, one line per form: `[-l] IMAGE [PATH...]`. */
  readonly usage: readonly string[];
  /** Paragraphs that `peel help NAME` prints below the options. */
  readonly details?: readonly string[];
  readonly options: Options;
  /** Fewest and most positionals; the command line is refused (exit 2) before `run` otherwise. */
  readonly minArgs: number;
  readonly maxArgs: number;
  /** Options end at the first positional: what follows is for the container. */
  readonly optionsFirst?: boolean;
  /** The exit status of every failure that has none above 124: the command's own status is another program's. */
  readonly failureStatus?: number;
  /** The command listens to SIGINT and SIGTERM itself, and `signal` never aborts. */
  readonly ownSignals?: boolean;
  /** Resolves with the exit status. A PeelError thrown is printed as one line and gives its own status. */
  run(context: Context<Options>): Promise<number>;
}

/** Declares a command: inside `run`, `flags` has the types that the option table says. */
export function defineCommand<const Options extends OptionTable>(command: Command<Options>): Command {
  return command;
}
