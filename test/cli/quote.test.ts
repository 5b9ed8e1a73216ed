import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatJSON, quoteName, quoteText } from '../../src/cli/quote.ts';
import type { ByteString } from '../../src/units.ts';
import { bytesOfText } from '../../src/units.ts';
import { HOSTILE_NAMES, unsafeIn } from '../support/hostile-names.ts';

describe('quoteName', () => {
  test.each(HOSTILE_NAMES)('B6: %s is shown as golden', (_, name, shown) => {
    expect(quoteName(name)).toBe(shown);
    expect(unsafeIn(quoteName(name))).toEqual([]);
  });

  test('B6: no byte string is shown with a character that a terminal acts on', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (raw) => {
        expect(unsafeIn(quoteName(Buffer.from(raw).toString('latin1') as ByteString))).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  test('B6: no text is shown with a character that a terminal acts on', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        expect(unsafeIn(quoteName(bytesOfText(text)))).toEqual([]);
        expect(unsafeIn(quoteText(text))).toEqual([]);
        expect(unsafeIn(formatJSON({ [text]: text }))).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  test('two different names are never shown alike', () => {
    const alphabet = fc.constantFrom(
      'a',
      '\\',
      '"',
      'n',
      'x',
      '0',
      '\n',
      ' ',
      '\xc3',
      '\xa9',
      '\x9b',
      '\xff',
    );
    const name = fc.array(alphabet, { maxLength: 6 }).map((parts) => parts.join('') as ByteString);
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(quoteName(a) === quoteName(b)).toBe(a === b);
      }),
      { numRuns: 2000 },
    );
  });

  test('every single byte is shown safely', () => {
    for (let byte = 0; byte < 256; byte += 1) {
      expect(unsafeIn(quoteName(String.fromCharCode(byte) as ByteString))).toEqual([]);
    }
  });
});

describe('formatJSON', () => {
  test('what is escaped reads back as the same value', () => {
    const value = { '\u009b\u202e': ['\x7f\u2028\u{e0041}\ud800', '\n', 'é'] };
    for (const indent of [undefined, 2]) {
      const text = formatJSON(value, indent);
      expect(JSON.parse(text)).toEqual(value);
      expect(unsafeIn(text.replaceAll('\n', ''))).toEqual([]);
    }
  });
});

describe('quoteText', () => {
  test('a text of several lines becomes one line', () => {
    expect(quoteText('a\nb\r\n\x1b[1mc')).toBe('a\\nb\\r\\n\\x1b[1mc');
  });
});
