/**
 * Text that an image, a registry or a file chose, made safe to show. File names, labels, history lines and
 * error texts can hold escape sequences that move the cursor, set the clipboard (OSC 52) or reorder what
 * the reader sees (bidi marks): nothing of that may reach a terminal (CWE-150).
 *
 * The notation is that of C: `\n` and its like, `\xNN` for a byte, `\uNNNN` for a character. It can be
 * read back: a backslash is escaped too, so two names never look the same.
 */
import { type ByteString, bufferOfBytes } from '../units.ts';
import { lengthOfCharacter } from './utf8.ts';

/**
 * Characters that are not shown as they are: controls (C0, DEL, C1), format characters (bidi marks and
 * isolates, zero-width characters, soft hyphen, tags, byte order mark) and all else that is invisible by
 * Unicode's own word (variation selectors, fillers), line and paragraph separators, and halves of
 * surrogate pairs.
 */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]/u;
const UNSAFE_ALL = new RegExp(UNSAFE, 'gu');
/** What makes a name need quotes although it can be shown: without them its end or its escapes are ambiguous. */
const AMBIGUOUS = /["\\]|^\s|\s$|^$/u;

/** Printable ASCII: nearly all there is, and decided without looking at Unicode's tables. */
const PLAIN = /^[\x20-\x7e]*$/u;
/** The same without blank, quote and backslash. */
const PLAIN_NAME = /^[!#-[\]-~]+$/u;

const LETTERS: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\t': '\\t',
  '\n': '\\n',
  '\v': '\\v',
  '\f': '\\f',
  '\r': '\\r',
};

/**
 * A name of the image for people: as it is where it is harmless, else in double quotes and C notation.
 * Bytes that are not UTF-8 become `\xNN`.
 */
export function quoteName(name: ByteString): string {
  if (PLAIN_NAME.test(name)) return name;
  const bytes = bufferOfBytes(name);
  const text = bytes.toString('utf8');
  const isUTF8 = Buffer.from(text, 'utf8').equals(bytes);
  if (isUTF8 && !UNSAFE.test(text) && !AMBIGUOUS.test(text)) return text;
  return `"${escapeBytes(bytes)}"`;
}

/**
 * A line of text for people (an error message, a label): what is unsafe is escaped, no quotes are added,
 * and the result is one line.
 */
export function quoteText(text: string): string {
  return text.replace(UNSAFE_ALL, escapeCharacter);
}

/** A value of JSON as text: what a terminal would act on is escaped in JSON's own way. */
export function formatJSON(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, undefined, indent);
  if (PLAIN.test(text)) return text;
  // Newlines of the indentation are ours; inside strings JSON.stringify has escaped them already.
  return text.replace(UNSAFE_ALL, (character) => (character === '\n' ? character : escapeUTF16(character)));
}

function escapeBytes(bytes: Buffer): string {
  let quoted = '';
  for (let at = 0; at < bytes.length; ) {
    const length = lengthOfCharacter(bytes, at);
    if (length === 0) {
      quoted += `\\x${hex(bytes[at] ?? 0, 2)}`;
      at += 1;
      continue;
    }
    const character = bytes.toString('utf8', at, at + length);
    quoted += escapeInQuotes(character);
    at += length;
  }
  return quoted;
}

function escapeInQuotes(character: string): string {
  if (character === '"' || character === '\\') return `\\${character}`;
  return UNSAFE.test(character) ? escapeCharacter(character) : character;
}

function escapeCharacter(character: string): string {
  const letter = LETTERS[character];
  if (letter !== undefined) return letter;
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x80) return `\\x${hex(code, 2)}`;
  return code <= 0xffff ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
}

function escapeUTF16(character: string): string {
  let escaped = '';
  for (let at = 0; at < character.length; at += 1) escaped += `\\u${hex(character.charCodeAt(at), 4)}`;
  return escaped;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
