/**
 * FAULTS B3: JSON made to break its reader. Each case ends with a value or a PeelError, never with a crash,
 * and each is small or linear in its size; a case that took time out of proportion would pass its deadline.
 */
import { json as anyJson, assert, property, string, uint8Array } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PeelError } from '../../src/errors.ts';
import { digestOf } from '../../src/reference/digest.ts';
import { parseConfig } from '../../src/reference/parse-config.ts';
import { parseDocument } from '../../src/reference/parse-document.ts';
import { parseJson } from '../../src/reference/parse-json.ts';
import { codeOf } from './code-of.ts';

const CONFIG = `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"${digestOf(Buffer.from('x'))}","size":1}`;
const layer = (field: string): string =>
  `{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"${digestOf(Buffer.from('x'))}",${field}}`;
const manifest = (fields: string): string => `{"schemaVersion":2,"config":${CONFIG},${fields}}`;
const withLayer = (field: string): string => manifest(`"layers":[${layer(field)}]`);

const INVALID = 'ERR_DOCUMENT_INVALID';
const LIMIT = 'ERR_LIMIT_EXCEEDED';
const DEADLINE_MS = 5000;

const SYNTAX: readonly (readonly [string, string | Buffer])[] = [
  ['nothing', ''],
  ['spaces alone', ' \n\t '],
  ['a byte order mark', '\ufeff{}'],
  ['UTF-16', Buffer.from('{}', 'utf16le')],
  ['invalid UTF-8 in a string', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
  ['an overlong encoding of /', Buffer.from([0x22, 0xc0, 0xaf, 0x22])],
  ['a surrogate in UTF-8', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])],
  ['a NUL after the end', '{}\0'],
  ['two values', '{}{}'],
  ['a comment', '{/* x */}'],
  ['a line comment', '{} // x'],
  ['a trailing comma in an object', '{"a":1,}'],
  ['a trailing comma in an array', '[1,]'],
  ['a missing comma', '{"a":1 "b":2}'],
  ['a missing colon', '{"a" 1}'],
  ['a bare key', '{a:1}'],
  ['single quotes', "{'a':1}"],
  ['a key that is a number', '{1:1}'],
  ['an object that does not end', '{"a":1'],
  ['an array that does not end', '[1'],
  ['a string that does not end', '"abc'],
  ['a string that ends in a backslash', '"abc\\'],
  ['an escaped closing quote', '"abc\\"'],
  ['an unknown escape', '"\\x41"'],
  ['half a Unicode escape', '"\\u12"'],
  ['a raw newline in a string', '"a\nb"'],
  ['a raw NUL in a string', '"a\0b"'],
  ['NaN', 'NaN'],
  ['Infinity', '-Infinity'],
  ['a hexadecimal number', '0x10'],
  ['a leading zero', '01'],
  ['a leading plus', '+1'],
  ['a leading point', '.5'],
  ['a trailing point', '5.'],
  ['an empty exponent', '1e'],
  ['a bare minus', '-'],
  ['True', 'True'],
  ['undefined', 'undefined'],
  ['a word that begins like null', 'nulll'],
  ['a key twice', '{"a":1,"a":2}'],
  ['a key twice, once escaped', '{"a":1,"\\u0061":2}'],
  ['a key twice deep down', '{"x":[{"y":{"a":1,"a":1}}]}'],
  ['__proto__ twice', '{"__proto__":1,"__proto__":2}'],
  ['gzip', Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0])],
];

