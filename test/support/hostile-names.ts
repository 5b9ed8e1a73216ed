/**
 * Names that attack whoever lists them, each with the way it must be shown (B6): written down by hand, the
 * notation is that of C. And an independent account of what no terminal may receive.
 */
import { type ByteString, bytesOfText } from '../../src/units.ts';

// What no terminal may receive from us: everything ECMA-48 and Unicode act on. Written out by code point,
// not taken from the code under test.
function isUnsafe(code: number): boolean {
  return (
    code < 0x20 ||
    (code >= 0x7f && code <= 0x9f) ||
    code === 0xad ||
    code === 0x61c ||
    code === 0x180e ||
    (code >= 0x200b && code <= 0x200f) ||
    (code >= 0x2028 && code <= 0x202e) ||
    (code >= 0x2060 && code <= 0x206f) ||
    code === 0xfeff ||
    (code >= 0xd800 && code <= 0xdfff) ||
    (code >= 0xe0000 && code <= 0xe007f)
  );
}

/** The characters of `text` that must not be there. */
export function unsafeIn(text: string): string[] {
  return Array.from(text).filter((character) => isUnsafe(character.codePointAt(0) ?? 0));
}

const bytes = (text: string): ByteString => Buffer.from(text, 'latin1').toString('latin1') as ByteString;

/** Bytes of a name, and how it is shown: written down by hand, the notation is that of C. */
export const HOSTILE_NAMES: readonly (readonly [what: string, name: ByteString, shown: string])[] = [
  ['a plain name', bytesOfText('os-release'), 'os-release'],
  ['a name with a blank inside', bytesOfText('a b'), 'a b'],
  ['a blank in front', bytesOfText(' a'), '" a"'],
  ['a blank at the end', bytesOfText('a '), '"a "'],
  ['an empty name', bytesOfText(''), '""'],
  ['letters beyond ASCII', bytesOfText('naïve-日本語-😀'), 'naïve-日本語-😀'],
  ['a combining mark', bytesOfText('e\u0301'), 'e\u0301'],
  ['a quote', bytesOfText('a"b'), '"a\\"b"'],
  ['a backslash', bytesOfText('a\\b'), '"a\\\\b"'],
  ['a backslash before n is not a newline', bytesOfText('a\\nb'), '"a\\\\nb"'],
  ['NUL', bytes('a\0b'), '"a\\x00b"'],
  ['bell', bytes('\x07'), '"\\a"'],
  ['backspace', bytes('a\bb'), '"a\\bb"'],
  ['tab', bytes('a\tb'), '"a\\tb"'],
  ['newline', bytes('a\nb'), '"a\\nb"'],
  ['vertical tab', bytes('\v'), '"\\v"'],
  ['form feed', bytes('\f'), '"\\f"'],
  ['carriage return', bytes('good\rbad'), '"good\\rbad"'],
  ['shift out', bytes('\x0e'), '"\\x0e"'],
  ['ESC colour', bytes('\x1b[31mred\x1b[0m'), '"\\x1b[31mred\\x1b[0m"'],
  ['ESC clear screen', bytes('\x1b[2J\x1b[H'), '"\\x1b[2J\\x1b[H"'],
  ['OSC 0 window title', bytes('\x1b]0;owned\x07'), '"\\x1b]0;owned\\a"'],
  [
    'OSC 8 hyperlink',
    bytes('\x1b]8;;http://e\x1b\\x\x1b]8;;\x1b\\'),
    '"\\x1b]8;;http://e\\x1b\\\\x\\x1b]8;;\\x1b\\\\"',
  ],
  ['OSC 52 clipboard', bytes('\x1b]52;c;cm0gLXJmIH4=\x07'), '"\\x1b]52;c;cm0gLXJmIH4=\\a"'],
  ['DCS', bytes('\x1bP+q544e\x1b\\'), '"\\x1bP+q544e\\x1b\\\\"'],
  ['APC', bytes('\x1b_G\x1b\\'), '"\\x1b_G\\x1b\\\\"'],
  ['device status report', bytes('\x1b[6n'), '"\\x1b[6n"'],
  ['DEL', bytes('\x7f'), '"\\x7f"'],
  ['C1 CSI in UTF-8', bytesOfText('\u009b31m'), '"\\u009b31m"'],
  ['C1 OSC in UTF-8', bytesOfText('\u009d52;c;eA==\u009c'), '"\\u009d52;c;eA==\\u009c"'],
  ['C1 NEL', bytesOfText('\u0085'), '"\\u0085"'],
  ['C1 CSI as a bare byte', bytes('\x9b31m'), '"\\x9b31m"'],
  ['latin1 letter as a bare byte', bytes('caf\xe9'), '"caf\\xe9"'],
  ['0xff', bytes('\xff\xfe'), '"\\xff\\xfe"'],
  ['a truncated UTF-8 letter', bytes('a\xe2\x82'), '"a\\xe2\\x82"'],
  ['a UTF-8 letter beside a bad byte', bytes('\xc3\xa9\xff'), '"é\\xff"'],
  ['an overlong slash', bytes('\xc0\xaf'), '"\\xc0\\xaf"'],
  ['an overlong NUL', bytes('\xc0\x80'), '"\\xc0\\x80"'],
  ['a surrogate in UTF-8', bytes('\xed\xa0\x80'), '"\\xed\\xa0\\x80"'],
  ['beyond U+10FFFF', bytes('\xf4\x90\x80\x80'), '"\\xf4\\x90\\x80\\x80"'],
  ['the replacement character itself', bytesOfText('\ufffd'), '\ufffd'],
  ['soft hyphen', bytesOfText('a\u00adb'), '"a\\u00adb"'],
  ['Arabic letter mark', bytesOfText('\u061c'), '"\\u061c"'],
  ['zero width space', bytesOfText('a\u200bb'), '"a\\u200bb"'],
  ['zero width joiner', bytesOfText('a\u200db'), '"a\\u200db"'],
  ['left-to-right mark', bytesOfText('\u200e'), '"\\u200e"'],
  ['right-to-left mark', bytesOfText('\u200f'), '"\\u200f"'],
  ['line separator', bytesOfText('\u2028'), '"\\u2028"'],
  ['paragraph separator', bytesOfText('\u2029'), '"\\u2029"'],
  ['left-to-right embedding', bytesOfText('\u202a'), '"\\u202a"'],
  ['right-to-left embedding', bytesOfText('\u202b'), '"\\u202b"'],
  ['pop directional formatting', bytesOfText('\u202c'), '"\\u202c"'],
  ['left-to-right override', bytesOfText('\u202d'), '"\\u202d"'],
  ['right-to-left override (exe.txt)', bytesOfText('cod\u202etxt.exe'), '"cod\\u202etxt.exe"'],
  ['word joiner', bytesOfText('\u2060'), '"\\u2060"'],
  ['left-to-right isolate', bytesOfText('\u2066'), '"\\u2066"'],
  ['right-to-left isolate', bytesOfText('\u2067'), '"\\u2067"'],
  ['first strong isolate', bytesOfText('\u2068'), '"\\u2068"'],
  ['pop directional isolate', bytesOfText('\u2069'), '"\\u2069"'],
  ['byte order mark', bytesOfText('\ufeffa'), '"\\ufeffa"'],
  ['interlinear annotation', bytesOfText('\ufff9'), '"\\ufff9"'],
  ['a tag character', bytesOfText('\u{e0041}'), '"\\U000e0041"'],
  ['dots at the end', bytesOfText('a...'), 'a...'],
  ['a dash in front', bytesOfText('-rf'), '-rf'],
];
