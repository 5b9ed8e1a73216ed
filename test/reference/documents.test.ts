import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { digestOf } from '../../src/reference/digest.ts';
import type { Manifest } from '../../src/reference/documents.ts';
import { parseConfig } from '../../src/reference/parse-config.ts';
import { parseDocument } from '../../src/reference/parse-document.ts';
import { checkConfig, validateImageManifest } from '../../src/reference/validate-image.ts';
import { imagesDir } from '../support/images.ts';
import { codeOf } from './code-of.ts';

const OCI = 'application/vnd.oci.image.manifest.v1+json';
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const DOCKER = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar';
const digest = (text: string): string => digestOf(Buffer.from(text));

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const descriptor = (mediaType: string, more: object = {}): object => ({
  mediaType,
  digest: digest('x'),
  size: 1,
  ...more,
});
const manifest = (more: object = {}): object => ({
  schemaVersion: 2,
  mediaType: OCI,
  config: descriptor(OCI_CONFIG),
  layers: [descriptor(`${LAYER}+gzip`)],
  ...more,
});
const index = (more: object = {}): object => ({
  schemaVersion: 2,
  mediaType: OCI_INDEX,
  manifests: [descriptor(OCI, { platform: { os: 'linux', architecture: 'amd64' } })],
  ...more,
});

function parseManifest(value: object): Manifest {
  const document = parseDocument(json(value));
  if (document.kind !== 'manifest') throw new Error('expected a manifest');
  return document;
}

