/** Manifests of Docker schema 1, against documents that Docker signed and against FORMATS E151 to E153. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/reference/parse-config.ts';
import { parseDocument } from '../../src/reference/parse-document.ts';
import type { Schema1Manifest } from '../../src/reference/parse-schema1.ts';
import { documentDigest, isNamedBy } from '../../src/reference/schema1-payload.ts';
import { sha256Digest } from '../support/digests.ts';
import { imagesDir } from '../support/images.ts';
import { codeOf } from './code-of.ts';

const id = (digit: string): string => digit.repeat(64);
const blob = (digit: string): string => `sha256:${digit.padStart(64, '0')}`;

interface MadeLevel {
  readonly id?: unknown;
  readonly parent?: unknown;
  readonly [field: string]: unknown;
}

/** Newest first, as in the document; the blob of each is its position from the bottom. Ends as Docker's do, in "\n}". */
function manifestOf(levels: readonly MadeLevel[], more: object = {}): Buffer {
  return Buffer.from(
    JSON.stringify(
      {
        schemaVersion: 1,
        name: 'test',
        tag: 'latest',
        architecture: 'amd64',
        fsLayers: levels.map((_, at) => ({ blobSum: blob(String(levels.length - at)) })),
        history: levels.map((level) => ({ v1Compatibility: JSON.stringify(level) })),
        ...more,
      },
      null,
      3,
    ),
  );
}

function parse(bytes: Buffer): Schema1Manifest {
  const document = parseDocument(bytes);
  if (document.kind !== 'schema1') throw new Error(`a ${document.kind}`);
  return document;
}

/** As libtrust signs, but with a signature of nothing: nobody verifies it. */
function sign(payload: string, header: object = {}): Buffer {
  const length = payload.length - 2;
  const protect = Buffer.from(
    JSON.stringify({
      formatLength: length,
      formatTail: Buffer.from(payload.slice(length)).toString('base64url'),
      ...header,
    }),
  ).toString('base64url');
  const signature = JSON.stringify([{ header: {}, signature: 'AA', protected: protect }]);
  return Buffer.from(`${payload.slice(0, length)},"signatures":${signature}}`);
}

const TWO: readonly MadeLevel[] = [
  {
    id: id('b'),
    parent: id('a'),
    os: 'linux',
    config: { Cmd: ['sh'] },
    container_config: { Cmd: ['b', 'c'] },
  },
  { id: id('a'), created: '2015-01-01T00:00:00Z', container_config: { Cmd: ['a'] } },
];

