import { describe, expect, test } from 'vitest';
import { formatImageName, isStandardInput, parseImageName } from '../../src/reference/transport.ts';
import { codeOf } from './code-of.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const alpine = { registry: 'docker.io', repository: 'library/alpine', tag: 'latest' };

describe('parseImageName', () => {
  test.each([
    ['alpine', { transport: 'docker', reference: alpine }],
    ['docker://alpine', { transport: 'docker', reference: alpine }],
    ['docker:latest', { transport: 'docker', reference: { ...alpine, repository: 'library/docker' } }],
    ['oci:dir', { transport: 'oci', path: 'dir' }],
    ['oci:/a/b', { transport: 'oci', path: '/a/b' }],
    ['oci:dir:tag', { transport: 'oci', path: 'dir', selection: { by: 'name', name: 'tag' } }],
    [
      'oci:dir:quay.io/a/b:tag',
      { transport: 'oci', path: 'dir', selection: { by: 'name', name: 'quay.io/a/b:tag' } },
    ],
    ['oci:dir:@0', { transport: 'oci', path: 'dir', selection: { by: 'position', position: 0 } }],
    [`oci:dir:@${DIGEST}`, { transport: 'oci', path: 'dir', selection: { by: 'digest', digest: DIGEST } }],
    ['oci-archive:f.tar', { transport: 'oci-archive', path: 'f.tar' }],
    [
      'oci-archive:f.tar:t',
      { transport: 'oci-archive', path: 'f.tar', selection: { by: 'name', name: 't' } },
    ],
    ['docker-archive:f.tar', { transport: 'docker-archive', path: 'f.tar' }],
    [
      'docker-archive:f.tar:a:b',
      { transport: 'docker-archive', path: 'f.tar', selection: { by: 'name', name: 'a:b' } },
    ],
    [
      'docker-archive:f.tar:@12',
      { transport: 'docker-archive', path: 'f.tar', selection: { by: 'position', position: 12 } },
    ],
    ['/x/y:z', { transport: 'path', path: '/x/y:z' }],
    ['./x', { transport: 'path', path: './x' }],
    ['../x', { transport: 'path', path: '../x' }],
    ['~/x', { transport: 'path', path: '~/x' }],
    ['.', { transport: 'path', path: '.' }],
    ['..', { transport: 'path', path: '..' }],
    ['-', { transport: 'path', path: '-' }],
    ['docker-archive:-:a', { transport: 'docker-archive', path: '-', selection: { by: 'name', name: 'a' } }],
  ])('%s', (text, expected) => {
    expect(parseImageName(text)).toEqual(expected);
    expect(parseImageName(formatImageName(parseImageName(text)))).toEqual(expected);
  });

  test.each([
    ['', 'ERR_USAGE'],
    ['dir:/x', 'ERR_UNSUPPORTED'],
    ['docker-daemon:alpine:latest', 'ERR_UNSUPPORTED'],
    ['containers-storage:alpine', 'ERR_UNSUPPORTED'],
    ['sif:x', 'ERR_UNSUPPORTED'],
    ['oci:', 'ERR_USAGE'],
    ['oci::tag', 'ERR_USAGE'],
    ['oci://quay.io/x', 'ERR_USAGE'],
    ['oci:dir:', 'ERR_USAGE'],
    ['oci:dir:@', 'ERR_USAGE'],
    ['oci:dir:@-1', 'ERR_USAGE'],
    ['oci:dir:@1e3', 'ERR_USAGE'],
    ['oci:dir:@99999999999999999999', 'ERR_USAGE'],
    ['oci:dir:@sha256:xyz', 'ERR_USAGE'],
    ['http://x/y', 'ERR_USAGE'],
    ['docker://', 'ERR_USAGE'],
    ['~user/x', 'ERR_USAGE'],
    ['/x\0y', 'ERR_USAGE'],
  ])('%j is refused with %s', (text, code) => {
    expect(codeOf(() => parseImageName(text))).toBe(code);
  });

  test.each([
    ['-', true],
    ['docker-archive:-', true],
    ['oci-archive:-:@1', true],
    ['oci:-', false],
    ['./-', false],
    ['docker-archive:./-', false],
    ['alpine', false],
  ])('%s comes from standard input: %s', (text, expected) => {
    expect(isStandardInput(parseImageName(text))).toBe(expected);
  });

  test.each(['https://u:secret@host/x', 'docker://u:secret@host:5000/x', 'FTP://secret@host'])(
    '%j is refused without its password being shown',
    (text) => {
      expect(codeOf(() => parseImageName(text))).toBe('ERR_USAGE');
      expect(() => parseImageName(text)).toThrow(/^(?!.*secret).*no user and password/);
    },
  );

  test('a transport that is not supported is answered with those that are', () => {
    expect(() => parseImageName('docker-daemon:x')).toThrow(
      /docker:\/\/REF, oci:DIR, oci-archive:FILE, docker-archive:FILE/,
    );
  });
});
