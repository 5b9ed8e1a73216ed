/** What refers to a manifest or layer: distribution-spec "Listing Referrers", and the tag that stands in for it. */
import { isPeelError, PeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import { parseDescriptor } from '../../reference/parse-descriptor.ts';
import type { JsonValue } from '../../reference/parse-json.ts';
import { isRecord } from '../is-record.ts';
import { pagesOf } from './pages.ts';
import type { RegistryClient } from './registry-client.ts';

/** Anybody may attach more. */
const MAX_REFERRERS = 64;
/** Of all types; registries that do not filter send them all. */
const MAX_PAGES = 100;

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
  const take = (list: Readonly<Record<string, unknown>>): boolean => {
    found.push(...descriptorsOf(list).filter((each) => each.artifactType === artifactType));
    return found.length >= MAX_REFERRERS;
  };
  try {
    const query = `?artifactType=${encodeURIComponent(artifactType)}`;
    const doing = `referrers of ${subject}`;
    let count = 0;
    for await (const page of pagesOf(client, `referrers/${subject}`, query, doing, signal)) {
      count += 1;
      if (take(page) || count === MAX_PAGES) break;
    }
  } catch (error) {
    if (!isPeelError(error, 'ERR_IMAGE_NOT_FOUND')) throw error;
    const tag = subject.replace(':', '-');
    take(parseList(await fetchTag(tag), tag));
  }
  return found.slice(0, MAX_REFERRERS);
}

/** What other tools attach may be malformed, or of a kind that is not known here: it is passed over. */
function descriptorsOf(list: Readonly<Record<string, unknown>>): Descriptor[] {
  const manifests = Array.isArray(list['manifests']) ? (list['manifests'] as JsonValue[]) : [];
  return manifests.flatMap((value, at) => {
    try {
      return [parseDescriptor(value, `referrers, manifests[${at}]`)];
    } catch (error) {
      if (!isPeelError(error)) throw error;
      return [];
    }
  });
}

function parseList(bytes: Buffer, tag: string): Readonly<Record<string, unknown>> {
  let list: unknown;
  try {
    list = JSON.parse(bytes.toString('utf8'));
  } catch {
    // The parser's message quotes what the server sent.
  }
  if (isRecord(list)) return list;
  throw new PeelError(
    'ERR_REGISTRY_RESPONSE',
    `the tag ${tag}, which lists what refers to it, is no JSON object`,
  );
}