describe('a manifest of schema 1', () => {
  test('lists its layers lowest first, and makes a config of the newest history', () => {
    const manifest = parse(manifestOf(TWO));
    expect(manifest.layers).toEqual([blob('1'), blob('2')]);
    const config = parseConfig(manifest.config);
    expect(config.platform).toEqual({ os: 'linux', architecture: 'amd64' });
    expect(config.runtime).toEqual({ Cmd: ['sh'] });
    expect(config.diffIDs).toEqual([]);
    expect(config.history).toEqual([
      { created: '2015-01-01T00:00:00Z', createdBy: 'a', emptyLayer: false },
      { createdBy: 'b c', emptyLayer: false },
    ]);
  });

  test('keeps what belongs to the image of schema 1 alone out of the config', () => {
    const newest = {
      id: id('a'),
      throwaway: false,
      Size: 5,
      layer_id: 'x',
      rootfs: { diff_ids: [blob('9')] },
    };
    const { config } = parse(manifestOf([{ ...newest, history: [{ comment: 'forged' }], kept: 1 }]));
    expect(JSON.parse(config.toString())).toEqual({
      architecture: 'amd64',
      kept: 1,
      history: [{}],
    });
  });

  test('leaves out throwaway layers, which stay in the history as empty (E152)', () => {
    const levels = [{ id: id('c'), parent: id('b'), throwaway: true }, ...TWO];
    const manifest = parse(manifestOf(levels));
    expect(manifest.layers).toEqual([blob('1'), blob('2')]);
    expect(parseConfig(manifest.config).history.map(({ emptyLayer }) => emptyLayer)).toEqual([
      false,
      false,
      true,
    ]);
  });

  test('counts layers that repeat the ID of the one below once (E152)', () => {
    const [upper = {}, lower = {}] = TWO;
    expect(parse(manifestOf([upper, upper, lower, lower, lower])).layers).toEqual([blob('1'), blob('4')]);
  });

  test.each<[string, readonly MadeLevel[], object?]>([
    ['a parent that is not the layer below', [{ id: id('b'), parent: id('c') }, { id: id('a') }]],
    ['a lowest layer with a parent', [{ id: id('a'), parent: id('b') }]],
    ['a parent missing', [{ id: id('b') }, { id: id('a') }]],
    [
      'an ID twice, with another between',
      [{ id: id('a'), parent: id('b') }, { id: id('b'), parent: id('a') }, { id: id('a') }],
    ],
    ['an ID that is no hex', [{ id: id('g') }]],
    ['an ID in upper case', [{ id: id('A') }]],
    ['a short ID', [{ id: 'abc' }]],
    ['a path for an ID', [{ id: `../../${id('a')}`.slice(0, 64) }]],
    ['no ID', [{}]],
    ['a number for an ID', [{ id: 5 }]],
    ['a look-alike of a field', [{ id: id('a'), Parent: id('b') }]],
    ['no layers', []],
    ['fewer histories than layers', [{ id: id('a') }], { history: [] }],
    ['a history that is no JSON', [{ id: id('a') }], { history: [{ v1Compatibility: '{' }] }],
    ['a history that is a list', [{ id: id('a') }], { history: [{ v1Compatibility: '[]' }] }],
    ['a history without v1Compatibility', [{ id: id('a') }], { history: [{}] }],
    ['a command that is no list', [{ id: id('a'), container_config: { Cmd: 'sh' } }]],
    ['a blob that is no digest', [{ id: id('a') }], { fsLayers: [{ blobSum: '../../etc/passwd' }] }],
    ['layers of schema 2 beside its own', [{ id: id('a') }], { layers: [] }],
    ['schema version 2', [{ id: id('a') }], { schemaVersion: 2 }],
  ])('is refused with %s (E152)', (_, levels, more) => {
    expect(codeOf(() => parseDocument(manifestOf(levels, more)))).toBe('ERR_DOCUMENT_INVALID');
  });

  test('is refused with more layers than any image has', () => {
    const levels = Array.from({ length: 513 }, (_, at) => ({ id: at.toString(16).padStart(64, '0') }));
    expect(codeOf(() => parseDocument(manifestOf(levels)))).toBe('ERR_LIMIT_EXCEEDED');
  });
});

