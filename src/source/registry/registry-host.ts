/**
 * One registry host at work: requests to it with its credentials, redirects followed, failures tried again.
 */
import { PeelError, throwIfAborted } from '../../errors.ts';
import { log } from '../../log.ts';
import { Authorizer } from './authorizer.ts';
import type { CredentialFinder } from './credentials.ts';
import { Deadline, Tries, untilAborted } from './deadline.ts';
import { type Counters, Exchanger, type HttpAnswer, type HttpRequest, type Method } from './exchange.ts';
import type { HostConfig } from './host-config.ts';
import { type Limits, MAX_REDIRECTS, type RegistryOptions } from './options.ts';
import { probeTLS } from './probe-tls.ts';
import { isRedirect, redirectTarget } from './redirect.ts';
import { isRetryableStatus, parseRetryAfter } from './retry-after.ts';
import { errorTextOf, quoteServerText, type Secrets } from './server-text.ts';
import { TransportFailure } from './transport-failure.ts';

/** What all hosts of a source share. */
export interface HostContext {
  readonly registry: string;
  readonly repository: string;
  /** Tokens are asked for that allow to push. */
  readonly isPushing: boolean;
  /** And to pull from this repository, blobs of which are mounted in the one that is pushed to. */
  readonly mountFrom: string | undefined;
  readonly options: RegistryOptions;
  readonly limits: Limits;
  readonly counters: Counters;
  readonly secrets: Secrets;
  readonly finder: CredentialFinder;
}

/** What a request is for. */
export interface HostRequest {
  /** Default GET. Redirects of what writes are not followed: they are the answer. */
  readonly method?: Method | undefined;
  readonly body?: Buffer | undefined;
  /** Below the repository: `manifests/latest`, `blobs/sha256:...`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Where a redirect led before: asked instead of the registry. */
  readonly location?: URL | undefined;
  /** A place that the image names: asked instead of the registry, and given nothing that is the registry's. */
  readonly foreign?: URL | undefined;
  /**
   * What is sent is not sent again as it is: a connection that broke is thrown as TransportFailure, and any status is
   * an answer but a 401 that credentials help against.
   */
  readonly isOnce?: boolean | undefined;
  /** For messages: `manifest latest of localhost:5000/x`. */
  readonly doing: string;
}

/** The limits of the operation that a request belongs to. */
export interface Operation {
  readonly deadline: Deadline;
  readonly tries: Tries;
  readonly signal: AbortSignal | undefined;
}

/** An answer with any status but those that were followed, answered or tried again. */
export interface HostAnswer {
  readonly answer: HttpAnswer;
  /** Where the redirects led to, when that is not this host. */
  readonly foreignURL: URL | undefined;
}

interface SentAnswer extends HostAnswer {
  /** The Authorization that was sent with the last hop. */
  readonly used: string | undefined;
}

const DEFAULT_USER_AGENT = 'peel';

export class RegistryHost {
  readonly config: HostConfig;
  readonly #context: HostContext;
  readonly #exchanger: Exchanger;
  readonly #authorizer: Authorizer;
  readonly #userAgent: string;
  #scheme: 'https' | 'http';
  #isSchemeKnown = false;
  #probe: ReturnType<typeof probeTLS> | undefined;
  /** It answered a range request with the whole blob. */
  #ignoresRanges = false;

