/**
 * The fields of a JSON object of a known shape, each read with the type it must have. As in Go's decoder,
 * which wrote most of these documents, `null` is the same as absent; unlike there, names must match exactly,
 * and an object with a name that differs from a known one in case alone is refused: another reader would
 * take it for the known one (CVE-2021-41190).
 */
import { PeelError } from '../errors.ts';
import type { Digest } from '../units.ts';
import { excerpt, parseDigest } from './digest.ts';
import type { JsonObject, JsonValue } from './parse-json.ts';

export class JsonFields {
  readonly #object: JsonObject;
  /** Where the object stands, for messages: `manifest, layers[3]`. */
  readonly where: string;

  /**
   * @param known every field that is read, so that look-alikes are found.
   * @throws PeelError ERR_DOCUMENT_INVALID when `value` is no object or has a look-alike.
   */
  constructor(value: JsonValue | undefined, where: string, known: readonly string[]) {
    if (!isJsonObject(value)) {
      throw new PeelError('ERR_DOCUMENT_INVALID', `${where} is ${nameOf(value)}, expected an object`);
    }
    this.#object = value;
    this.where = where;
    const byFold = new Map(known.map((name) => [foldCase(name), name]));
    for (const name of Object.keys(value)) {
      const meant = byFold.get(foldCase(name));
      if (meant !== undefined && meant !== name) {
        throw this.invalid(name, `could be taken for ${meant}: it differs in case alone`);
      }
    }
  }

  has(name: string): boolean {
    return this.value(name) !== undefined;
  }

  /** undefined for absent and null. */
  value(name: string): JsonValue | undefined {
    return this.#object[name] ?? undefined;
  }

  text(name: string): string | undefined {
    const value = this.value(name);
    if (value === undefined || typeof value === 'string') return value;
    throw this.invalid(name, `is ${nameOf(value)}, expected a string`);
  }

  requiredText(name: string): string {
    const text = this.text(name);
    if (text === undefined) throw this.invalid(name, 'is missing');
    return text;
  }

  /** An integer from 0 to 2^53 - 1. */
  size(name: string): number {
    const value = this.value(name);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
      const found = typeof value === 'number' ? String(value) : nameOf(value);
      throw this.invalid(name, `is ${found}, expected an integer from 0 to 2^53 - 1`);
    }
    return value === 0 ? 0 : value;
  }

  boolean(name: string): boolean {
    const value = this.value(name) ?? false;
    if (typeof value !== 'boolean') throw this.invalid(name, `is ${nameOf(value)}, expected true or false`);
    return value;
  }

  digest(name: string): Digest {
    return this.#parseDigest(name, this.requiredText(name));
  }

  /** The elements of an array; absent and null are an empty one. */
  array(name: string): readonly JsonValue[] {
    const value = this.value(name) ?? [];
    if (!isJsonArray(value)) throw this.invalid(name, `is ${nameOf(value)}, expected an array`);
    return value;
  }

  texts(name: string): readonly string[] {
    return this.array(name).map((value, at) => {
      if (typeof value === 'string') return value;
      throw this.invalid(`${name}[${at}]`, `is ${nameOf(value)}, expected a string`);
    });
  }

  digests(name: string): readonly Digest[] {
    return this.texts(name).map((text, at) => this.#parseDigest(`${name}[${at}]`, text));
  }

  /** A map from strings to strings (annotations, labels); without prototype, empty when absent. */
  textMap(name: string): Readonly<Record<string, string>> {
    const map = Object.create(null) as Record<string, string>;
    for (const [key, value] of Object.entries(this.object(name))) {
      if (typeof value !== 'string')
        throw this.invalid(name, `has ${nameOf(value)} as a value, expected a string`);
      map[key] = value;
    }
    return map;
  }

  /** A nested object as it stands; empty when absent. */
  object(name: string): JsonObject {
    const value = this.value(name) ?? {};
    if (!isJsonObject(value)) throw this.invalid(name, `is ${nameOf(value)}, expected an object`);
    return value;
  }

  invalid(name: string, why: string): PeelError {
    return new PeelError('ERR_DOCUMENT_INVALID', `${this.where}: ${excerpt(name)} ${why}`);
  }

  #parseDigest(name: string, text: string): Digest {
    try {
      return parseDigest(text);
    } catch (error) {
      if (!(error instanceof PeelError)) throw error;
      throw new PeelError(error.code, `${this.where}: ${name}: ${error.message}`, { cause: error });
    }
  }
}

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isJsonArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

/** As Go's encoding/json folds names: beyond ASCII, the long s and the Kelvin sign count as s and k. */
export function foldCase(name: string): string {
  return name.replaceAll('\u017f', 's').replaceAll('\u212a', 'k').toLowerCase();
}

function nameOf(value: JsonValue | undefined): string {
  if (value === undefined || value === null) return 'missing';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
