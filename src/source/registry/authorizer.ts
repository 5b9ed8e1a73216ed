/**
 * The Authorization header for one repository on one registry host. An authorizer belongs to exactly one
 * scheme, host, port, repository and action (pull, or pull and push), so that nothing it knows can reach another.
 *
 *   no challenge yet --401--> credential and token --near its end--> a new token
 *                                  |  401 again: one renewal for all who wait, then the refusal
 *                                  v
 *                             refused, remembered for a while: readers do not knock again and again
 */
import { isPeelError, PeelError } from '../../errors.ts';
import type { CredentialFinder, FoundCredential } from './credentials.ts';
import { untilAborted } from './deadline.ts';
import type { HttpAnswer, HttpRequest } from './exchange.ts';
import type { HostConfig } from './host-config.ts';
import type { Limits } from './options.ts';
import { errorTextOf, quoteServerText, type Secrets } from './server-text.ts';
import { basicHeader, fetchToken } from './token.ts';
import { type Challenge, parseChallenges } from './www-authenticate.ts';

export interface AuthorizerContext {
  readonly host: HostConfig;
  readonly repository: string;
  readonly isPushing: boolean;
  readonly mountFrom: string | undefined;
  readonly finder: CredentialFinder;
  readonly trustedRealms: readonly string[];
  readonly limits: Limits;
  readonly secrets: Secrets;
  readonly userAgent: string;
  readonly isPlain: () => boolean;
  /** Sends a request to a token server, with retries and a deadline of its own. */
  readonly sendToRealm: (request: HttpRequest) => Promise<HttpAnswer>;
}

interface Grant {
  readonly header: string;
  /** By the monotonic clock; undefined: does not age. */
  readonly staleAt: number | undefined;
  readonly challenge: Challenge;
  readonly found: FoundCredential | undefined;
}

interface Refusal {
  readonly error: PeelError;
  readonly until: number;
}

/** A token is renewed when so much of its life is over. */
const FRESH_SHARE = 0.9;
const HEADER_TEXT = /^[\x20-\x7e]+$/;

export class Authorizer {
  readonly #context: AuthorizerContext;
  #grant: Grant | undefined;
  #renewal: Promise<void> | undefined;
  #refusal: Refusal | undefined;

  constructor(context: AuthorizerContext) {
    this.#context = context;
  }

  /** The header to send, or undefined as long as the host has not asked for any. @throws a remembered refusal. */
  async header(signal: AbortSignal | undefined): Promise<string | undefined> {
    if (this.#refusal !== undefined && performance.now() < this.#refusal.until) {
      throw this.#refusal.error;
    }
    const grant = this.#grant;
    if (grant?.staleAt !== undefined && performance.now() >= grant.staleAt) {
      await untilAborted(this.#renew(grant.challenge), signal).catch((error: unknown) => {
        // A token server that is down for a moment is no reason to fail while the old token may still do.
        if (signal?.aborted === true || isPeelError(error, 'ERR_AUTH_REFUSED')) {
          throw error;
        }
      });
    }
    return this.#grant?.header;
  }

  /**
   * Meets a 401 that came although `used` was sent. After it the request may be sent once more.
   * @throws PeelError ERR_AUTH_REFUSED when there is nothing better to send.
   */
  async answer(
    wwwAuthenticate: readonly string[],
    used: string | undefined,
    body: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (this.#grant !== undefined && this.#grant.header !== used) {
      // Another request has renewed it meanwhile.
      return;
    }
    const challenges = parseChallenges(wwwAuthenticate);
    const challenge =
      challenges.find(({ scheme }) => scheme === 'bearer') ??
      challenges.find(({ scheme }) => scheme === 'basic');
    if (challenge === undefined) {
      const offered = challenges.map(({ scheme }) => scheme).join(', ');
      throw this.#refuse(
        offered === ''
          ? 'it did not say how to log in (no WWW-Authenticate)'
          : `it asks for ${quoteServerText(offered, this.#context.secrets)}; Basic and Bearer are understood`,
        body,
      );
    }
    await untilAborted(this.#renew(challenge, used, body), signal);
  }

  /** The request was refused although the header was as new as it can be. */
  refused(status: number, body: string): PeelError {
    const { found } = this.#grant ?? {};
    const who =
      found === undefined ? 'a request without credentials' : `the credentials from ${found.source}`;
    return this.#refuse(`it refused ${who} with status ${status}`, body, status, status === 401);
  }

  /** Credentials may have changed: forget what was learned with the old ones. */
  reload(): void {
    this.#grant = undefined;
    this.#refusal = undefined;
  }

  /** One renewal at a time, for all who wait; it does not end with one waiter's interruption. */
  #renew(challenge: Challenge, used?: string, body = ''): Promise<void> {
    this.#renewal ??= this.#obtain(challenge, used, body)
      .then((grant) => {
        this.#grant = grant;
      })
      .catch((error: unknown) => {
        if (error instanceof PeelError && error.code === 'ERR_AUTH_REFUSED') {
          this.#remember(error);
        }
        throw error;
      })
      .finally(() => {
        this.#renewal = undefined;
      });
    return this.#renewal;
  }

  async #obtain(challenge: Challenge, used: string | undefined, body: string): Promise<Grant> {
    const { host, repository, finder, secrets } = this.#context;
    const found = await finder.find(host.name, repository);
    const credential = found?.credential;
    for (const secret of [credential?.password, credential?.identityToken, credential?.registryToken]) {
      secrets.add(secret ?? '');
    }
    if (challenge.scheme === 'basic') {
      if (credential === undefined || (credential.username === '' && credential.password === '')) {
        throw this.#refuse('it asks for a user and a password, and there is none', body);
      }
      const header = basicHeader(credential.username, credential.password, secrets);
      if (header === used) {
        throw this.#refuse(`it refused the credentials from ${found?.source ?? '?'} with status 401`, body);
      }
      return { header, staleAt: undefined, challenge, found };
    }
    if (credential?.registryToken !== undefined) {
      const header = `Bearer ${credential.registryToken}`;
      if (header === used || !HEADER_TEXT.test(header)) {
        throw this.#refuse(`it refused the token from ${found?.source ?? '?'}`, body);
      }
      return { header, staleAt: undefined, challenge, found };
    }
    const token = await fetchToken(challenge, {
      registry: host.name,
      address: host.address,
      isPlain: this.#context.isPlain(),
      repository,
      isPushing: this.#context.isPushing,
      mountFrom: this.#context.mountFrom,
      trustedRealms: this.#context.trustedRealms,
      found,
      secrets,
      userAgent: this.#context.userAgent,
      send: this.#context.sendToRealm,
    });
    const staleAt = performance.now() + token.lifetimeMs * FRESH_SHARE;
    return { header: `Bearer ${token.value}`, staleAt, challenge, found };
  }

  #refuse(why: string, body: string, status = 401, isRemembered = true): PeelError {
    const { host, repository, secrets } = this.#context;
    const text = errorTextOf(body);
    const said = text === undefined ? '' : `: ${quoteServerText(text, secrets)}`;
    const error = new PeelError(
      'ERR_AUTH_REFUSED',
      `registry ${host.name}, repository ${repository}: ${why}${said}; it may not exist, or needs \`docker login ${host.name}\``,
      { facts: { host: host.name, status } },
    );
    if (isRemembered) {
      this.#remember(error);
    }
    return error;
  }

  #remember(error: PeelError): void {
    this.#refusal = { error, until: performance.now() + this.#context.limits.refusalMs };
  }
}
