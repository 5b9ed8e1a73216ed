import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { algorithmOf, digestOf, hexOf, parseDigest, verifyBytes } from '../../src/reference/digest.ts';
import { chainIDs } from '../../src/reference/identity.ts';
import { codeOf } from './code-of.ts';

const HEX64 = 'a'.repeat(64);
const HEX128 = '0'.repeat(128);

describe('parseDigest', () => {
  test.each([`sha256:${HEX64}`, `sha512:${HEX128}`])('accepts %s', (text) => {
    expect(parseDigest(text)).toBe(text);
    expect(`${algorithmOf(parseDigest(text))}:${hexOf(parseDigest(text))}`).toBe(text);
  });

  // E162; CVE-2024-3727: digests that reach a path or URL unchecked.
  test.each([
    ['md5:d41d8cd98f00b204e9800998ecf8427e', 'ERR_UNSUPPORTED'],
    [`sha256+b64u:${'A'.repeat(43)}`, 'ERR_UNSUPPORTED'],
    [`sha384:${'a'.repeat(96)}`, 'ERR_UNSUPPORTED'],
    ['', 'ERR_DOCUMENT_INVALID'],
    ['sha256', 'ERR_DOCUMENT_INVALID'],
    ['sha256:', 'ERR_DOCUMENT_INVALID'],
    [`sha256:${HEX64.slice(1)}`, 'ERR_DOCUMENT_INVALID'],
    [`sha256:${HEX64}a`, 'ERR_DOCUMENT_INVALID'],
    [`sha256:${HEX64.toUpperCase()}`, 'ERR_DOCUMENT_INVALID'],
    [`SHA256:${HEX64}`, 'ERR_DOCUMENT_INVALID'],
    [`sha256:${'g'.repeat(64)}`, 'ERR_DOCUMENT_INVALID'],
    [`sha512:${HEX64}`, 'ERR_DOCUMENT_INVALID'],
    [`sha256:../../../../../../../etc/passwd`, 'ERR_DOCUMENT_INVALID'],
    [`sha256:${HEX64}\n`, 'ERR_DOCUMENT_INVALID'],
    [` sha256:${HEX64}`, 'ERR_DOCUMENT_INVALID'],
    [`sha256:${HEX64.slice(1)}\0`, 'ERR_DOCUMENT_INVALID'],
    [`sha256:${'a'.repeat(1_000_000)}`, 'ERR_DOCUMENT_INVALID'],
  ])('refuses %j with %s', (text, code) => {
    expect(codeOf(() => parseDigest(text))).toBe(code);
  });

  test('a message shows at most 100 characters of hostile text, quoted', () => {
    try {
      parseDigest(`\u001b[31m${'x'.repeat(1000)}`);
      expect.unreachable();
    } catch (error) {
      expect(isPeelError(error, 'ERR_DOCUMENT_INVALID')).toBe(true);
      expect((error as Error).message.length).toBeLessThan(250);
      expect((error as Error).message).not.toContain('\u001b');
    }
  });
});

describe('digests of bytes', () => {
  const bytes = Buffer.from('peel\n');

  test('digestOf agrees with sha256sum', () => {
    const [hex] = execFileSync('sha256sum', { input: bytes, encoding: 'utf8', timeout: 10_000 }).split(' ');
    expect(digestOf(bytes)).toBe(`sha256:${hex}`);
  });

  test('verifyBytes accepts sha512 as sha512sum computes it, and refuses one flipped bit (E143)', () => {
    const [hex] = execFileSync('sha512sum', { input: bytes, encoding: 'utf8', timeout: 10_000 }).split(' ');
    const expected = { digest: parseDigest(`sha512:${hex}`), size: bytes.length };
    verifyBytes(bytes, expected, 'test');
    expect(codeOf(() => verifyBytes(Buffer.from('peem\n'), expected, 'test'))).toBe('ERR_DIGEST_MISMATCH');
  });

  test.each([4, 6])('verifyBytes refuses 5 bytes where %i are expected, before hashing (E144)', (size) => {
    const expected = { digest: digestOf(bytes), size };
    expect(() => verifyBytes(bytes, expected, 'manifest of x')).toThrow(
      `manifest of x: got 5 bytes, expected ${size}`,
    );
  });
});

describe('chainIDs (E150)', () => {
  // image-spec config.md, "Layer ChainID"; computed with sha256sum (E150).
  const diffIDs = ['1', '2', '3'].map((digit) => parseDigest(`sha256:${digit.repeat(64)}`));

  test('the lowest layer has its diffID as chainID', () => {
    expect(chainIDs(diffIDs.slice(0, 1))).toEqual([diffIDs[0]]);
  });

  test('each further layer hashes the chain below and its own diffID, as text', () => {
    const sum = (text: string): string =>
      `sha256:${execFileSync('sha256sum', { input: text, encoding: 'utf8', timeout: 10_000 }).split(' ')[0]}`;
    const two = sum(`${diffIDs[0]} ${diffIDs[1]}`);
    expect(chainIDs(diffIDs)).toEqual([diffIDs[0], two, sum(`${two} ${diffIDs[2]}`)]);
  });

  test('from a layer on whose diffID is not known, no chainID is', () => {
    const [lowest, , highest] = diffIDs;
    expect(chainIDs([lowest, undefined, highest])).toEqual([lowest, undefined, undefined]);
    expect(chainIDs([undefined, highest])).toEqual([undefined, undefined]);
    expect(chainIDs([])).toEqual([]);
  });
});
