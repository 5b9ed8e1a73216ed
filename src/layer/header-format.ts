/**
 * Which dialect a header block is written in, by its magic, and the name that each dialect's header holds.
 * Told apart as Go's archive/tar does (FORMATS 1.2).
 */
import type { ByteString } from '../units.ts';
import { invalidHeader } from './invalid-header.ts';
import { numericField } from './numbers.ts';

/** `ustar` is also what PAX writers use. `v7` has no magic. */
export type HeaderFormat = 'v7' | 'ustar' | 'star' | 'gnu';

export function headerFormat(header: Buffer): HeaderFormat {
  const magic = header.toString('latin1', 257, 265);
  if (magic.startsWith('ustar\0')) return header.toString('latin1', 508, 512) === 'tar\0' ? 'star' : 'ustar';
  return magic === 'ustar  \0' ? 'gnu' : 'v7';
}

/** Bytes up to the first NUL or the end of the field. */
export function textField(block: Buffer, start: number, length: number): ByteString {
  const limit = start + length;
  let end = start;
  while (end < limit && block[end] !== 0) end++;
  return block.toString('latin1', start, end) as ByteString;
}

/** The name as the header alone has it, prefix included. */
export function headerName(header: Buffer, format: HeaderFormat, at: number): ByteString {
  const name = textField(header, 0, 100);
  const prefix = prefixOf(header, format, at);
  return prefix === '' ? name : (`${prefix}/${name}` as ByteString);
}

function prefixOf(header: Buffer, format: HeaderFormat, at: number): string {
  if (format === 'v7') return '';
  if (format === 'gnu') return misplacedPrefix(header);
  if (format === 'ustar') return textField(header, 345, 155);
  if (numericField(header, 476, 12) === undefined || numericField(header, 488, 12) === undefined) {
    throw invalidHeader(at, 'its access or change time is no number');
  }
  return textField(header, 345, 131);
}

/**
 * Go before 1.8 wrote a USTAR prefix into GNU headers, over the fields that GNU has for access and change
 * time. Where these are no numbers and the bytes are ASCII, it is that bug (E75).
 */
function misplacedPrefix(header: Buffer): string {
  const isTime = (start: number): boolean =>
    header[start] === 0 || numericField(header, start, 12) !== undefined;
  if (isTime(345) && isTime(357)) return '';
  const prefix = textField(header, 345, 155);
  return /^[\x01-\x7f]*$/.test(prefix) ? prefix : '';
}
