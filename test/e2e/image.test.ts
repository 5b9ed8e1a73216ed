/** What an opened image does when a layer cannot be had, and once it is closed. */
import { expect, test } from 'vitest';
import { openCacheDir } from '../../src/blob/cache-dir.ts';
import { throwIfAborted } from '../../src/errors.ts';
import { Image } from '../../src/image.ts';
import type { Descriptor } from '../../src/reference/descriptor.ts';
import { parseConfig } from '../../src/reference/parse-config.ts';
import { parseDocument } from '../../src/reference/parse-document.ts';
import type { BlobSource, ImageSource } from '../../src/source/source.ts';
import { sha256Digest } from '../support/digests.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const makeDir = useTempDirs();
const LAYER = 'application/vnd.oci.image.layer.v1.tar';
const right = Buffer.alloc(1024);
const stalledDigest = sha256Digest('a layer that never comes');

const notAsked = (): Promise<never> => Promise.reject(new Error('not asked'));

/** Two layers: the lower never sends a byte, the upper sends wrong ones. */
class BrokenSource implements ImageSource {
  readonly name = 'oci:broken';
  readonly stats = { requests: 0, bytesFetched: 0 };
  stalled = 0;
  ended = 0;

  readonly resolve = notAsked;
  readonly fetchDocument = notAsked;
  readonly fetchBlob = notAsked;

  openBlob({ digest, size }: Descriptor): BlobSource {
    const stall = (signal: AbortSignal | undefined): Promise<void> => this.#stall(signal);
    return {
      digest,
      size,
      async *fetch(_range, signal) {
        if (digest === stalledDigest) await stall(signal);
        yield Buffer.alloc(size, 1);
      },
    };
  }

  async #stall(signal: AbortSignal | undefined): Promise<void> {
    this.stalled += 1;
    await new Promise<void>((resolve) => {
      signal?.addEventListener('abort', () => resolve());
    });
    this.ended += 1;
    throwIfAborted(signal, 'reading');
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

async function openBroken(source: ImageSource): Promise<Image> {
  const digests = [stalledDigest, sha256Digest(right)];
  const configBytes = Buffer.from(
    JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: digests } }),
  );
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: sha256Digest(configBytes),
        size: configBytes.length,
      },
      layers: digests.map((digest) => ({ mediaType: LAYER, digest, size: right.length })),
    }),
  );
  const manifest = parseDocument(bytes);
  if (manifest.kind !== 'manifest') throw new Error('not a manifest');
  const resolved = {
    manifest,
    manifestDocument: { mediaType: manifest.mediaType, digest: sha256Digest(bytes), bytes },
    indexDigest: undefined,
    config: parseConfig(configBytes),
    configBytes,
  };
  const cacheDir = makeDir();
  return new Image(source, resolved, await openCacheDir(cacheDir), { cacheDir, source: { registry: {} } });
}

test('a layer that is broken is reported while another one is still awaited; closing ends the wait', async () => {
  const source = new BrokenSource();
  const image = await openBroken(source);
  await expect(image.filesystem()).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  expect([source.stalled, source.ended]).toEqual([1, 0]);
  await image.close();
  expect(source.ended).toBe(1);
});

test('a closed image opens nothing any more', async () => {
  const source = new BrokenSource();
  const image = await openBroken(source);
  await image.close();
  await expect(image.layerToc(0)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  await expect(image.filesystem()).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  expect(source.stalled).toBe(0);
  await image.close();
});
