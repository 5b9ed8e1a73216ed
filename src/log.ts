/**
 * The program's log, through pino to standard error. Silent until `configureLog` is called, so that a
 * library user and the tests see nothing. Credentials never reach it: callers log hosts and digests, never headers.
 */
import { type DestinationStream, type Logger, pino } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

let root: Logger = pino({ level: 'silent' });

/**
 * `destination` is a file descriptor, a path, or a stream that takes each record as one line of JSON; the
 * default is standard error.
 */
export function configureLog(level: LogLevel, destination: number | string | DestinationStream = 2): void {
  const stream =
    typeof destination === 'object' ? destination : pino.destination({ dest: destination, sync: true });
  root = pino({ level, base: null }, stream);
}

/** Called at each use, not kept, so that `configureLog` may come later than the import. */
export function log(): Logger {
  return root;
}
