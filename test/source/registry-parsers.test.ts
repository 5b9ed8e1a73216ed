/** The parsers of headers that a hostile server writes, and of configuration that a user writes. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { keysFor, normalizeKey, parseAuthFile } from '../../src/source/registry/auth-file.ts';
import { parseContentRange } from '../../src/source/registry/content-range.ts';
import { parseHosts } from '../../src/source/registry/hosts-file.ts';
import { parseRetryAfter } from '../../src/source/registry/retry-after.ts';
import { errorTextOf, quoteServerText, Secrets } from '../../src/source/registry/server-text.ts';
import { isTrustedRealm } from '../../src/source/registry/token.ts';
import { parseChallenges } from '../../src/source/registry/www-authenticate.ts';

const asPlain = (headers: readonly string[]): [string, Record<string, string>][] =>
  parseChallenges(headers).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe('parseChallenges (E191)', () => {
  test.each<[string, string[], [string, Record<string, string>][]]>([
    [
      'the usual one',
      ['Bearer realm="https://a/token",service="s",scope="repository:x:pull"'],
      [['bearer', { realm: 'https://a/token', service: 's', scope: 'repository:x:pull' }]],
    ],
    ['odd case', ['BEARER Realm="r"'], [['bearer', { realm: 'r' }]]],
    [
      'quoted commas',
      ['Bearer scope="repository:x:pull,push",realm="r"'],
      [['bearer', { scope: 'repository:x:pull,push', realm: 'r' }]],
    ],
    ['escapes', ['Basic realm="a \\"b\\" \\\\c"'], [['basic', { realm: 'a "b" \\c' }]]],
    ['unquoted values', ['Bearer realm=r,service=s'], [['bearer', { realm: 'r', service: 's' }]]],
    ['spaces around =', ['Bearer realm = "r" , service = s'], [['bearer', { realm: 'r', service: 's' }]]],
    ['empty list elements', [',, Bearer realm="r",, service=s,'], [['bearer', { realm: 'r', service: 's' }]]],
    [
      'empty parameters',
      ['Bearer realm="r",service="",scope='],
      [['bearer', { realm: 'r', service: '', scope: '' }]],
    ],
    [
      'two in one header',
      ['Basic realm="a", Bearer realm="b",service="c"'],
      [
        ['basic', { realm: 'a' }],
        ['bearer', { realm: 'b', service: 'c' }],
      ],
    ],
    [
      'two headers',
      ['Basic realm="a"', 'Bearer realm="b"'],
      [
        ['basic', { realm: 'a' }],
        ['bearer', { realm: 'b' }],
      ],
    ],
    [
      'one without parameters',
      ['Negotiate, Basic realm="a"'],
      [
        ['negotiate', {}],
        ['basic', { realm: 'a' }],
      ],
    ],
    [
      'a bare value',
      ['Negotiate a87421000492aa874209af8bc028==, Basic realm="a"'],
      [
        ['negotiate', {}],
        ['basic', { realm: 'a' }],
      ],
    ],
    ['the first of a name counts', ['Bearer realm="a",realm="b"'], [['bearer', { realm: 'a' }]]],
    ['a quote that never ends', ['Bearer service="s",realm="r'], [['bearer', { service: 's' }]]],
    ['nothing', [''], []],
    ['no token', ['"x"'], []],
    [
      'prototype names',
      ['Bearer __proto__="x",constructor="y"'],
      [['bearer', { ['__proto__']: 'x', constructor: 'y' }]],
    ],
  ])('%s', (_name, headers, expected) => {
    const got = asPlain(headers);
    expect(got.map(([scheme]) => scheme)).toEqual(expected.map(([scheme]) => scheme));
    expect(got.map(([, parameters]) => Object.entries(parameters))).toEqual(
      expected.map(([, parameters]) => Object.entries(parameters)),
    );
  });

  test('a long list of challenges and parameters ends', () => {
    const challenges = parseChallenges([`Bearer ${'a="b",'.repeat(10_000)}`, 'X,'.repeat(30_000)]);
    expect(challenges.length).toBeLessThanOrEqual(16);
  });

  test('no text makes it throw', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 200 }), { maxLength: 3 }), (headers) => {
        parseChallenges(headers);
      }),
      { numRuns: 300 },
    );
  });
});

describe('parseContentRange', () => {
  test.each([
    ['bytes 0-9/100', { start: 0, end: 10, size: 100 }],
    ['bytes 5-5/*', { start: 5, end: 6, size: undefined }],
    ['Bytes 0-0/1', { start: 0, end: 1, size: 1 }],
    ['bytes 9-0/100', undefined],
    ['bytes 0-100/100', undefined],
    ['bytes */100', undefined],
    ['bytes -1-9/100', undefined],
    ['bytes 0-9', undefined],
    ['bytes=0-9/100', undefined],
    ['items 0-9/100', undefined],
    ['bytes 0-9/100, bytes 20-29/100', undefined],
    ['bytes 0x0-9/100', undefined],
    ['bytes 0-99999999999999999999/*', undefined],
    ['bytes 9007199254740991-9007199254740991/*', undefined],
    ['', undefined],
  ])('%j', (text, expected) => {
    expect(parseContentRange(text)).toEqual(expected);
  });
});

