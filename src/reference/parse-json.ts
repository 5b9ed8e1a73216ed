/**
 * JSON of strangers, read strictly: what two readers could understand in two ways is refused.
 *
 * Beyond `JSON.parse`: valid UTF-8 only, no key twice in one object, nesting up to MAX_DEPTH, and objects
 * come without a prototype, so that `__proto__` and `constructor` are keys like others. Cost: linear, one
 * pass; the caller caps the size. Messages give an offset, never the content.
 */
import { PeelError } from '../errors.ts';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** Configs of real images nest up to 6 deep. */
const MAX_DEPTH = 64;

/**
 * @param what names the document in the message.
 * @throws PeelError ERR_DOCUMENT_INVALID with the offset in characters, ERR_LIMIT_EXCEEDED for the depth.
 */
export function parseJson(bytes: Uint8Array, what: string): JsonValue {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new PeelError('ERR_DOCUMENT_INVALID', `${what} is not JSON: it is not valid UTF-8`);
  }
  return new JsonReader(text, what).readDocument();
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;
const LITERALS: readonly (readonly [string, JsonValue])[] = [
  ['null', null],
  ['true', true],
  ['false', false],
];

class JsonReader {
  readonly #text: string;
  readonly #what: string;
  #at = 0;

  constructor(text: string, what: string) {
    this.#text = text;
    this.#what = what;
  }

  readDocument(): JsonValue {
    const value = this.#readValue(0);
    this.#skipSpace();
    if (this.#at < this.#text.length) throw this.#refuse('more follows the end of the value');
    return value;
  }

  #readValue(depth: number): JsonValue {
    if (depth > MAX_DEPTH) {
      throw new PeelError('ERR_LIMIT_EXCEEDED', `${this.#what} nests deeper than ${MAX_DEPTH} levels`);
    }
    this.#skipSpace();
    switch (this.#text[this.#at]) {
      case undefined:
        throw this.#refuse('it ends early');
      case '{':
        return this.#readObject(depth);
      case '[':
        return this.#readArray(depth);
      case '"':
        return this.#readString();
      default:
        return this.#readScalar();
    }
  }

  #readObject(depth: number): JsonObject {
    const object = Object.create(null) as Record<string, JsonValue>;
    this.#at += 1;
    if (this.#accept('}')) return object;
    do {
      this.#skipSpace();
      const keyAt = this.#at;
      if (this.#text[keyAt] !== '"') throw this.#refuse('a key is missing');
      const key = this.#readString();
      if (key in object) throw this.#refuse('a key is there twice in one object', keyAt);
      if (!this.#accept(':')) throw this.#refuse('a colon is missing');
      object[key] = this.#readValue(depth + 1);
    } while (this.#accept(','));
    if (!this.#accept('}')) throw this.#refuse('a comma or } is missing');
    return object;
  }

  #readArray(depth: number): readonly JsonValue[] {
    const array: JsonValue[] = [];
    this.#at += 1;
    if (this.#accept(']')) return array;
    do array.push(this.#readValue(depth + 1));
    while (this.#accept(','));
    if (!this.#accept(']')) throw this.#refuse('a comma or ] is missing');
    return array;
  }

  /** Finds the closing quote by hand: a regular expression would keep a stack entry for each escape. */
  #readString(): string {
    const start = this.#at;
    let quote = start;
    do {
      quote = this.#text.indexOf('"', quote + 1);
      if (quote < 0) throw this.#refuse('a string does not end');
    } while (this.#isEscaped(quote, start));
    this.#at = quote + 1;
    try {
      return JSON.parse(this.#text.slice(start, this.#at)) as string;
    } catch {
      throw this.#refuse('a string holds a control character or a wrong escape', start);
    }
  }

  /** Whether an odd number of backslashes stands before the quote; runs never overlap, so this stays linear. */
  #isEscaped(quote: number, start: number): boolean {
    let at = quote - 1;
    while (at > start && this.#text[at] === '\\') at -= 1;
    return (quote - 1 - at) % 2 === 1;
  }

  #readScalar(): JsonValue {
    for (const [word, value] of LITERALS) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    const token = this.#match(NUMBER);
    if (token === undefined) throw this.#refuse('no value begins here');
    return Number(token);
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const token = pattern.exec(this.#text)?.[0];
    if (token !== undefined) this.#at += token.length;
    return token;
  }

  #skipSpace(): void {
    this.#match(SPACE);
  }

  #accept(character: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #refuse(why: string, at = this.#at): PeelError {
    return new PeelError(
      'ERR_DOCUMENT_INVALID',
      `${this.#what} is not valid JSON: ${why} (at character ${at})`,
      {
        facts: { offset: at },
      },
    );
  }
}