const DOCUMENTS: readonly (readonly [string, string, string])[] = [
  ['null', 'null', INVALID],
  ['an array', '[]', INVALID],
  ['a string', '"x"', INVALID],
  ['a number', '2', INVALID],
  ['an empty object', '{}', INVALID],
  ['a version alone', '{"schemaVersion":2}', INVALID],
  ['a version that is a string', `{"schemaVersion":"2","config":${CONFIG}}`, INVALID],
  ['version 3', `{"schemaVersion":3,"config":${CONFIG}}`, INVALID],
  ['version 2.5', `{"schemaVersion":2.5,"config":${CONFIG}}`, INVALID],
  ['no config', '{"schemaVersion":2,"layers":[]}', INVALID],
  ['a config of null', '{"schemaVersion":2,"config":null,"layers":[]}', INVALID],
  ['a config that is an array', '{"schemaVersion":2,"config":[],"layers":[]}', INVALID],
  ['layers that are an object', manifest('"layers":{"0":{},"length":1}'), INVALID],
  ['layers that are a string', manifest('"layers":"x"'), INVALID],
  ['a layer of null', manifest('"layers":[null]'), INVALID],
  ['a layer that is a string', manifest('"layers":["sha256:x"]'), INVALID],
  ['a media type that is a number', manifest('"mediaType":2'), INVALID],
  ['annotations that are an array', manifest('"annotations":[]'), INVALID],
  ['an annotation that is a number', manifest('"annotations":{"a":1}'), INVALID],
  ['an annotation of null', manifest('"annotations":{"a":null}'), INVALID],
  ['layers twice', manifest('"layers":[],"layers":[]'), INVALID],
  ['a size of null', withLayer('"size":null'), INVALID],
  ['no size', withLayer('"urls":[]'), INVALID],
  ['a negative size', withLayer('"size":-1'), INVALID],
  ['a size with a fraction', withLayer('"size":1.5'), INVALID],
  ['a size of 2^53', withLayer('"size":9007199254740992'), INVALID],
  ['a size of 2^53 + 1', withLayer('"size":9007199254740993'), INVALID],
  ['a size of 2^64', withLayer('"size":18446744073709551616'), INVALID],
  ['a size of 1e400', withLayer('"size":1e400'), INVALID],
  ['a size that is a string', withLayer('"size":"1"'), INVALID],
  ['a size that is true', withLayer('"size":true'), INVALID],
  ['sizes in two cases', withLayer('"size":1,"Size":2'), INVALID],
  ['urls that are a string', withLayer('"size":1,"urls":"x"'), INVALID],
  ['a url of null', withLayer('"size":1,"urls":[null]'), INVALID],
  ['a platform that is a string', withLayer('"size":1,"platform":"linux/amd64"'), INVALID],
  ['an os that is a number', withLayer('"size":1,"platform":{"os":1}'), INVALID],
  [
    'a digest with a path in it',
    manifest('"layers":[{"digest":"sha256:../../../etc/passwd","size":1}]'),
    INVALID,
  ],
  ['a digest of null', manifest('"layers":[{"digest":null,"size":1}]'), INVALID],
  ['a digest that is an object', manifest('"layers":[{"digest":{},"size":1}]'), INVALID],
  ['an unknown digest algorithm', manifest('"layers":[{"digest":"blake3:00","size":1}]'), 'ERR_UNSUPPORTED'],
  ['100,000 layers', manifest(`"layers":[${'{},'.repeat(99_999)}{}]`), LIMIT],
  ['an index that lists a number', '{"schemaVersion":2,"manifests":[7]}', INVALID],
  ['manifests that are an object', '{"schemaVersion":2,"manifests":{}}', INVALID],
  ['a document that is both', '{"schemaVersion":2,"manifests":[],"layers":[]}', INVALID],
  ['a document of all kinds', '{"schemaVersion":2,"manifests":[],"layers":[],"fsLayers":[]}', INVALID],
  ['an unknown type', '{"schemaVersion":2,"mediaType":"application/pdf"}', 'ERR_UNSUPPORTED'],
];

