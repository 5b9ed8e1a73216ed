/** Where a redirect, or a descriptor, may lead. Which address that is in the end, connect.ts decides. */
import { PeelError } from '../../errors.ts';
import type { HttpAnswer } from './exchange.ts';
import { quoteServerText, type Secrets } from './server-text.ts';

const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export function isRedirect(status: number): boolean {
  return REDIRECT_STATUSES.has(status);
}

/** @throws PeelError ERR_REGISTRY_RESPONSE for a target that is no place to go to. */
export function redirectTarget(answer: HttpAnswer, doing: string, secrets: Secrets): URL {
  const location = answer.header('location');
  const refuse = (why: string): PeelError =>
    new PeelError(
      'ERR_REGISTRY_RESPONSE',
      `${doing}: redirected to ${quoteServerText(withoutSecrets(location ?? ''), secrets)}: ${why}`,
      { facts: { status: answer.status } },
    );
  if (location === undefined || location === '') {
    throw refuse('the answer has no Location');
  }
  const target = parseTarget(location, answer.url, refuse, secrets);
  if (target.protocol === 'http:' && answer.url.protocol === 'https:') {
    throw refuse('it leaves TLS');
  }
  return target;
}

/** A place that a descriptor names for its blob. @throws PeelError ERR_DOCUMENT_INVALID */
export function parseForeignURL(text: string, doing: string, secrets: Secrets): URL {
  const refuse = (why: string): PeelError =>
    new PeelError(
      'ERR_DOCUMENT_INVALID',
      `${doing}: the image says that it lies at ${quoteServerText(withoutSecrets(text), secrets)}: ${why}`,
    );
  return parseTarget(text, undefined, refuse, secrets);
}

/** Without the query, which often is a signature that opens the blob to whoever reads the log, and without credentials. */
function withoutSecrets(url: string): string {
  return (url.split(/[?#]/, 1)[0] ?? '').replace(/\/\/[^/]*@/, '//');
}

function parseTarget(
  text: string,
  base: URL | undefined,
  refuse: (why: string) => PeelError,
  secrets: Secrets,
): URL {
  let target: URL;
  try {
    target = new URL(text, base);
  } catch {
    throw refuse('it is not a URL');
  }
  if (target.protocol !== 'https:' && target.protocol !== 'http:') {
    throw refuse('it is neither https nor http');
  }
  if (target.username !== '' || target.password !== '') {
    throw refuse('it carries credentials');
  }
  if (secrets.redact(target.href) !== target.href) {
    throw refuse('it carries what was sent to the registry');
  }
  target.hash = '';
  return target;
}
