import { array, assert, constantFrom, oneof, property, string, stringMatching, tuple } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PeelError } from '../../src/errors.ts';
import {
  familiarName,
  formatReference,
  parseRegistryReference,
} from '../../src/reference/registry-reference.ts';
import { codeOf } from './code-of.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

describe('parseRegistryReference', () => {
  // distribution/reference, reference_test.go and normalize_test.go: input, whole form, familiar form.
  test.each([
    ['alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
    ['alpine:3.20', 'docker.io/library/alpine:3.20', 'alpine:3.20'],
    ['library/alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
    ['docker.io/alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
    ['index.docker.io/alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
    ['bitnami/redis:7', 'docker.io/bitnami/redis:7', 'bitnami/redis:7'],
    ['a/b/c/d', 'docker.io/a/b/c/d:latest', 'a/b/c/d:latest'],
    ['localhost', 'docker.io/library/localhost:latest', 'localhost:latest'],
    ['localhost:5000', 'docker.io/library/localhost:5000', 'localhost:5000'],
    ['localhost/x', 'localhost/x:latest', 'localhost/x:latest'],
    ['localhost:5000/x', 'localhost:5000/x:latest', 'localhost:5000/x:latest'],
    [
      '127.0.0.1:5000/debian-python',
      '127.0.0.1:5000/debian-python:latest',
      '127.0.0.1:5000/debian-python:latest',
    ],
    ['[::1]:5000/x/y:z', '[::1]:5000/x/y:z', '[::1]:5000/x/y:z'],
    ['[2001:db8::1]/x', '[2001:db8::1]/x:latest', '[2001:db8::1]/x:latest'],
    ['quay.io/a/b', 'quay.io/a/b:latest', 'quay.io/a/b:latest'],
    ['Uppercase/x', 'Uppercase/x:latest', 'Uppercase/x:latest'],
    ['x.y/a__b/c-d/e---f.g', 'x.y/a__b/c-d/e---f.g:latest', 'x.y/a__b/c-d/e---f.g:latest'],
    ['docker.io/a.b/c', 'docker.io/a.b/c:latest', 'docker.io/a.b/c:latest'],
    ['docker.io/localhost/c', 'docker.io/localhost/c:latest', 'docker.io/localhost/c:latest'],
    [`alpine@${DIGEST}`, `docker.io/library/alpine@${DIGEST}`, `alpine@${DIGEST}`],
    [`host:1/x:t@${DIGEST}`, `host:1/x:t@${DIGEST}`, `host:1/x:t@${DIGEST}`],
    [`x:${'t'.repeat(128)}`, `docker.io/library/x:${'t'.repeat(128)}`, `x:${'t'.repeat(128)}`],
    [`x:_A.b-c`, 'docker.io/library/x:_A.b-c', 'x:_A.b-c'],
  ])('%s is %s, shown as %s', (text, whole, familiar) => {
    const reference = parseRegistryReference(text);
    expect(formatReference(reference)).toBe(whole);
    expect(familiarName(reference)).toBe(familiar);
  });

  test('the parts are named: registry, repository, tag, digest', () => {
    expect(parseRegistryReference(`host:5000/a/b:t@${DIGEST}`)).toEqual({
      registry: 'host:5000',
      repository: 'a/b',
      tag: 't',
      digest: DIGEST,
    });
  });

  test('a digest alone brings no tag', () => {
    expect(parseRegistryReference(`a@${DIGEST}`)).not.toHaveProperty('tag');
  });

  test.each([
    ['', 'empty'],
    ['Alpine', 'must be lower case'],
    ['quay.io/Foo/bar', 'must be lower case'],
    ['a//b', 'a part of the name is empty'],
    ['/a', 'a part of the name is empty'],
    ['a/', 'a part of the name is empty'],
    ['quay.io/', 'a part of the name is empty'],
    ['-a', 'may hold a-z'],
    ['a-', 'may hold a-z'],
    ['a..b', 'may hold a-z'],
    ['a___b', 'may hold a-z'],
    ['a b', 'may hold a-z'],
    ['a:', 'the tag'],
    ['a:-x', 'the tag'],
    ['a:.x', 'the tag'],
    ['a:b:c', 'the tag'],
    [`a:${'t'.repeat(129)}`, 'the tag'],
    ['a:ü', 'the tag'],
    ['a@sha256:short', 'hex digits'],
    [`a@sha256:${'A'.repeat(64)}`, 'hex digits'],
    ['a@', 'is not a digest'],
    ['@', 'is not a digest'],
    ['https://quay.io/x', 'no scheme'],
    ['a.b:/x', 'is not a port'],
    ['a.b:0/x', 'is not a port'],
    ['a.b:65536/x', 'is not a port'],
    ['a.b:80:80/x', 'is not a port'],
    ['a_b.c/x', 'is not a host name'],
    ['-a.b/x', 'is not a host name'],
    ['a..b/x', 'is not a host name'],
    ['user@host.com/x', 'is not a digest'],
    ['[::1]', 'followed by /REPOSITORY'],
    ['[::1/x', 'is not a host name'],
    ['[::g]/x', 'is not a host name'],
    ['[fe80::1%eth0]/x', 'is not a host name'],
    ['[]/x', 'is not a host name'],
    ['a'.repeat(64), 'image ID'],
    [`x/${'a/'.repeat(200)}a`, 'longer than 255'],
    ['a'.repeat(100_000), 'longer than 1024'],
    ['a\u0000b', 'may hold a-z'],
    ['a\nb', 'may hold a-z'],
    ['\u202ea', 'may hold a-z'],
  ])('%j is refused: %s', (text, why) => {
    expect(codeOf(() => parseRegistryReference(text))).toBe('ERR_USAGE');
    expect(() => parseRegistryReference(text)).toThrow(why);
  });

  test('a digest of an unknown algorithm is unsupported, not a usage error (E162)', () => {
    expect(codeOf(() => parseRegistryReference(`a@md5:${'a'.repeat(32)}`))).toBe('ERR_UNSUPPORTED');
  });

  const soup = string({
    unit: constantFrom(...'abz019AZ.:/-_@[]% \u0000ü~'.split(''), 'sha256:', 'localhost', 'docker.io/'),
    maxLength: 40,
  });
  const structured = tuple(
    constantFrom('', 'docker.io/', 'localhost/', 'a.b:5000/', '[::1]:1/', 'HOST/', 'index.docker.io/'),
    array(stringMatching(/^[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?$/), { minLength: 1, maxLength: 4 }),
    constantFrom('', ':latest', ':v1.0-x', `@${DIGEST}`, `:t@${DIGEST}`),
  ).map(([host, path, suffix]) => `${host}${path.join('/')}${suffix}`);

  test('any text is refused with a PeelError or comes back equal from both of its written forms', () => {
    let accepted = 0;
    assert(
      property(oneof(soup, structured, string()), (text) => {
        let reference: ReturnType<typeof parseRegistryReference>;
        try {
          reference = parseRegistryReference(text);
        } catch (error) {
          expect(error).toBeInstanceOf(PeelError);
          return;
        }
        accepted += 1;
        expect(parseRegistryReference(formatReference(reference))).toEqual(reference);
        expect(parseRegistryReference(familiarName(reference))).toEqual(reference);
      }),
      { numRuns: 1500 },
    );
    // The property must not hold for want of valid references.
    expect(accepted).toBeGreaterThan(100);
  });
});
