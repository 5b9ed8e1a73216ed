/** What `peel images` counts of the cache. */
import { expect, test } from 'vitest';
import { knownImages } from '../../src/cli/known-images.ts';
import { sha256Digest } from '../support/digests.ts';

test('a layer takes its index, its spans and its backing files', () => {
  const digest = sha256Digest('layer');
  const lastUsed = new Date(0);
  const record = { name: 'app', digest: sha256Digest('app'), platform: 'linux/amd64', lastUsed };
  const bytes = { tocBytes: 1, windowBytes: 20, spanBytes: 300, backingBytes: 4000 };
  const usage = { digest, ...bytes, spansPresent: 1, spansTotal: 1, lastUsed };
  const [image] = knownImages([{ ...record, layers: [{ digest, size: 9 }] }], [usage]);
  expect(image?.cachedBytes).toBe(4321);
});