  constructor(config: HostConfig, context: HostContext) {
    const { options, limits, counters, secrets } = context;
    this.config = config;
    this.#context = context;
    this.#scheme = config.scheme;
    this.#userAgent = options.userAgent ?? DEFAULT_USER_AGENT;
    this.#exchanger = new Exchanger(config, options, limits, counters, secrets);
    this.#authorizer = new Authorizer({
      host: config,
      repository: context.repository,
      isPushing: context.isPushing,
      mountFrom: context.mountFrom,
      finder: context.finder,
      trustedRealms: options.trustedRealms ?? [],
      limits,
      secrets,
      userAgent: this.#userAgent,
      isPlain: () => this.#scheme === 'http',
      sendToRealm: (request) => this.#sendToRealm(request),
    });
  }

  get ignoresRanges(): boolean {
    return this.#ignoresRanges;
  }

  noteRangesIgnored(): void {
    if (!this.#ignoresRanges) {
      this.#ignoresRanges = true;
      log().warn(
        { host: this.config.name },
        'the registry ignores Range: each read fetches a layer from its beginning',
      );
    }
  }

  /**
   * Sends a request until there is an answer that another try would not better. `isRetrying` false: one try,
   * because another host can be asked.
   * @throws PeelError
   */
  async request(request: HostRequest, operation: Operation, isRetrying: boolean): Promise<HostAnswer> {
    const { tries, signal } = operation;
    let isRenewed = false;
    await untilAborted(this.#chooseScheme(), signal);
    for (;;) {
      throwIfAborted(signal, request.doing);
      let sent: SentAnswer;
      try {
        sent = await this.#follow(request, operation);
      } catch (error) {
        if (!(error instanceof TransportFailure) || request.isOnce === true) {
          throw error;
        }
        const failure = error.toError(request.doing, this.config.name);
        if (!error.isRetryable || !isRetrying) {
          throw failure;
        }
        await tries.wait(failure, signal);
        continue;
      }
      const { answer, foreignURL, used } = sent;
      if (answer.status === 401 && foreignURL === undefined) {
        const challenges = answer.headers('www-authenticate');
        const body = await answer.excerpt();
        if (isRenewed) {
          throw this.#authorizer.refused(401, body);
        }
        isRenewed = true;
        await this.#authorizer.answer(challenges, used, body, signal);
        continue;
      }
      if (isRetryableStatus(answer.status) && request.isOnce !== true) {
        const retryAfterMs = parseRetryAfter(answer.header('retry-after'), Date.now());
        const failure = await this.failure(sent, request.doing);
        if (!isRetrying) {
          throw failure;
        }
        await tries.wait(failure, signal, retryAfterMs);
        continue;
      }
      return sent;
    }
  }

  /** The error for an answer whose status is not the one that was hoped for. Reads and closes it. */
  async failure({ answer, foreignURL }: HostAnswer, doing: string): Promise<PeelError> {
    const body = await answer.excerpt();
    const { status } = answer;
    if ((status === 401 || status === 403) && foreignURL === undefined) {
      return this.#authorizer.refused(status, body);
    }
    const text = errorTextOf(body);
    const said = text === undefined ? '' : `: ${quoteServerText(text, this.#context.secrets)}`;
    const where =
      foreignURL === undefined
        ? this.config.name
        : `${quoteServerText(foreignURL.host, this.#context.secrets)}, where ${this.config.name} redirected to,`;
    const isMissing = status === 404 || status === 410;
    return new PeelError(
      isMissing ? 'ERR_IMAGE_NOT_FOUND' : 'ERR_REGISTRY_RESPONSE',
      `${doing}: ${where} answered with status ${status}${status === 429 ? ' (too many requests)' : ''}${said}`,
      { facts: { host: this.config.name, status } },
    );
  }

  reload(): void {
    this.#authorizer.reload();
  }

  close(): Promise<void> {
    return this.#exchanger.close();
  }

  /** One try: the request and the redirects that it meets. */
  async #follow(request: HostRequest, { deadline, signal }: Operation): Promise<SentAnswer> {
    const { secrets } = this.#context;
    let url = request.foreign ?? request.location ?? this.#urlOf(request.path);
    const method = request.method ?? 'GET';
    let hasLeft = request.foreign !== undefined;
    for (let hops = 0; ; hops += 1) {
      const isForeign = !this.#isOwn(url);
      const isUntrusted = isForeign || request.foreign !== undefined;
      // Once a foreign host has said where to go next, it does not get our credentials used there.
      hasLeft ||= isForeign;
      const used = hasLeft ? undefined : await this.#authorizer.header(signal);
      const headers = {
        ...(isUntrusted ? {} : this.config.headers),
        ...request.headers,
        'accept-encoding': 'identity',
        'user-agent': this.#userAgent,
        ...(used === undefined ? {} : { authorization: used }),
      };
      const answer = await this.#exchanger.send(
        { method, url, headers, ...(request.body === undefined ? {} : { body: request.body }) },
        isUntrusted,
        deadline,
        signal,
      );
      if (!isRedirect(answer.status) || (method !== 'GET' && method !== 'HEAD')) {
        return { answer, foreignURL: hasLeft ? url : undefined, used };
      }
      try {
        if (hops >= MAX_REDIRECTS) {
          throw new PeelError(
            'ERR_REGISTRY_RESPONSE',
            `${request.doing}: more than ${MAX_REDIRECTS} redirects`,
            {
              facts: { host: this.config.name },
            },
          );
        }
        url = redirectTarget(answer, request.doing, secrets);
      } catch (error) {
        answer.close();
        throw error;
      }
      await answer.excerpt();
    }
  }

  /** Token servers: no redirects, no credentials but what the request carries, a deadline of their own. */
  async #sendToRealm(request: HttpRequest): Promise<HttpAnswer> {
    const { limits, secrets } = this.#context;
    const host = quoteServerText(request.url.host, secrets);
    const doing = `token server ${host} of ${this.config.name}`;
    const deadline = new Deadline(limits.deadlineMs, doing);
    const tries = new Tries(limits, deadline);
    for (;;) {
      try {
        const answer = await this.#exchanger.send(request, !this.#isOwn(request.url), deadline, undefined);
        if (!isRetryableStatus(answer.status)) {
          return answer;
        }
        const retryAfterMs = parseRetryAfter(answer.header('retry-after'), Date.now());
        const text = errorTextOf(await answer.excerpt());
        const said = text === undefined ? '' : `: ${quoteServerText(text, secrets)}`;
        const failure = new PeelError(
          'ERR_REGISTRY_RESPONSE',
          `${doing} answered with status ${answer.status}${said}`,
        );
        await tries.wait(failure, undefined, retryAfterMs);
      } catch (error) {
        if (!(error instanceof TransportFailure)) {
          throw error;
        }
        const failure = error.toError(doing, host);
        if (!error.isRetryable) {
          throw failure;
        }
        await tries.wait(failure, undefined);
      }
    }
  }

  #urlOf(path: string): URL {
    const { config } = this;
    const { registry, repository } = this.#context;
    const url = new URL(`${this.#scheme}://${config.address}${config.basePath}/${repository}/${path}`);
    if (config.isProxy) {
      url.searchParams.set('ns', registry);
    }
    return url;
  }

  #isOwn(url: URL): boolean {
    return url.origin === new URL(`${this.#scheme}://${this.config.address}`).origin;
  }

  /** Loopback is spoken to without TLS where the server has none. Whoever comes first asks for all. */
  async #chooseScheme(): Promise<void> {
    if (!this.config.mayFallBackToPlain || this.#isSchemeKnown) {
      return;
    }
    this.#probe ??= probeTLS(this.config.address, this.#context.limits.connectMs);
    const answer = await this.#probe;
    this.#probe = undefined;
    this.#isSchemeKnown = answer !== 'unknown';
    this.#scheme = answer === 'no' ? 'http' : 'https';
  }
}