describe('a signed manifest of schema 1', () => {
  const payload = manifestOf(TWO).toString();

  test('is named by the digest of its payload, and by that of its bytes (E151)', () => {
    const signed = sign(payload);
    expect(documentDigest(signed)).toBe(sha256Digest(payload));
    expect(isNamedBy(signed, sha256Digest(payload) as never)).toBe(true);
    expect(isNamedBy(signed, sha256Digest(signed) as never)).toBe(true);
    expect(isNamedBy(signed, sha256Digest('else') as never)).toBe(false);
    expect(parse(signed)).toMatchObject({ layers: [blob('1'), blob('2')] });
  });

  test('is read from its payload: what was put around it afterwards counts for nothing (E151)', () => {
    const forged = sign(payload).toString().replace('"signatures"', '"tag2":"x","signatures"');
    expect(parse(Buffer.from(forged)).layers).toEqual([blob('1'), blob('2')]);
    // Of another payload, it has another digest.
    expect(documentDigest(sign(payload.replace(blob('1'), blob('7'))))).not.toBe(sha256Digest(payload));
  });

  const several = (count: number): Buffer => {
    const document = JSON.parse(sign(payload).toString()) as { signatures: unknown[] };
    const [signature] = document.signatures;
    return Buffer.from(
      `${payload.slice(0, -2)},"signatures":${JSON.stringify(Array(count).fill(signature))}}`,
    );
  };

  test.each<[string, Buffer]>([
    ['a number', Buffer.from(payload.replace(/}$/, ',"signatures":1}'))],
    ['an empty list', Buffer.from(payload.replace(/}$/, ',"signatures":[]}'))],
    ['null elements', Buffer.from(payload.replace(/}$/, ',"signatures":[null]}'))],
    ['no protected header', Buffer.from(payload.replace(/}$/, ',"signatures":[{}]}'))],
    ['a header that is no base64', Buffer.from(payload.replace(/}$/, ',"signatures":[{"protected":"%%"}]}'))],
    ['a header that is no JSON', Buffer.from(payload.replace(/}$/, ',"signatures":[{"protected":"AAAA"}]}'))],
    ['a length past the end', sign(payload, { formatLength: 1e9 })],
    ['a negative length', sign(payload, { formatLength: -1 })],
    ['a length of half a byte', sign(payload, { formatLength: 1.5 })],
    ['a length of 0', sign(payload, { formatLength: 0 })],
    ['a tail that is no base64', sign(payload, { formatTail: '!!' })],
    ['no tail', sign(payload, { formatTail: null })],
    [
      'a tail that signs again',
      sign(payload, { formatTail: Buffer.from(',"signatures":[]}').toString('base64url') }),
    ],
    ['more than anybody made', several(17)],
  ])('is refused where its signatures are, or have, %s (E153)', (_, bytes) => {
    expect(codeOf(() => parseDocument(bytes))).toBe('ERR_DOCUMENT_INVALID');
    expect(isNamedBy(bytes, sha256Digest(payload) as never)).toBe(false);
  });

  test('is refused where two signatures are of two payloads (E153)', () => {
    const [one, two] = [sign(payload), sign(payload, { formatLength: 20 })].map(
      (bytes) => (JSON.parse(bytes.toString()) as { signatures: object[] }).signatures[0],
    );
    const bytes = Buffer.from(`${payload.slice(0, -2)},"signatures":${JSON.stringify([one, two])}}`);
    expect(codeOf(() => parseDocument(bytes))).toBe('ERR_DOCUMENT_INVALID');
  });

  test.each(['application/vnd.oci.image.manifest.v1+json', 'application/vnd.oci.image.index.v1+json'])(
    'is never read as %s',
    (mediaType) => {
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, signatures: [] }));
      expect(codeOf(() => parseDocument(bytes, mediaType))).toBe('ERR_DOCUMENT_INVALID');
    },
  );
});

describe.skipIf(imagesDir() === undefined)('real manifests of schema 1', () => {
  const read = (name: string): Buffer => readFileSync(path.join(imagesDir() ?? '', name));

  // The digests that Docker Hub and containers/image have for them.
  test.each([
    [
      'layouts/skopeo/busybox-latest/manifest.json',
      'sha256:65ce39ce3eb0997074a460adfb568d0b9f0f6a4392d97b6035630c9d7bf92402',
      ['sha256:8ddc19f16526912237dd8af81971d5e4dd0587907234be2b83e249518d5b673f'],
    ],
    ['dialects/manifests/container-libs-internal-manifest/v2s1.manifest.json', 'sha256:7364fea9', undefined],
  ])('%s has the digest of its payload (E151)', (name, digest, layers) => {
    const bytes = read(name);
    expect(documentDigest(bytes).startsWith(digest)).toBe(true);
    const manifest = parse(bytes);
    if (layers !== undefined) expect(manifest.layers.slice(0, 1)).toEqual(layers);
  });
});