describe('parseJson', () => {
  test.each(SYNTAX)('refuses %s (B3)', (_, text) => {
    expect(codeOf(() => parseJson(Buffer.from(text), 'test'))).toBe(INVALID);
  });

  test.each([
    ['arrays', '[', ']'],
    ['objects', '{"a":', '}'],
  ])('refuses 100,000 nested %s by their depth (B3)', (_, open, close) => {
    const text = `${open.repeat(100_000)}0${close.repeat(100_000)}`;
    expect(codeOf(() => parseJson(Buffer.from(text), 'test'))).toBe(LIMIT);
    expect(codeOf(() => parseJson(Buffer.from(open.repeat(100_000)), 'test'))).toBe(LIMIT);
  });

  test('keys that name parts of every object are keys like others (B3)', () => {
    const text = '{"__proto__":{"polluted":true},"constructor":1,"toString":2,"hasOwnProperty":3}';
    const value = parseJson(Buffer.from(text), 'test');
    expect(Object.keys(value as object)).toEqual(['__proto__', 'constructor', 'toString', 'hasOwnProperty']);
    expect(Object.getPrototypeOf(value)).toBe(null);
    expect(({} as { polluted?: boolean }).polluted).toBe(undefined);
  });

  test.each([
    ['a string of 4 MiB', `"${'a'.repeat(4 << 20)}"`],
    ['2 million escaped quotes', `"${'\\"'.repeat(2 << 20)}"`],
    ['2 million escaped backslashes', `"${'\\\\'.repeat(2 << 20)}"`],
    ['2 million numbers', `[${'1,'.repeat(2 << 20)}1]`],
    ['300,000 keys', `{${Array.from({ length: 300_000 }, (_, n) => `"k${n}":0`).join(',')}}`],
    ['4 MiB of spaces', `${' '.repeat(4 << 20)}1`],
    ['a number of 4 million digits', '9'.repeat(4 << 20)],
  ])(
    'reads %s in one pass (B3)',
    (_, text) => {
      expect(codeOf(() => parseJson(Buffer.from(text), 'test'))).toMatch(/^accepted/);
    },
    DEADLINE_MS,
  );

  test.each([
    ['4 MiB of an open string', `"${'a'.repeat(4 << 20)}`],
    ['4 MiB of backslashes', `"${'\\'.repeat((4 << 20) + 1)}`],
    ['4 MiB of quotes', '"'.repeat(4 << 20)],
    ['4 million opening escapes', `"${'\\"'.repeat(2 << 20)}`],
    ['a number that ends badly', `${'9'.repeat(4 << 20)}e`],
  ])(
    'refuses %s in one pass (B3)',
    (_, text) => {
      expect(codeOf(() => parseJson(Buffer.from(text), 'test'))).toBe(INVALID);
    },
    DEADLINE_MS,
  );

  test('agrees with JSON.parse on any JSON without repeated keys', () => {
    assert(
      property(anyJson(), (text) => {
        // Through JSON.stringify, since the prototypes differ on purpose.
        expect(JSON.stringify(parseJson(Buffer.from(text), 'test'))).toBe(JSON.stringify(JSON.parse(text)));
      }),
      { numRuns: 500 },
    );
  });

  test('accepts no text that JSON.parse refuses', () => {
    const unit = string({ unit: 'binary-ascii', maxLength: 3 });
    assert(
      property(anyJson(), unit, unit, (text, before, after) => {
        const changed = Buffer.from(`${before}${text}${after}`);
        if (codeOf(() => parseJson(changed, 'test')).startsWith('accepted')) JSON.parse(changed.toString());
      }),
      { numRuns: 500 },
    );
  });
});

describe('hostile documents', () => {
  test.each(DOCUMENTS)('%s (B3)', (_, text, code) => {
    expect(codeOf(() => parseDocument(Buffer.from(text)))).toBe(code);
  });

  test('-0 is a size of 0', () => {
    const document = parseDocument(Buffer.from(withLayer('"size":-0')));
    expect(document.kind === 'manifest' && Object.is(document.layers[0]?.size, 0)).toBe(true);
  });

  test('__proto__ among annotations and labels pollutes nothing', () => {
    const document = parseDocument(Buffer.from(manifest('"annotations":{"__proto__":"x"}')));
    expect(document.kind === 'manifest' && Object.keys(document.annotations)).toEqual(['__proto__']);
    const config = parseConfig(Buffer.from('{"config":{"Labels":{"__proto__":{"x":1}}}}'));
    expect(({} as { x?: number }).x).toBe(undefined);
    expect(Object.keys(config.runtime['Labels'] as object)).toEqual(['__proto__']);
  });

  test('100 MiB are refused by their size alone', () => {
    const bytes = Buffer.alloc(100 << 20, 0x20);
    expect(codeOf(() => parseDocument(bytes))).toBe(LIMIT);
    expect(codeOf(() => parseConfig(bytes))).toBe(LIMIT);
  });

  test('random bytes and mutated documents end in a value or a PeelError', () => {
    const seed = Buffer.from(
      withLayer('"size":1,"annotations":{"a":"b"},"platform":{"os":"linux","architecture":"arm"}'),
    );
    let refused = 0;
    assert(
      property(uint8Array({ maxLength: 6 }), uint8Array({ maxLength: 2, minLength: 2 }), (patch, where) => {
        const bytes = Buffer.from(seed);
        const at = ((where[0] ?? 0) * 256 + (where[1] ?? 0)) % (bytes.length - patch.length);
        bytes.set(patch, at);
        for (const parse of [parseDocument, parseConfig]) {
          try {
            parse(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(PeelError);
            refused += 1;
          }
        }
      }),
      { numRuns: 2000 },
    );
    expect(refused).toBeGreaterThan(1000);
  });
});
