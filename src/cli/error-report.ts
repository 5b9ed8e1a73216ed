/**
 * Errors for people: one line that says what was attempted, on what, what was found, and what to do next;
 * and the exit status. Texts that a registry or an image chose are quoted.
 */
import { type ErrorCode, EXIT_STATUS_OF, PeelError, systemCodeOf } from '../errors.ts';
import { quoteText } from './quote.ts';

export interface ErrorReport {
  /** Without line end. */
  readonly line: string;
  readonly status: number;
}

/**
 * What to do next, for codes whose message cannot know it. `hint` is left out where the message gives
 * advice of its own (it then holds a semicolon or a question mark after the facts).
 */
const HINTS: Partial<Record<ErrorCode, string>> = {
  ERR_REGISTRY_UNREACHABLE: 'check the host name, the network and proxy settings, then try again',
  ERR_AUTH_REFUSED: "log in with 'docker login' or 'podman login', or name the credentials with --authfile",
  ERR_DEADLINE: 'try again; the registry or the network is slow',
  ERR_DIGEST_MISMATCH:
    'the bytes are not those that the image names: do not use them; ask whoever publishes the image',
  ERR_OFFLINE: 'run it once without --offline',
  ERR_NATIVE_MISSING: "run 'npm rebuild' where peel is installed, with a C++ compiler at hand",
  ERR_NO_FUSE: "'peel doctor' says what is missing; ls, cat and stat work without it",
};

/** Longest line: an error page of a registry is no message. */
const MAX_LINE = 2_000;

export function describeError(error: unknown): ErrorReport {
  if (error instanceof PeelError) {
    const hint = HINTS[error.code];
    const advice = hint === undefined || error.message.includes(';') ? '' : `; ${hint}`;
    return {
      line: `peel: ${shorten(quoteText(error.message))}${advice}`,
      status: EXIT_STATUS_OF[error.code],
    };
  }
  const text = error instanceof Error ? error.message : String(error);
  // A system call that failed is the host's doing; anything else is a mistake of ours.
  const isSystemError = systemCodeOf(error) !== undefined && error instanceof Error && 'syscall' in error;
  const prefix = isSystemError ? '' : 'internal error: ';
  const advice = isSystemError ? '' : '; please report it with the output of --log-level debug';
  return { line: `peel: ${prefix}${shorten(quoteText(text))}${advice}`, status: 1 };
}

/** The stack and its causes, for `--log-level debug`: several lines, each quoted. */
export function describeStack(error: unknown): string {
  const lines: string[] = [];
  const seen = new Set<unknown>();
  for (let at = error; at instanceof Error && !seen.has(at); at = at.cause) {
    seen.add(at);
    const stack = at.stack ?? `${at.name}: ${at.message}`;
    lines.push(`${lines.length === 0 ? '' : 'caused by '}${stack}`);
  }
  return lines
    .join('\n')
    .split('\n')
    .map((line) => `  ${quoteText(line)}\n`)
    .join('');
}

function shorten(text: string): string {
  return text.length <= MAX_LINE ? text : `${text.slice(0, MAX_LINE)}...`;
}
