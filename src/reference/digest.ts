/**
 * Digests: parsed once, by the grammar of their algorithm, so that no unchecked text ever becomes part of
 * a path or a URL (CVE-2024-3727). Source: image-spec descriptor.md, "Digests".
 */
import { createHash } from 'node:crypto';
import { PeelError } from '../errors.ts';
import type { Digest } from '../units.ts';

export type DigestAlgorithm = 'sha256' | 'sha512';

/** Hexadecimal digits of each algorithm that is read here. */
const HEX_LENGTH: ReadonlyMap<string, number> = new Map([
  ['sha256', 64],
  ['sha512', 128],
]);

const GRAMMAR = /^([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)$/;
/** Longer than any digest there is; it keeps the regular expression off long hostile text. */
const LONGEST = 512;

/**
 * @throws PeelError ERR_UNSUPPORTED for an algorithm other than sha256 and sha512, ERR_DOCUMENT_INVALID
 * for text that is no digest.
 */
export function parseDigest(text: string): Digest {
  const match = text.length <= LONGEST ? GRAMMAR.exec(text) : null;
  const algorithm = match?.[1];
  const encoded = match?.[2];
  if (algorithm === undefined || encoded === undefined) {
    throw new PeelError(
      'ERR_DOCUMENT_INVALID',
      `${excerpt(text)} is not a digest: expected sha256:<64 hex digits>`,
    );
  }
  const length = HEX_LENGTH.get(algorithm);
  if (length === undefined) {
    throw new PeelError(
      'ERR_UNSUPPORTED',
      `digest ${excerpt(text)} uses the algorithm ${algorithm}: sha256 and sha512 are supported`,
    );
  }
  if (encoded.length !== length || !/^[0-9a-f]+$/.test(encoded)) {
    throw new PeelError(
      'ERR_DOCUMENT_INVALID',
      `digest ${excerpt(text)} does not have ${length} lower-case hex digits after ${algorithm}:`,
    );
  }
  return text as Digest;
}

export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.startsWith('sha512:') ? 'sha512' : 'sha256';
}

/** What follows the colon: safe as a file name. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}

/**
 * Does nothing when `bytes` are the ones that `expected` names.
 *
 * @param what names the bytes in the message, for example `manifest of alpine:latest`.
 * @throws PeelError ERR_DIGEST_MISMATCH; the size is compared first, being cheaper and telling more.
 */
export function verifyBytes(
  bytes: Uint8Array,
  expected: { readonly digest: Digest; readonly size: number },
  what: string,
): void {
  const facts = { digest: expected.digest, size: bytes.length };
  if (bytes.length !== expected.size) {
    throw new PeelError(
      'ERR_DIGEST_MISMATCH',
      `${what}: got ${bytes.length} bytes, expected ${expected.size} (${expected.digest})`,
      { facts },
    );
  }
  const got = digestOf(bytes, algorithmOf(expected.digest));
  if (got !== expected.digest) {
    throw new PeelError(
      'ERR_DIGEST_MISMATCH',
      `${what}: the bytes have digest ${got}, expected ${expected.digest}`,
      { facts },
    );
  }
}

/** Hostile text for a message: quoted as JSON does, so that no control character gets out, and short. */
export function excerpt(text: string, longest = 100): string {
  return JSON.stringify(text.length > longest ? `${text.slice(0, longest)}…` : text);
}