describe('parseDocument', () => {
  test('a manifest comes with its layers in order, lowest first', () => {
    const layers = ['a', 'b', 'c'].map((name) => descriptor(LAYER, { digest: digest(name) }));
    expect(parseManifest(manifest({ layers })).layers.map((layer) => layer.digest)).toEqual(
      ['a', 'b', 'c'].map(digest),
    );
  });

  test('the same layer twice stays twice (E147)', () => {
    expect(parseManifest(manifest({ layers: [descriptor(LAYER), descriptor(LAYER)] })).layers).toHaveLength(
      2,
    );
  });

  test.each([[[]], [null], [undefined]])('layers %j are no layers (E149)', (layers) => {
    expect(parseManifest(manifest({ layers })).layers).toEqual([]);
  });

  test.each([
    [manifest({ mediaType: undefined }), undefined, OCI],
    [manifest({ mediaType: undefined }), 'text/plain; charset=utf-8', OCI],
    [
      manifest({
        mediaType: undefined,
        config: descriptor('application/vnd.docker.container.image.v1+json'),
      }),
      undefined,
      DOCKER,
    ],
    [manifest({ mediaType: undefined }), OCI, OCI],
    [manifest(), `${OCI}; charset=utf-8`, OCI],
    [manifest(), OCI.toUpperCase(), OCI],
    [manifest(), 'application/octet-stream', OCI],
    [manifest({ mediaType: DOCKER }), 'application/json', DOCKER],
    [index({ mediaType: undefined }), undefined, OCI_INDEX],
    [index({ mediaType: DOCKER_LIST }), DOCKER_LIST, DOCKER_LIST],
    [index({ manifests: null }), undefined, OCI_INDEX],
  ])('%j under the type %s is read as %s (E154)', (document, came, mediaType) => {
    expect(parseDocument(json(document), came).mediaType).toBe(mediaType);
  });

  // E155, CVE-2021-41190. The last two names fold to known ones in Go's decoder.
  test.each([
    [manifest({ manifests: [] })],
    [manifest({ fsLayers: [] })],
    [manifest({ history: [] })],
    [manifest({ blobs: [] })],
    [index({ layers: [] })],
    [index({ config: descriptor(OCI_CONFIG) })],
    [index({ fsLayers: [{}] })],
    [manifest({ Layers: [] })],
    [manifest({ MANIFESTS: [] })],
    [manifest({ mediatype: OCI })],
    [manifest({ 'layer\u017f': [] })],
    [manifest({ config: descriptor(OCI_CONFIG, { Digest: digest('y') }) })],
    [manifest({ layers: [descriptor(LAYER, { SIZE: 5 })] })],
    [index({ manifests: [descriptor(OCI, { Platform: { os: 'linux', architecture: 'amd64' } })] })],
    [index({ manifests: [descriptor(OCI, { platform: { OS: 'linux', architecture: 'amd64' } })] })],
    [{ ...manifest(), ...index() }],
    [manifest({ mediaType: OCI_INDEX })],
    [index({ mediaType: OCI })],
  ])('%j is ambiguous and refused (E155)', (document) => {
    expect(codeOf(() => parseDocument(json(document)))).toBe('ERR_DOCUMENT_INVALID');
  });

  test('a media type that differs from the one it came under is refused (E155)', () => {
    expect(codeOf(() => parseDocument(json(manifest()), DOCKER))).toBe('ERR_DOCUMENT_INVALID');
    expect(codeOf(() => parseDocument(json(manifest({ mediaType: undefined })), OCI_INDEX))).toBe(
      'ERR_DOCUMENT_INVALID',
    );
    expect(codeOf(() => parseDocument(json(index()), OCI))).toBe('ERR_DOCUMENT_INVALID');
  });

  test('unknown media types stay in an index (E156)', () => {
    const document = parseDocument(
      json(index({ manifests: [descriptor('application/xml'), descriptor(OCI)] })),
    );
    expect(document.kind === 'index' && document.manifests.map((entry) => entry.mediaType)).toEqual([
      'application/xml',
      OCI,
    ]);
  });

  test('embedded data is decoded when digest and size fit (E158)', () => {
    const config = { mediaType: OCI_CONFIG, digest: digest('{}'), size: 2, data: 'e30=' };
    expect(parseManifest(manifest({ config })).config.data?.toString()).toBe('{}');
  });

  test.each([
    [{ data: 'e30=', size: 3 }, 'ERR_DIGEST_MISMATCH'],
    [{ data: 'e31=', size: 2 }, 'ERR_DOCUMENT_INVALID'],
    [{ data: 'W10=', size: 2 }, 'ERR_DIGEST_MISMATCH'],
    [{ data: 'e30', size: 2 }, 'ERR_DOCUMENT_INVALID'],
    [{ data: 'e30=\n', size: 2 }, 'ERR_DOCUMENT_INVALID'],
    [{ data: 'e3-_', size: 3 }, 'ERR_DOCUMENT_INVALID'],
    [{ data: 7, size: 2 }, 'ERR_DOCUMENT_INVALID'],
  ])('embedded data %j is refused (E158)', (more, code) => {
    const config = { mediaType: OCI_CONFIG, digest: digest('{}'), ...more };
    expect(codeOf(() => parseDocument(json(manifest({ config }))))).toBe(code);
  });

  test('urls of foreign layers are kept (E159)', () => {
    const layer = descriptor('application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', {
      urls: ['https://x/y'],
    });
    const parsed = parseManifest(manifest({ layers: [layer] }));
    validateImageManifest(parsed);
    expect(parsed.layers[0]?.urls).toEqual(['https://x/y']);
  });

  test('the artifact manifest that OCI withdrew is unsupported by name (E160)', () => {
    const mediaType = 'application/vnd.oci.artifact.manifest.v1+json';
    expect(() => parseDocument(json({ mediaType, blobs: [] }))).toThrow('an artifact manifest');
  });

  test('512 layers are read, 513 are not', () => {
    const layers = (count: number): object =>
      manifest({ layers: Array.from({ length: count }, () => descriptor(LAYER)) });
    expect(parseManifest(layers(512)).layers).toHaveLength(512);
    expect(codeOf(() => parseDocument(json(layers(513))))).toBe('ERR_LIMIT_EXCEEDED');
  });

  test('a document of 4 MiB is read, one byte more is not', () => {
    const fill = (size: number): Buffer => {
      const start = JSON.stringify(manifest({ annotations: { a: '' } }));
      return Buffer.from(JSON.stringify(manifest({ annotations: { a: 'x'.repeat(size - start.length) } })));
    };
    expect(parseDocument(fill(4 * 1024 * 1024)).kind).toBe('manifest');
    expect(codeOf(() => parseDocument(fill(4 * 1024 * 1024 + 1)))).toBe('ERR_LIMIT_EXCEEDED');
  });
});

