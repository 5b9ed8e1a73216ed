/**
 * The end of an eStargz blob says where its TOC begins: an empty gzip member whose extra field holds the offset in
 * hexadecimal. Three forms: of eStargz, of stargz before it, and of blobs whose TOC lies in another image.
 *
 *   51 bytes  1f8b 08 04 ·········· 1a00 'S''G' 1600  OFFSET(16) "STARGZ"  01 0000ffff, crc and length 0
 *   47 bytes  1f8b 08 04 ·········· 1600              OFFSET(16) "STARGZ"  (the same)
 *   46 bytes  1f8b 08 04 ·········· 1500 'S''G' 1100  "STARGZEXTERNALTOC"  (the same)
 *
 * Source: stargz-snapshotter docs/estargz.md.
 */

export type EstargzFooter =
  | {
      /** Where the gzip member with the TOC begins in the blob; not checked. */
      readonly tocOffset: number;
      /** Bytes of the footer itself. */
      readonly length: number;
    }
  /** The TOC lies in another image. */
  | 'external';

/** The longest of them. */
export const MAX_FOOTER_BYTES = 51;
const LEGACY_FOOTER_BYTES = 47;
const EXTERNAL_FOOTER_BYTES = 46;

/** Magic, deflate, FEXTRA only. */
const GZIP_HEADER = Buffer.from('1f8b0804', 'hex');
/** Where the length of the extra field stands. */
const EXTRA_AT = 10;
const OFFSET = '([0-9a-f]{16})STARGZ';

/** By the last bytes of a blob, at least as many as there are up to MAX_FOOTER_BYTES. undefined for none. */
export function parseEstargzFooter(tail: Buffer): EstargzFooter | undefined {
  const current = offsetIn(tail, MAX_FOOTER_BYTES, new RegExp(`^\\x1a\\x00SG\\x16\\x00${OFFSET}`));
  if (current !== undefined) return { tocOffset: current, length: MAX_FOOTER_BYTES };
  const legacy = offsetIn(tail, LEGACY_FOOTER_BYTES, new RegExp(`^\\x16\\x00${OFFSET}`));
  if (legacy !== undefined) return { tocOffset: legacy, length: LEGACY_FOOTER_BYTES };
  const external = extraField(tail, EXTERNAL_FOOTER_BYTES);
  return external?.startsWith('\x15\x00SG\x11\x00STARGZEXTERNALTOC') === true ? 'external' : undefined;
}

function offsetIn(tail: Buffer, length: number, form: RegExp): number | undefined {
  const digits = form.exec(extraField(tail, length) ?? '')?.[1];
  const offset = digits === undefined ? Number.NaN : Number.parseInt(digits, 16);
  return Number.isSafeInteger(offset) ? offset : undefined;
}

/** From the length of the extra field on, where the last `length` bytes begin as a gzip member does. */
function extraField(tail: Buffer, length: number): string | undefined {
  const start = tail.length - length;
  if (start < 0 || !tail.subarray(start, start + GZIP_HEADER.length).equals(GZIP_HEADER)) return undefined;
  return tail.toString('latin1', start + EXTRA_AT);
}
