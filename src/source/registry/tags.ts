/** The tags of a repository. Source: distribution-spec, "Listing Tags". */
import { PeelError } from '../../errors.ts';
import type { RegistryReference } from '../../reference/registry-reference.ts';
import type { RegistryOptions } from './options.ts';
import { pagesOf } from './pages.ts';
import { RegistryClient } from './registry-client.ts';

const TAGS_PER_PAGE = 1000;

/** Page by page, in the order of the registry. @throws PeelError */
export async function* listTags(
  reference: RegistryReference,
  options: RegistryOptions,
  signal?: AbortSignal,
): AsyncGenerator<readonly string[], void, undefined> {
  const client = new RegistryClient(reference, options);
  const doing = `tags of ${reference.registry}/${reference.repository}`;
  try {
    for await (const page of pagesOf(client, 'tags/list', `?n=${TAGS_PER_PAGE}`, doing, signal)) {
      // null where a repository has lost its last tag.
      const tags = page['tags'] ?? [];
      if (!Array.isArray(tags) || !tags.every((tag) => typeof tag === 'string')) {
        throw new PeelError('ERR_REGISTRY_RESPONSE', `${doing}: 'tags' is no list of names`);
      }
      yield tags;
    }
  } finally {
    await client.close();
  }
}
