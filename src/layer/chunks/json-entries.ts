/**
 * The entries of a TOC in JSON (`{"version": 1, "entries": [{...}, ...]}`), one at a time: never the whole document
 * as objects, which for 256 MiB of text would be some GiB of heap.
 *
 * Finds where each value ends by counting brackets outside of strings, and has JSON.parse judge what is between.
 * Linear; the caller caps the size of the document.
 */
import { UnusableIndex } from '../unusable-index.ts';

/** Entries of real TOCs nest up to 2 deep. */
const MAX_DEPTH = 16;
/** Of one entry: all extended attributes of one inode, in base64, with room to spare. */
const MAX_ENTRY_BYTES = 2 * 1024 * 1024;

const VERSION = 1;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** `value` parses it, which nobody has to. */
export type OnField = (key: string, value: () => unknown) => void;

/**
 * Gives each entry as JSON.parse has it, and `onField` each other field but the version.
 *
 * @throws UnusableIndex for anything but such a document.
 */
export function* jsonEntries(json: Buffer, onField?: OnField): Generator<unknown, void, undefined> {
  const cursor = new JsonCursor(json);
  const seen = new Set<string>();
  cursor.expect(OPEN_BRACE);
  if (!cursor.accept(CLOSE_BRACE)) {
    do {
      const key = cursor.parse(cursor.skipValue());
      if (typeof key !== 'string' || seen.has(key)) throw cursor.broken('a key is none, or there twice');
      seen.add(key);
      cursor.expect(COLON);
      if (key === 'entries') yield* elements(cursor);
      else if (key === 'version') checkVersion(cursor);
      else {
        const place = cursor.skipValue();
        onField?.(key, () => cursor.parse(place));
      }
    } while (cursor.accept(COMMA));
    cursor.expect(CLOSE_BRACE);
  }
  cursor.end();
  if (!seen.has('version') || !seen.has('entries')) throw cursor.broken('it lacks version or entries');
}

function* elements(cursor: JsonCursor): Generator<unknown, void, undefined> {
  if (cursor.acceptNull()) return;
  cursor.expect(OPEN_BRACKET);
  if (cursor.accept(CLOSE_BRACKET)) return;
  do yield cursor.parse(cursor.skipValue());
  while (cursor.accept(COMMA));
  cursor.expect(CLOSE_BRACKET);
}

function checkVersion(cursor: JsonCursor): void {
  const version = cursor.parse(cursor.skipValue());
  if (version !== VERSION) throw new UnusableIndex(`its version is ${String(version)}, want ${VERSION}`);
}

interface Place {
  readonly start: number;
  readonly end: number;
}

class JsonCursor {
  readonly #json: Buffer;
  #at = 0;

  constructor(json: Buffer) {
    this.#json = json;
  }

  accept(byte: number): boolean {
    this.#skipSpace();
    if (this.#json[this.#at] !== byte) return false;
    this.#at += 1;
    return true;
  }

  acceptNull(): boolean {
    this.#skipSpace();
    if (this.#json.toString('latin1', this.#at, this.#at + 4) !== 'null') return false;
    this.#at += 4;
    return true;
  }

  expect(byte: number): void {
    if (!this.accept(byte)) throw this.broken(`${String.fromCharCode(byte)} is missing`);
  }

  end(): void {
    this.#skipSpace();
    if (this.#at < this.#json.length) throw this.broken('more follows its end');
  }

  /** Passes over one value, whatever it is. */
  skipValue(): Place {
    this.#skipSpace();
    const start = this.#at;
    const first = this.#json[start];
    if (first === QUOTE) this.#skipString();
    else if (first === OPEN_BRACE || first === OPEN_BRACKET) this.#skipNested();
    else this.#skipScalar();
    return { start, end: this.#at };
  }

  parse({ start, end }: Place): unknown {
    if (end - start > MAX_ENTRY_BYTES) {
      throw new UnusableIndex(`an entry of ${end - start} bytes, at most ${MAX_ENTRY_BYTES} are read`);
    }
    try {
      return JSON.parse(this.#json.toString('utf8', start, end));
    } catch {
      throw this.broken('a value is malformed', start);
    }
  }

  broken(why: string, at = this.#at): UnusableIndex {
    return new UnusableIndex(`its JSON is malformed: ${why} (at byte ${at})`);
  }

  #skipNested(): void {
    let depth = 0;
    for (; this.#at < this.#json.length; this.#at += 1) {
      const byte = this.#json[this.#at];
      if (byte === QUOTE) {
        this.#skipString();
        this.#at -= 1;
      } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        depth += 1;
        if (depth > MAX_DEPTH) throw new UnusableIndex(`its JSON nests deeper than ${MAX_DEPTH} levels`);
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        depth -= 1;
        if (depth === 0) {
          this.#at += 1;
          return;
        }
      }
    }
    throw this.broken('it ends early');
  }

  #skipString(): void {
    for (this.#at += 1; this.#at < this.#json.length; this.#at += 1) {
      const byte = this.#json[this.#at];
      if (byte === BACKSLASH) this.#at += 1;
      else if (byte === QUOTE) {
        this.#at += 1;
        return;
      }
    }
    throw this.broken('a string does not end');
  }

  #skipScalar(): void {
    const start = this.#at;
    while (isScalarByte(this.#json[this.#at])) this.#at += 1;
    if (this.#at === start) throw this.broken('a value is missing');
  }

  #skipSpace(): void {
    while (isSpace(this.#json[this.#at])) this.#at += 1;
  }
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x09 || byte === 0x0d;
}

/** Of a number or a word: `+`, `-`, `.`, digits, letters. */
function isScalarByte(byte: number | undefined): boolean {
  return byte !== undefined && /[-+.0-9A-Za-z]/.test(String.fromCharCode(byte));
}
