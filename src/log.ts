/**
 * The program's log, through pino to standard error. Silent until `configureLog` is called, so that a
 * library user and the tests see nothing. Credentials never reach it: callers log hosts and digests, never headers.
 *
 * pino is loaded for the first record that is written: most commands write none, and it takes a fifth of the time in
 * which they are done.
 */
import { createRequire } from 'node:module';
import type { DestinationStream, Logger, pino as Pino } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

interface Write {
  (facts: object, message: string): void;
  (message: string): void;
}

/** Records below the level cost a comparison. */
export type Log = Readonly<Record<Exclude<LogLevel, 'silent'>, Write>>;

let level: LogLevel = 'silent';
let target: number | string | DestinationStream = 2;
let root: Logger | undefined;

/**
 * `destination` is a file descriptor, a path, or a stream that takes each record as one line of JSON; the
 * default is standard error.
 */
export function configureLog(newLevel: LogLevel, destination: number | string | DestinationStream = 2): void {
  level = newLevel;
  target = destination;
  // A file that cannot be written has to be known now.
  root = undefined;
  if (typeof target === 'string') prepareLog();
}

/** For servers, which want to log also when they have no file descriptors left to load pino with. */
export function prepareLog(): void {
  root ??= openRoot();
}

function openRoot(): Logger {
  // Not import(): a record is written at once, or a program that ends loses it.
  const { pino } = createRequire(import.meta.url)('pino') as { readonly pino: typeof Pino };
  const stream = typeof target === 'object' ? target : pino.destination({ dest: target, sync: true });
  return pino({ level, base: null }, stream);
}

function writerOf(name: keyof Log): Write {
  const rank = LOG_LEVELS.indexOf(name);
  return (...record: [facts: object | string, message?: string]) => {
    if (rank < LOG_LEVELS.indexOf(level)) return;
    try {
      prepareLog();
    } catch {
      // No descriptors left, or no memory: what is told of goes on, and the next record tries again.
      return;
    }
    root?.[name](...(record as [object, string]));
  };
}

const writers: Log = {
  trace: writerOf('trace'),
  debug: writerOf('debug'),
  info: writerOf('info'),
  warn: writerOf('warn'),
  error: writerOf('error'),
};

/** Called at each use, not kept, so that `configureLog` may come later than the import. */
export function log(): Log {
  return writers;
}
