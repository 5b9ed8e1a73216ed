/**
 * The words of the command line with all their bytes. Node decodes them as UTF-8 and loses what is not; a
 * file name that `peel ls -0` wrote could then not be given back to `peel cat`. Such bytes come as lone
 * surrogates, 0xNN as U+DCNN (the scheme of PEP 383), and `encodeArgument` turns them into bytes again.
 */
import { readFileSync } from 'node:fs';
import type { ByteString } from '../units.ts';
import { lengthOfCharacter } from './utf8.ts';

const REPLACEMENT = '\ufffd';
const ESCAPE_BASE = 0xdc00;

/** `argv` again, from the kernel's copy where a word may have lost bytes. */
export function rawArguments(argv: readonly string[]): readonly string[] {
  if (!argv.some((word) => word.includes(REPLACEMENT))) return argv;
  let words: Buffer[];
  try {
    words = splitAtNul(readFileSync('/proc/self/cmdline'));
  } catch {
    return argv;
  }
  const tail = words.slice(words.length - argv.length);
  // The words before them are node's own; where the tails differ, this is not the command line we know.
  const isSame = tail.length === argv.length && tail.every((word, at) => word.toString('utf8') === argv[at]);
  return isSame ? tail.map(decodeArgument) : argv;
}

/** Bytes as text, with U+DC80 to U+DCFF for the bytes that are not UTF-8. */
export function decodeArgument(bytes: Buffer): string {
  const whole = bytes.toString('utf8');
  if (Buffer.from(whole, 'utf8').equals(bytes)) return whole;
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = lengthOfCharacter(bytes, at);
    text +=
      length === 0
        ? String.fromCharCode(ESCAPE_BASE + (bytes[at] ?? 0))
        : bytes.toString('utf8', at, at + length);
    at += Math.max(1, length);
  }
  return text;
}

/** The bytes that an argument stands for. */
export function encodeArgument(text: string): ByteString {
  let bytes = '';
  for (const character of text) {
    const code = character.charCodeAt(0);
    const isEscaped = character.length === 1 && code >= ESCAPE_BASE + 0x80 && code <= ESCAPE_BASE + 0xff;
    bytes += isEscaped
      ? String.fromCharCode(code - ESCAPE_BASE)
      : Buffer.from(character, 'utf8').toString('latin1');
  }
  return bytes as ByteString;
}

function splitAtNul(bytes: Buffer): Buffer[] {
  const words: Buffer[] = [];
  let start = 0;
  for (let end = bytes.indexOf(0); end >= 0; end = bytes.indexOf(0, start)) {
    words.push(bytes.subarray(start, end));
    start = end + 1;
  }
  return words;
}
