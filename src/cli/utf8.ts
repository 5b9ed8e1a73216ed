/** Where UTF-8 ends and other bytes begin, inside bytes that may be either. */

/** Bytes of the UTF-8 character that begins at `at`, 0 where none does. */
export function lengthOfCharacter(bytes: Buffer, at: number): number {
  const lead = bytes[at] ?? 0;
  const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length < 2) return length;
  const slice = bytes.subarray(at, at + length);
  // Node's decoder knows overlong forms, surrogates and truncation: the round trip tells.
  return Buffer.from(slice.toString('utf8'), 'utf8').equals(slice) ? length : 0;
}