describe('parseRetryAfter (E211)', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  test.each([
    ['0', 0],
    ['7', 7000],
    [' 7 ', 7000],
    ['Thu, 01 Jan 2026 00:00:09 GMT', 9000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['-5', undefined],
    ['1.5', undefined],
    ['soon', undefined],
    ['5 minutes', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%j is %j ms', (header, expected) => {
    expect(parseRetryAfter(header, now)).toBe(expected);
  });
  test('a thousand million seconds is a number', () => {
    expect(parseRetryAfter('1000000000', now)).toBe(1e12);
    expect(Number.isFinite(parseRetryAfter('9'.repeat(400), now))).toBe(true);
  });
});

describe('quoteServerText', () => {
  const secrets = new Secrets();
  secrets.add('canary-secret');
  secrets.add('b/c+d=');
  test.each([
    ['plain', '"plain"'],
    ['\u001b]8;;http://evil\u0007link\u001b[31m', '"]8;;http://evil link [31m"'],
    ['a\r\nb\u0000c\u0085d\u009be', '"a b c d e"'],
    ['\u202eevil\u2066x', '"evil x"'],
    ['say canary-secret now', '"say [redacted] now"'],
    ['b%2Fc%2Bd%3D', '"[redacted]"'],
    ['say "x" \\', '"say \\"x\\" \\\\"'],
  ])('%j', (text, expected) => {
    expect(quoteServerText(text, secrets)).toBe(expected);
  });
  test('a secret at the cut is gone before the cut', () => {
    expect(quoteServerText(`${'x'.repeat(295)}canary-secret`, secrets)).not.toContain('canary');
  });
});

describe('errorTextOf', () => {
  test.each([
    ['{"errors":[{"code":"DENIED","message":"no"}]}', 'DENIED: no'],
    ['{"errors":[{"code":"A"},{"message":"b"}]}', 'A; b'],
    ['{"errors":[null,1,{"code":2}]}', '{"errors":[null,1,{"code":2}]}'],
    ['{"details":"incorrect username or password"}', 'incorrect username or password'],
    ['{"error":"invalid_grant","error_description":"x"}', 'invalid_grant: x'],
    ['<html>bad gateway</html>', '<html>bad gateway</html>'],
    ['  ', undefined],
    ['', undefined],
  ])('%j', (body, expected) => {
    expect(errorTextOf(body)).toBe(expected);
  });
});

describe('isTrustedRealm', () => {
  const trusts = (registry: string, realm: string, trustedRealms: string[] = []): boolean =>
    isTrustedRealm(new URL(realm), { registry, address: registry, trustedRealms });
  test.each([
    ['docker.io', 'https://auth.docker.io/token'],
    ['ghcr.io', 'https://ghcr.io/token'],
    ['registry.gitlab.com', 'https://gitlab.com/jwt/auth'],
    ['registry.example.co.uk', 'https://auth.example.co.uk/token'],
    ['127.0.0.1:5000', 'http://127.0.0.1:5001/token'],
    ['[::1]:5000', 'http://[::1]:5001/token'],
    ['registry:5000', 'http://registry:5001/token'],
  ])('%s may send its credentials to %s', (registry, realm) => {
    expect(trusts(registry, realm)).toBe(true);
  });
  test.each([
    ['docker.io', 'https://evil.example/token'],
    ['docker.io', 'https://auth.docker.io.evil.example/token'],
    ['docker.io', 'https://notdocker.io/token'],
    ['a.co.uk', 'https://b.co.uk/token'],
    ['127.0.0.1:5000', 'http://127.0.0.2:5001/token'],
    ['10.1.0.1:5000', 'http://10.2.0.1/token'],
    ['127.0.0.1:5000', 'http://localhost:5001/token'],
    ['registry:5000', 'http://other:5001/token'],
    ['registry', 'https://registry.evil.example/token'],
  ])('%s may not send them to %s', (registry, realm) => {
    expect(trusts(registry, realm)).toBe(false);
  });
  test('the user may name a token server', () => {
    expect(trusts('rg.scw.example', 'https://api.other.example/t', ['api.other.example'])).toBe(true);
  });
});

describe('credential keys (E215)', () => {
  test.each([
    ['https://index.docker.io/v1/', 'docker.io'],
    ['index.docker.io', 'docker.io'],
    ['registry-1.docker.io', 'docker.io'],
    ['https://registry.example/v2/', 'registry.example'],
    ['HTTP://Registry.Example:5000', 'registry.example:5000'],
    ['registry.example/team/app', 'registry.example/team/app'],
    ['registry.example/v2', 'registry.example'],
    ['[::1]:5000', '[::1]:5000'],
  ])('%s is %s', (key, expected) => {
    expect(normalizeKey(key)).toBe(expected);
  });
  test('the most specific namespace comes first, and a prefix of a name is no namespace', () => {
    expect(keysFor('registry.example', 'team/app')).toEqual([
      'registry.example/team/app',
      'registry.example/team',
      'registry.example',
    ]);
  });
});

describe('parseAuthFile', () => {
  test('what is no JSON is refused without its text', () => {
    const text = '{"auths":{"x":{"auth":"canary"';
    let caught: unknown;
    try {
      parseAuthFile(text, 'file');
    } catch (error) {
      caught = error;
    }
    expect(isPeelError(caught, 'ERR_USAGE')).toBe(true);
    expect(`${String(caught)}${String((caught as Error).cause)}`).not.toContain('canary');
  });

  test('fields of wrong types are passed over', () => {
    const text = JSON.stringify({
      auths: { a: 1, b: null, c: { auth: 7 }, d: { auth: 'dTpw' } },
      credHelpers: [1],
      credsStore: {},
    });
    const file = parseAuthFile(text, 'file');
    expect([...file.auths.keys()]).toEqual(['d']);
    expect(file.auths.get('d')).toMatchObject({ username: 'u', password: 'p' });
    expect(file.credsStore).toBeUndefined();
  });

  test('no JSON value makes it throw anything but ERR_USAGE', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        try {
          parseAuthFile(JSON.stringify(value), 'file');
        } catch (error) {
          expect(isPeelError(error, 'ERR_USAGE')).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('parseHosts', () => {
  const parse = (text: string, registry = 'docker.io') =>
    parseHosts(text, '/etc/certs.d/docker.io/hosts.toml', registry, { env: {} });

  test('mirrors come in their order, the registry last, and only mirrors get ns= (E213, E214)', async () => {
    const hosts = await parse(`
      server = "https://registry-1.docker.io"
      [host."https://mirror.example:5000"]
        capabilities = ["pull"]
        ca = "mirror.crt"
        client = [["c.crt", "c.key"]]
        skip_verify = true
        [host."https://mirror.example:5000".header]
          X-Team = ["a", "b"]
      [host."http://second.example/cache"]
      [host."https://third.example/odd/"]
        override_path = true
    `);
    expect(
      hosts.map(({ address, basePath, scheme, isProxy, mayResolveTags }) => [
        address,
        basePath,
        scheme,
        isProxy,
        mayResolveTags,
      ]),
    ).toEqual([
      ['mirror.example:5000', '/v2', 'https', true, false],
      ['second.example', '/cache/v2', 'http', true, true],
      ['third.example', '/odd', 'https', true, true],
      ['registry-1.docker.io', '/v2', 'https', false, true],
    ]);
    expect(hosts[0]).toMatchObject({
      skipVerify: true,
      caFiles: ['/etc/certs.d/docker.io/mirror.crt'],
      clientFiles: [{ certificate: '/etc/certs.d/docker.io/c.crt', key: '/etc/certs.d/docker.io/c.key' }],
      headers: { 'x-team': ['a', 'b'] },
    });
    expect(hosts[3]).toMatchObject({ name: 'docker.io', skipVerify: false, headers: {}, clientFiles: [] });
  });

  test('without a server the registry itself is last', async () => {
    const hosts = await parse('[host."m.example"]', 'quay.io');
    expect(hosts.map(({ address }) => address)).toEqual(['m.example', 'quay.io']);
  });

  test.each([
    ['no TOML', 'server = '],
    ['server is a number', 'server = 1'],
    ['host is a string', 'host = "x"'],
    ['a host that is no table', '[host]\n"https://x" = 1'],
    ['no address', '[host."https://"]'],
    ['another scheme', '[host."file:///etc"]'],
    ['credentials in the address', '[host."https://u:canary@x"]'],
    ['a query', '[host."https://x/?a=b"]'],
    ['skip_verify is a string', '[host."https://x"]\nskip_verify = "yes"'],
    ['capabilities of numbers', '[host."https://x"]\ncapabilities = [1]'],
    ['client is a number', '[host."https://x"]\nclient = 1'],
    ['a header that breaks lines', '[host."https://x"]\n[host."https://x".header]\na = "b\\r\\nc: d"'],
    ['a header of the exchange', '[host."https://x"]\n[host."https://x".header]\nhost = "y"'],
    ['too many hosts', Array.from({ length: 20 }, (_, index) => `[host."https://x${index}"]`).join('\n')],
  ])('%s is ERR_USAGE naming the file', async (_name, text) => {
    let caught: unknown;
    try {
      await parse(text);
    } catch (error) {
      caught = error;
    }
    expect(isPeelError(caught, 'ERR_USAGE')).toBe(true);
    expect(String(caught)).toContain('/etc/certs.d/docker.io/hosts.toml');
    expect(String(caught)).not.toContain('canary');
  });
});
