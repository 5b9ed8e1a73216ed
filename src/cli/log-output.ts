/**
 * Where log records go: as JSON lines with `--log-level`, else only the warnings, as a line of text each.
 * Records hold names that an image or a registry chose: both forms are safe on a terminal.
 */
import { configureLog, type LogLevel } from '../log.ts';
import { formatJSON, quoteText } from './quote.ts';

/** pino's numbers. */
const WARN = 40;

/** `write` takes a line with its line end, at once. */
export function startLog(level: LogLevel | undefined, isQuiet: boolean, write: (line: string) => void): void {
  if (level !== undefined) {
    configureLog(level, { write: (record) => write(escapeRecord(record)) });
  } else if (!isQuiet) {
    configureLog('warn', { write: (record) => write(warningOf(record)) });
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
  return `peel: ${isError ? '' : 'warning: '}${quoteText(message)}\n`;
}

function parseRecord(record: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(record);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
