/** What refers to a manifest or layer: distribution-spec "Listing Referrers", and the tag that stands in for it. */
import { isPeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { parseDescriptor } from '../../reference/parse-descriptor.ts';
import { parseDocument } from '../../reference/parse-document.ts';
import type { JsonValue } from '../../reference/parse-json.ts';
import { pagesOf } from './pages.ts';
import type { RegistryClient } from './registry-client.ts';

/** Anybody may attach more. */
const MAX_REFERRERS = 64;

/**
 * Those of one type, in the order of the registry, at most 64. `fetchTag` gets the index under the fallback tag, where
 * the registry has no such list. @throws PeelError, ERR_IMAGE_NOT_FOUND where there is neither.
 */
export async function listReferrers(
  client: RegistryClient,
  subject: string,
  artifactType: string,
  fetchTag: (tag: string) => Promise<Buffer>,
  signal: AbortSignal | undefined,
): Promise<Descriptor[]> {
  const found: Descriptor[] = [];
  // A registry may filter (OCI-Filters-Applied) or not: it is done here in each case.
  const take = (manifests: readonly Descriptor[]): boolean => {
    found.push(...manifests.filter((each) => each.artifactType === artifactType));
    return found.length >= MAX_REFERRERS;
  };
  try {
    const query = `?artifactType=${encodeURIComponent(artifactType)}`;
    for await (const page of pagesOf(
      client,
      `referrers/${subject}`,
      query,
      `referrers of ${subject}`,
      signal,
    )) {
      const manifests = Array.isArray(page['manifests']) ? (page['manifests'] as JsonValue[]) : [];
      if (take(manifests.map((value, at) => parseDescriptor(value, `referrers, manifests[${at}]`)))) break;
    }
  } catch (error) {
    if (!isPeelError(error, 'ERR_IMAGE_NOT_FOUND')) throw error;
    const index = parseDocument(await fetchTag(subject.replace(':', '-')));
    if (index.kind === 'index') take(index.manifests);
  }
  return found.slice(0, MAX_REFERRERS);
}
