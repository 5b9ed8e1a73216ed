/**
 * WWW-Authenticate, as registries send it: several challenges in one header or in several, scheme and
 * parameter names in any case, quoted strings with commas and escapes, empty list elements.
 * RFC 9110, 11.6.1. Whatever does not parse is left out: the caller then finds no challenge it knows.
 */

export interface Challenge {
  /** Lower case: `bearer`, `basic`, ... */
  readonly scheme: string;
  /** Names in lower case; the first of a name counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

const MAX_CHALLENGES = 16;
const MAX_PARAMETERS = 16;

const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const TOKEN68 = /[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y;

export function parseChallenges(headers: readonly string[]): Challenge[] {
  const challenges: Challenge[] = [];
  for (const header of headers) {
    new HeaderParser(header).readInto(challenges);
  }
  return challenges;
}

class HeaderParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  readInto(challenges: Challenge[]): void {
    let parameters: Map<string, string> | undefined;
    while (this.#skip(/[ \t,]*/y) && this.#at < this.#text.length) {
      const word = this.#take(TOKEN);
      if (word === undefined) {
        return;
      }
      this.#skip(/[ \t]*/y);
      if (parameters !== undefined && this.#text[this.#at] === '=') {
        this.#at += 1;
        const value = this.#value();
        if (value === undefined) {
          return;
        }
        const name = word.toLowerCase();
        if (!parameters.has(name) && parameters.size < MAX_PARAMETERS) {
          parameters.set(name, value);
        }
        continue;
      }
      if (challenges.length >= MAX_CHALLENGES) {
        return;
      }
      parameters = new Map();
      challenges.push({ scheme: word.toLowerCase(), parameters });
      // `Negotiate a87421==`: a challenge may carry one bare value, which no scheme of ours has.
      if (!this.#isParameter()) {
        this.#take(TOKEN68);
      }
    }
  }

  #isParameter(): boolean {
    return /[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*=[ \t]*[^\s,=]/y.test(this.#text.slice(this.#at));
  }

  #value(): string | undefined {
    this.#skip(/[ \t]*/y);
    if (this.#text[this.#at] !== '"') {
      return this.#take(/[^\s,"]*/y) ?? '';
    }
    let value = '';
    for (let at = this.#at + 1; at < this.#text.length; at += 1) {
      const character = this.#text[at];
      if (character === '"') {
        this.#at = at + 1;
        return value;
      }
      if (character === '\\') {
        at += 1;
        value += this.#text[at] ?? '';
      } else {
        value += character;
      }
    }
    return undefined;
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #skip(pattern: RegExp): true {
    this.#take(pattern);
    return true;
  }
}
