/**
 * containerd's filters, with which a client says which snapshots it wants to hear of:
 *
 *   filters    any of them                      kind==active,labels."containerd.io/gc.root"
 *   filter     selector {"," selector}          all of them
 *   selector   field {"." field} [operator value]
 *   operator   "==" | "!=" | "~=" (a regular expression); without one: whether it is there
 *   field      a word, or quoted                value: up to a comma or space, or quoted as in Go
 */
import { PeelError } from '../../errors.ts';
import type { Snapshot } from './snapshot.ts';

type Matcher = (snapshot: Snapshot) => boolean;

const WORD = /[A-Za-z][A-Za-z0-9_]*/y;
const OPERATOR = /==|!=|~=/y;
const VALUE = /[^\s,]+/y;
/** A regular expression may also stand between slashes or bars. */
const QUOTED = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\/(?:[^/\\]|\\.)*\/|\|(?:[^|\\]|\\.)*\|/sy;
/** Go's escapes. */
const ESCAPE = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([abfnrtv\\'"/|]))|\\/g;
const ESCAPED: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** @throws PeelError ERR_USAGE saying where a filter breaks the grammar. */
export function parseFilters(filters: readonly string[]): Matcher {
  if (filters.length === 0) return () => true;
  const matchers = filters.map((text) => (text === '' ? () => true : new Parser(text).filter()));
  return (snapshot) => matchers.some((matches) => matches(snapshot));
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  filter(): Matcher {
    const selectors = [this.#selector()];
    while (this.#take(/,/y) !== undefined) selectors.push(this.#selector());
    if (this.#at < this.#text.length) throw this.#wrong('a comma or the end');
    return (snapshot) => selectors.every((matches) => matches(snapshot));
  }

  #selector(): Matcher {
    const path = [this.#field()];
    while (this.#take(/\./y) !== undefined) path.push(this.#field());
    const operator = this.#take(OPERATOR);
    if (operator === undefined) return (snapshot) => valueOf(snapshot, path) !== undefined;
    const value = this.#value(operator === '~=');
    if (operator === '==') return (snapshot) => valueOf(snapshot, path) === value;
    if (operator === '!=') {
      return (snapshot) => {
        const found = valueOf(snapshot, path);
        return found !== undefined && found !== value;
      };
    }
    const pattern = this.#pattern(value);
    return (snapshot) => pattern.test(valueOf(snapshot, path) ?? '');
  }

  #field(): string {
    const word = this.#take(WORD);
    if (word !== undefined) return word;
    const quoted = this.#take(QUOTED);
    if (quoted === undefined || !/^["']/.test(quoted)) throw this.#wrong('a field');
    return this.#unquoted(quoted);
  }

  #value(isPattern: boolean): string {
    const quoted = this.#take(QUOTED);
    if (quoted !== undefined && (isPattern || /^["']/.test(quoted))) return this.#unquoted(quoted);
    if (quoted !== undefined) this.#at -= quoted.length;
    const value = this.#take(VALUE);
    if (value === undefined || /^["']/.test(value)) throw this.#wrong('a value');
    return value;
  }

  #unquoted(quoted: string): string {
    return quoted.slice(1, -1).replace(ESCAPE, (all, x, u, long, octal, sign) => {
      const code = x ?? u ?? long;
      if (code !== undefined) return this.#character(Number.parseInt(code, 16));
      if (octal !== undefined) return this.#character(Number.parseInt(octal, 8));
      if (sign !== undefined) return ESCAPED[sign] ?? sign;
      throw this.#wrong(`an escape of Go, not ${all}`);
    });
  }

  #character(code: number): string {
    if (code > 0x10ffff) throw this.#wrong('a character');
    return String.fromCodePoint(code);
  }

  #pattern(source: string): RegExp {
    try {
      return new RegExp(source, 'u');
    } catch (error) {
      throw this.#wrong('a regular expression', error);
    }
  }

  #take(token: RegExp): string | undefined {
    token.lastIndex = this.#at;
    const found = token.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #wrong(wanted: string, cause?: unknown): PeelError {
    return new PeelError(
      'ERR_USAGE',
      `the filter ${JSON.stringify(this.#text)}: ${wanted} must stand at character ${this.#at + 1}`,
      { cause },
    );
  }
}

/** undefined where the snapshot does not have it. */
function valueOf(snapshot: Snapshot, [field, ...rest]: readonly string[]): string | undefined {
  const { name, kind, parent = '', labels } = snapshot;
  if (field === 'labels') {
    const label = rest.join('.');
    return Object.hasOwn(labels, label) ? labels[label] : undefined;
  }
  const values: Readonly<Record<string, string>> = { name, kind, parent };
  return field !== undefined && Object.hasOwn(values, field) ? values[field] : undefined;
}