describe('validateImageManifest', () => {
  // E160; E161
  test.each([
    [{ config: descriptor('application/vnd.cncf.helm.config.v1+json') }, 'a Helm chart'],
    [{ layers: [descriptor('application/vnd.dev.cosign.simplesigning.v1+json')] }, 'a cosign signature'],
    [{ layers: [descriptor('application/vnd.dsse.envelope.v1+json')] }, 'a cosign attestation'],
    [{ layers: [descriptor('application/vnd.in-toto+json')] }, 'an attestation'],
    [{ config: descriptor('application/vnd.docker.plugin.v1+json') }, 'a Docker plugin'],
    [{ config: descriptor('application/vnd.buildkit.cacheconfig.v0') }, 'a BuildKit cache'],
    [
      { config: descriptor('application/vnd.oci.empty.v1+json'), artifactType: 'application/vnd.x.y' },
      'an artifact ("application/vnd.x.y")',
    ],
    [{ config: descriptor('application/vnd.x.y') }, 'an artifact ("application/vnd.x.y")'],
    [{ layers: [descriptor('application/vnd.sylabs.image.layer.v1.squashfs')] }, 'only tar layers'],
  ])('%j is refused as %s', (more, name) => {
    const parsed = parseManifest(manifest(more));
    expect(codeOf(() => validateImageManifest(parsed))).toBe('ERR_UNSUPPORTED');
    expect(() => validateImageManifest(parsed)).toThrow(name);
  });

  test.each([
    `${LAYER}+encrypted`,
    `${LAYER}+gzip+encrypted`,
    `${LAYER}+zstd+encrypted`,
    'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip+encrypted',
  ])('a layer of type %s is refused as encrypted, by its number and digest (E161)', (mediaType) => {
    const parsed = parseManifest(manifest({ layers: [descriptor(LAYER), descriptor(mediaType)] }));
    expect(codeOf(() => validateImageManifest(parsed))).toBe('ERR_UNSUPPORTED');
    expect(() => validateImageManifest(parsed)).toThrow(/^layer 1 \(sha256:[0-9a-f]+\) is encrypted/);
  });

  test.each([
    LAYER,
    `${LAYER}+gzip`,
    `${LAYER}+zstd`,
    'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
    'application/vnd.docker.image.rootfs.diff.tar',
    'application/vnd.docker.image.rootfs.diff.tar.gzip',
    'application/vnd.docker.image.rootfs.diff.tar.zstd',
    'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
    'application/octet-stream',
  ])('layers of type %s are accepted', (mediaType) => {
    expect(
      codeOf(() => validateImageManifest(parseManifest(manifest({ layers: [descriptor(mediaType)] })))),
    ).toBe('accepted: undefined');
  });

  test('the octet-stream configs of Docker before 1.10 are accepted', () => {
    validateImageManifest(parseManifest(manifest({ config: descriptor('application/octet-stream') })));
  });
});

describe('parseConfig', () => {
  test('layers, history and the rest come out', () => {
    const config = parseConfig(
      json({
        architecture: 'arm',
        variant: 'v6',
        os: 'linux',
        created: '2020-01-01T00:00:00Z',
        config: { Env: ['A=1'] },
        rootfs: { type: 'layers', diff_ids: [digest('a')] },
        history: [{ created_by: 'x' }, { empty_layer: true, comment: 'y' }],
      }),
    );
    expect(config).toEqual({
      platform: { os: 'linux', architecture: 'arm', variant: 'v6' },
      created: '2020-01-01T00:00:00Z',
      diffIDs: [digest('a')],
      history: [
        { createdBy: 'x', emptyLayer: false },
        { comment: 'y', emptyLayer: true },
      ],
      runtime: { Env: ['A=1'] },
    });
  });

  test('a config without platform counts as the host (E166), without history as none (E148)', () => {
    const config = parseConfig(json({ rootfs: { type: 'layers', diff_ids: null } }));
    expect(config.platform.os).toBe(process.platform);
    expect(config).toMatchObject({ diffIDs: [], history: [], runtime: {} });
  });

  test('as many diffIDs as layers, or an error with both numbers (E146)', () => {
    const config = (count: number): Buffer =>
      json({
        os: 'linux',
        architecture: 'amd64',
        rootfs: { diff_ids: Array.from({ length: count }, () => digest('a')) },
      });
    checkConfig(parseManifest(manifest()), parseConfig(config(1)));
    expect(codeOf(() => checkConfig(parseManifest(manifest()), parseConfig(config(9))))).toBe(
      'ERR_DOCUMENT_INVALID',
    );
    expect(() => checkConfig(parseManifest(manifest()), parseConfig(config(9)))).toThrow(
      /1 layers.* 9 diff_ids/,
    );
  });

  test('empty layers of the history do not count (E148)', () => {
    const config = parseConfig(
      json({
        rootfs: { diff_ids: [digest('a')] },
        history: [{}, { empty_layer: true }, { empty_layer: true }],
      }),
    );
    checkConfig(parseManifest(manifest()), config);
  });

  test('8 MiB are read, one byte more is not', () => {
    const fill = (size: number): Buffer => Buffer.from(`{"author":"${'x'.repeat(size - 13)}"}`);
    expect(parseConfig(fill(8 * 1024 * 1024)).author).toHaveLength(8 * 1024 * 1024 - 13);
    expect(codeOf(() => parseConfig(fill(8 * 1024 * 1024 + 1)))).toBe('ERR_LIMIT_EXCEEDED');
  });

  test.each([
    [{ rootfs: { DIFF_IDS: [] } }],
    [{ RootFS: {} }],
    [{ rootfs: [] }],
    [{ rootfs: { diff_ids: ['x'] } }],
    [{ rootfs: { diff_ids: [7] } }],
    [{ rootfs: { diff_ids: {} } }],
    [{ history: {} }],
    [{ history: [[]] }],
    [{ history: [{ empty_layer: 'yes' }] }],
    [{ config: [] }],
    [{ os: 5 }],
    [[]],
    [null],
    ['x'],
  ])('%j is refused', (value) => {
    expect(codeOf(() => parseConfig(json(value)))).toBe('ERR_DOCUMENT_INVALID');
  });
});

