/**
 * Where log records go: as JSON lines with `--log-level`, else only the warnings, as a line of text each.
 * Records hold names that an image or a registry chose: both forms are safe on a terminal.
 */
import { configureLog, type LogLevel } from '../log.ts';
import { formatJSON, quoteText } from './quote.ts';

/** The message whose facts are what it says. */
const STATISTICS = 'statistics';
const ERROR = 'peel: ';
const WARNING = 'peel: warning: ';
/** pino's numbers. */
const WARN = 40;

/** `write` takes a line with its line end, at once. */
export function startLog(level: LogLevel | undefined, isQuiet: boolean, write: (line: string) => void): void {
  if (level !== undefined) {
    configureLog(level, { write: (record) => write(escapeRecord(record)) });
  } else if (!isQuiet) {
    let last = '';
    configureLog('warn', {
      write: (record) => {
        const line = warningOf(record);
        // What fails for one layer fails for the next one as well: it is said once. An error is always said.
        if (line === last && line.startsWith(WARNING)) return;
        last = line;
        write(line);
      },
    });
  }
}

/** pino escapes C0 controls only; what it writes is JSON, so it can be written again in our way. */
function escapeRecord(record: string): string {
  const parsed = parseRecord(record);
  return parsed === undefined ? `${quoteText(record.trimEnd())}\n` : `${formatJSON(parsed)}\n`;
}

function warningOf(record: string): string {
  const parsed = parseRecord(record);
  const message = typeof parsed?.['msg'] === 'string' ? parsed['msg'] : record.trimEnd();
  const level = parsed?.['level'];
  const isError = typeof level === 'number' && level > WARN;
  const facts = isError ? '' : factsOf(parsed ?? {});
  return `${isError ? ERROR : WARNING}${quoteText(`${message}${facts}`)}\n`;
}

/** Why, in a word, and what a record counts; what it is about stands in the log alone. */
function factsOf(record: Record<string, unknown>): string {
  const { err, msg, level: _level, time: _time, ...rest } = record;
  if (typeof err === 'object' && err !== null) {
    const { code } = err as { readonly code?: unknown };
    return typeof code === 'string' && !code.startsWith('ERR_') ? ` (${code})` : '';
  }
  return msg === STATISTICS ? `: ${JSON.stringify(rest)}` : '';
}

function parseRecord(record: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(record);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
