/**
 * Lists that a registry serves in pages: tags, referrers. The next page is what `Link: <...>; rel="next"` says; only
 * its query is taken, so that a page can lead nowhere but to the same list of the same registry.
 */
import { PeelError } from '../../errors.ts';
import { isRecord } from '../is-record.ts';
import { readBody } from './read-body.ts';
import type { RegistryClient } from './registry-client.ts';

/** A hostile registry has always one more page. */
const MAX_PAGES = 10_000;
const MAX_PAGE_BYTES = 4 * 1024 * 1024;

/**
 * The pages of the list at `path`, below the repository, each a JSON object.
 * @throws PeelError ERR_IMAGE_NOT_FOUND where there is no such list, ERR_REGISTRY_RESPONSE for what is no page,
 * ERR_LIMIT_EXCEEDED where there is no end to it.
 */
export async function* pagesOf(
  client: RegistryClient,
  path: string,
  query: string,
  doing: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Readonly<Record<string, unknown>>, void, undefined> {
  const asked = new Set<string>();
  let next: string | undefined = query;
  while (next !== undefined) {
    if (asked.has(next) || asked.size === MAX_PAGES) {
      const found = asked.has(next)
        ? 'the next page is one that was there before'
        : `over ${MAX_PAGES} pages`;
      throw new PeelError('ERR_LIMIT_EXCEEDED', `${doing}: ${found}`);
    }
    asked.add(next);
    const { page, link } = await fetchPage(client, `${path}${next}`, doing, signal);
    yield page;
    next = nextQuery(link);
  }
}

async function fetchPage(
  client: RegistryClient,
  path: string,
  doing: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly page: Readonly<Record<string, unknown>>; readonly link: readonly string[] }> {
  const operation = client.operation(doing, signal);
  for (;;) {
    const headers = { accept: 'application/json, application/vnd.oci.image.index.v1+json' };
    const got = await client.request({ path, headers, doing, accepted: [200], isByTag: true }, operation);
    const bytes = await readBody(client, got, MAX_PAGE_BYTES, doing, operation);
    if (bytes === undefined) continue;
    return { page: parsePage(bytes, doing, got.host.config.name), link: got.answer.headers('link') };
  }
}

function parsePage(bytes: Buffer, doing: string, host: string): Readonly<Record<string, unknown>> {
  let page: unknown;
  try {
    page = JSON.parse(bytes.toString('utf8'));
  } catch {
    // The parser's message quotes what the server sent.
  }
  if (isRecord(page)) return page;
  throw new PeelError('ERR_REGISTRY_RESPONSE', `${doing}: ${host} answered with what is no JSON object`, {
    facts: { host },
  });
}

/** The query of the next page, with its question mark. */
function nextQuery(links: readonly string[]): string | undefined {
  const text = links.join(', ');
  // Each byte is looked at a few times, whatever the header has: `<` without an end is the last that is looked at.
  for (let start = text.indexOf('<'); start !== -1; ) {
    const end = text.indexOf('>', start);
    if (end === -1) return undefined;
    const following = text.indexOf('<', end);
    const parameters = text.slice(end + 1, following === -1 ? undefined : following);
    const question = text.slice(start, end).indexOf('?');
    if (question !== -1 && /;\s*rel="?next"?\s*(?:[;,]|$)/i.test(parameters)) {
      return text.slice(start + question, end);
    }
    start = following;
  }
  return undefined;
}
