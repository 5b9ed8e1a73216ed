/**
 * Text that a server chose, made fit for messages and logs: short, without control characters and
 * bidirectional marks, and without any secret of ours that the server may have sent back.
 */
import { isRecord } from '../is-record.ts';

const LONGEST_SECRET_FREE = 4;
const REDACTED = '[redacted]';

/** Every credential that a source has used: passwords, tokens, ready-made headers. */
export class Secrets {
  readonly #known = new Set<string>();

  add(secret: string): void {
    // Shorter ones would blank out ordinary letters of every message.
    if (secret.length >= LONGEST_SECRET_FREE) {
      this.#known.add(secret);
    }
  }

  redact(text: string): string {
    let clean = text;
    for (const secret of this.#known) {
      for (const form of [secret, encodeURIComponent(secret)]) {
        clean = clean.split(form).join(REDACTED);
      }
    }
    return clean;
  }
}

/** `text` in double quotes, at most `longest` characters of it. */
export function quoteServerText(text: string, secrets: Secrets, longest = 300): string {
  // Redacted before it is cut: a cut secret would no longer be recognised.
  const clean = secrets
    .redact(text)
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]+/gu, ' ')
    .trim();
  return JSON.stringify(clean.length > longest ? `${clean.slice(0, longest)}…` : clean);
}

/**
 * What an error body says: the entries of the distribution API's `errors`, what token servers send, or the
 * plain text. Undefined for an empty body.
 */
export function errorTextOf(body: string): string | undefined {
  return errorEntriesOf(body) ?? (body.trim() === '' ? undefined : body.trim());
}

function errorEntriesOf(body: string): string | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (!isRecord(parsed)) {
    return undefined;
  }
  if (!Array.isArray(parsed['errors'])) {
    const said = [parsed['error'], parsed['error_description'], parsed['details'], parsed['message']];
    return joined(said);
  }
  const entries = parsed['errors'].slice(0, 4).map((entry: unknown) => {
    return isRecord(entry) ? joined([entry['code'], entry['message']]) : undefined;
  });
  return joined(entries, '; ');
}

function joined(parts: readonly unknown[], separator = ': '): string | undefined {
  const texts = parts.filter((part) => typeof part === 'string' && part !== '');
  return texts.length === 0 ? undefined : texts.join(separator);
}