// What each of the real documents is, by reading them; skipped files are configs, read below.
const EXPECTED: readonly (readonly [RegExp, string])[] = [
  [/non-json/, 'ERR_DOCUMENT_INVALID'],
  [/unknown-version/, 'ERR_DOCUMENT_INVALID'],
  // "signatures": 1; and one that was indented anew after it was signed: its payload is cut in the middle (E153).
  [/v2s1-invalid-signatures|schema2-to-schema1-by-docker/, 'ERR_DOCUMENT_INVALID'],
  [/v2s1|to-schema1|\/schema1(-for-oci-config)?\.json/, 'schema1'],
  // Their configs have size -1 and a digest of the letter a.
  [/schema1-to-(oci1|schema2)\.json/, 'ERR_DOCUMENT_INVALID'],
  // "digest": ""
  [/ociv1(nomime)?\.artifact/, 'ERR_DOCUMENT_INVALID'],
  [/oci1-artifact/, 'ERR_UNSUPPORTED'],
  // Every field is there, with digests of one letter: the embedded data is not what they say.
  [/(ociv1|oci1\.index)\.everything/, 'ERR_DIGEST_MISMATCH'],
  [/encrypted/, 'ERR_UNSUPPORTED'],
  // Layers of type ...tar+unknown and the like.
  [/invalid[.-]media-?type/, 'ERR_UNSUPPORTED'],
  [/index|list/, 'index'],
];

describe.skipIf(imagesDir() === undefined)('real documents', () => {
  const folder = path.join(imagesDir() ?? '', 'dialects', 'manifests');
  const files =
    imagesDir() === undefined
      ? []
      : readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.json'));

  function kindOf(bytes: Buffer): string {
    return codeOf(() => {
      const document = parseDocument(bytes);
      if (document.kind !== 'manifest') return document.kind;
      validateImageManifest(document);
      return 'image';
    });
  }

  test('there are documents to look at', () => {
    expect(files.length).toBeGreaterThan(50);
  });

  test.each(
    files.filter(
      (name) =>
        /config\.json$|config-extra-fields|extra-fields/.test(name) && !name.endsWith('for-oci-config.json'),
    ),
  )('the config %s is read, with its diffIDs', (name) => {
    const bytes = readFileSync(path.join(folder, name));
    const { rootfs } = JSON.parse(bytes.toString()) as { rootfs: { diff_ids: string[] } };
    expect(parseConfig(bytes).diffIDs).toEqual(rootfs.diff_ids);
  });

  test.each(
    files.filter(
      (name) =>
        !/config\.json$|config-extra-fields|extra-fields/.test(name) || name.endsWith('for-oci-config.json'),
    ),
  )('the document %s is read as what it is', (name) => {
    const expected = EXPECTED.find(([pattern]) => pattern.test(name))?.[1] ?? 'image';
    const found = kindOf(readFileSync(path.join(folder, name)));
    expect(found).toBe(expected.startsWith('ERR_') ? expected : `accepted: "${expected}"`);
  });
});
