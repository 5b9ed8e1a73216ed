import { describe, expect, test } from 'vitest';
import type { Descriptor } from '../../src/reference/descriptor.ts';
import { digestOf } from '../../src/reference/digest.ts';
import {
  formatPlatform,
  hostPlatform,
  normalisePlatform,
  type Platform,
  parsePlatform,
  platformRank,
} from '../../src/reference/platform.ts';
import { selectManifest } from '../../src/reference/select-manifest.ts';
import { codeOf } from './code-of.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';

function entry(platform: string | undefined, more: Partial<Descriptor> = {}): Descriptor {
  const [os = '', architecture = '', variant] = platform?.split('/') ?? [];
  const written: Platform = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  return {
    mediaType: MANIFEST,
    digest: digestOf(Buffer.from(`${platform}${JSON.stringify(more)}`)),
    size: 1,
    ...(platform === undefined ? {} : { platform: written }),
    ...more,
  };
}

function chosen(offered: readonly string[], wanted: string): string | undefined {
  const entries = offered.map((platform) => entry(platform));
  const selection = selectManifest(entries, parsePlatform(wanted));
  if (selection.kind === 'undecided') return 'undecided';
  return offered[entries.indexOf(selection.descriptor)];
}

describe('normalisePlatform', () => {
  // containerd/platforms database.go
  test.each([
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/arm64/8', 'linux/arm64'],
    ['linux/arm64/v9.0', 'linux/arm64/v9'],
    ['Linux/x86_64', 'linux/amd64'],
    ['linux/x86-64', 'linux/amd64'],
    ['linux/amd64/v1', 'linux/amd64'],
    ['linux/amd64/v2', 'linux/amd64/v2'],
    ['linux/i386', 'linux/386'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['macos/aarch64', 'darwin/arm64'],
  ])('%s is %s', (written, normal) => {
    const [os = '', architecture = '', variant] = written.split('/');
    const platform = normalisePlatform({ os, architecture, ...(variant === undefined ? {} : { variant }) });
    expect(formatPlatform(platform)).toBe(normal);
    expect(normalisePlatform(platform)).toEqual(platform);
  });
});

describe('parsePlatform', () => {
  test.each([
    ['linux/amd64', { os: 'linux', architecture: 'amd64' }],
    ['linux/arm/v6', { os: 'linux', architecture: 'arm', variant: 'v6' }],
    ['arm64', { os: 'linux', architecture: 'arm64' }],
    ['linux', hostPlatform()],
  ])('%s', (text, expected) => {
    expect(parsePlatform(text)).toEqual(expected);
  });

  test.each(['', '/', 'linux/', '/amd64', 'a/b/c/d', 'linux/amd64 ', 'linux/amd\u0000', 'a'.repeat(1000)])(
    '%j is refused',
    (text) => {
      expect(codeOf(() => parsePlatform(text))).toBe('ERR_USAGE');
    },
  );
});

describe('selectManifest', () => {
  // E163; containerd/platforms compare_test.go TestOnly
  test.each([
    [['linux/386', 'linux/amd64'], 'linux/amd64', 'linux/amd64'],
    [['linux/amd64/v2', 'linux/386', 'linux/amd64'], 'linux/amd64', 'linux/amd64'],
    [['linux/amd64/v2', 'linux/386'], 'linux/amd64', 'linux/386'],
    [['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'], 'linux/amd64/v3', 'linux/amd64/v2'],
    [['linux/amd64/v1'], 'linux/amd64', 'linux/amd64/v1'],
    [['linux/arm/v7'], 'linux/arm64', 'linux/arm/v7'],
    [['linux/arm/v5', 'linux/arm/v7', 'linux/arm/v6'], 'linux/arm64', 'linux/arm/v7'],
    [['linux/arm/v7', 'linux/arm64/v8'], 'linux/arm64', 'linux/arm64/v8'],
    [['linux/arm64'], 'linux/arm64/v8', 'linux/arm64'],
    [['linux/arm64/v8', 'linux/arm64/v9'], 'linux/arm64/v9', 'linux/arm64/v9'],
    [['linux/arm64/v8.4', 'linux/arm64/v8.6'], 'linux/arm64/v9', 'linux/arm64/v8.4'],
    [['linux/arm/v5', 'linux/arm/v6'], 'linux/arm/v7', 'linux/arm/v6'],
    [['linux/arm'], 'linux/arm/v7', 'linux/arm'],
    [['windows/amd64', 'linux/amd64'], 'linux/amd64', 'linux/amd64'],
    [['linux/aarch64'], 'linux/arm64', 'linux/aarch64'],
  ])('of %j, %s gets %s (E163)', (offered, wanted, expected) => {
    expect(chosen(offered, wanted)).toBe(expected);
  });

  test('the first of equals wins', () => {
    const first = entry('linux/amd64', { annotations: { n: '1' } });
    const second = entry('linux/amd64', { annotations: { n: '2' } });
    const selection = selectManifest([first, second], parsePlatform('linux/amd64'));
    expect(selection).toEqual({ kind: 'selected', descriptor: first });
  });

  test.each([
    [['linux/amd64/v2'], 'linux/amd64'],
    [['linux/arm64'], 'linux/arm/v7'],
    [['linux/arm/v8'], 'linux/arm/v7'],
    [['linux/amd64'], 'linux/386'],
    [['linux/arm64/v8.6'], 'linux/arm64/v9'.replace('v9', 'v8')],
    [['windows/amd64', 'darwin/arm64', 'windows/amd64'], 'linux/amd64'],
    [[], 'linux/amd64'],
  ])('%j has nothing for %s, and the error lists what there is (E165)', (offered, wanted) => {
    expect(codeOf(() => chosen(offered, wanted))).toBe('ERR_PLATFORM_NOT_FOUND');
    for (const platform of offered) expect(() => chosen(offered, wanted)).toThrow(platform);
  });

  // E164: with the annotation, and with nothing but the platform.
  test.each([
    entry('unknown/unknown', { annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } }),
    entry('unknown/unknown'),
    entry('linux/amd64', { annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } }),
    entry('linux/amd64', { mediaType: 'application/vnd.example+json' }),
    entry('linux/amd64', { artifactType: 'application/vnd.example.sbom' }),
    entry(undefined, { artifactType: 'application/vnd.dev.sigstore.bundle' }),
  ])('attestations, artifacts and unknown types are never chosen nor listed (E156, E164): %j', (odd) => {
    const wanted = parsePlatform('linux/amd64');
    expect(() => selectManifest([odd, entry('linux/s390x')], wanted)).toThrow(
      /^no manifest for linux\/amd64: there are linux\/s390x$/,
    );
    const good = entry('linux/386');
    expect(selectManifest([odd, good], wanted)).toEqual({ kind: 'selected', descriptor: good });
  });

  test('an image config as artifactType is no artifact', () => {
    const descriptor = entry('linux/amd64', { artifactType: 'application/vnd.oci.image.config.v1+json' });
    expect(selectManifest([descriptor], parsePlatform('linux/amd64')).kind).toBe('selected');
  });

  test('entries without a platform are left to their configs, after those that match (E166)', () => {
    const bare = entry(undefined);
    const nested = entry(undefined, { mediaType: INDEX });
    const wanted = parsePlatform('linux/amd64');
    expect(selectManifest([bare, nested], wanted)).toEqual({ kind: 'undecided', candidates: [bare, nested] });
    expect(selectManifest([bare, entry('linux/amd64')], wanted).kind).toBe('selected');
    expect(selectManifest([bare, entry('linux/s390x')], wanted)).toEqual({
      kind: 'undecided',
      candidates: [bare],
    });
  });

  test('an index of hostile length is listed in one short line', () => {
    const offered = Array.from({ length: 20_000 }, (_, n) => entry(`linux/cpu${n}`));
    try {
      selectManifest(offered, parsePlatform('linux/amd64'));
      expect.unreachable();
    } catch (error) {
      expect((error as Error).message.length).toBeLessThan(1500);
      expect((error as Error).message).toContain('and 19950 more');
    }
  });

  test('a hostile variant makes no long list of preferences', () => {
    expect(
      platformRank({ os: 'linux', architecture: 'amd64' }, parsePlatform('linux/amd64/v999999999')),
    ).toBe(undefined);
  });
});
