/** Reading through the registry client in tests: a source that waits for nothing and knows nothing of this machine. */
import type { Descriptor } from '../../src/reference/descriptor.ts';
import { parseRegistryReference } from '../../src/reference/registry-reference.ts';
import { openRegistry, type RegistryOptions } from '../../src/source/registry/registry-source.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { compressed } from '../../src/units.ts';

/** No credentials, no hosts files, back-offs of a millisecond; a deadline that ends a broken test. */
const BARE: RegistryOptions = { env: {}, certsDir: '/nonexistent', backoffMs: 1, deadlineMs: 20_000 };

export function openBare(name: string, options: RegistryOptions = {}): ImageSource {
  return openRegistry(parseRegistryReference(name), { ...BARE, ...options });
}

export async function readRange(
  source: ImageSource,
  descriptor: { readonly mediaType: string; readonly digest: string; readonly size: number },
  start = 0,
  end = descriptor.size,
  signal?: AbortSignal,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const blob = source.openBlob(descriptor as Descriptor);
  for await (const chunk of blob.fetch({ start: compressed(start), end: compressed(end) }, signal)) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** What `promise` is rejected with; fails where it is not. */
export async function failureOf(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) {
      return error;
    }
    throw new TypeError('rejected with something that is no Error', { cause: error });
  }
  throw new Error('expected a failure, got none');
}
