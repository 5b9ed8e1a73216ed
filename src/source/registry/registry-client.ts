/**
 * The hosts of one repository, mirrors first: the first that has a good answer gives it. A mirror gets one
 * try, and is passed over for a while once it has failed; the registry itself, the last, gets them all.
 */
import { isPeelError, PeelError } from '../../errors.ts';
import { log } from '../../log.ts';
import type { RegistryReference } from '../../reference/registry-reference.ts';
import { CredentialFinder } from './credentials.ts';
import { Deadline, Tries } from './deadline.ts';
import type { Counters, HttpAnswer } from './exchange.ts';
import { readHosts } from './hosts-file.ts';
import { type Limits, limitsOf, type RegistryOptions } from './options.ts';
import { type HostContext, type HostRequest, type Operation, RegistryHost } from './registry-host.ts';
import { Secrets } from './server-text.ts';

export interface ClientRequest extends Pick<HostRequest, 'method' | 'body' | 'isOnce'> {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly doing: string;
  /** Statuses that are a good answer. */
  readonly accepted: readonly number[];
  /** Needs a host that resolves tags. */
  readonly isByTag: boolean;
  /** Asked in place of the registry: see HostRequest. */
  readonly foreign?: URL | undefined;
  /** Asked in place of the path, of the same host: where an upload goes on. */
  readonly location?: URL | undefined;
  /** Where each host's redirect led before; the client keeps it up to date. */
  readonly locations?: Map<RegistryHost, URL>;
}

export interface Pushing {
  /** The repository that blobs are mounted from, where there is one. */
  readonly mountFrom?: string;
}

export interface ClientAnswer {
  readonly answer: HttpAnswer;
  readonly host: RegistryHost;
}

/** What a stored location of a blob answers when its time is over: S3 403, GCS 400, others 401, 404, 410. */
const EXPIRED_STATUSES: ReadonlySet<number> = new Set([400, 401, 403, 404, 410]);

export class RegistryClient {
  readonly counters: Counters = { requests: 0, bytesFetched: 0 };
  readonly secrets = new Secrets();
  /** A host was seen to send whole blobs where a part was asked for. */
  ignoresRanges = false;
  readonly #reference: RegistryReference;
  readonly #pushing: Pushing | undefined;
  readonly #options: RegistryOptions;
  readonly #limits: Limits;
  /** Until when a mirror is passed over, by the monotonic clock. */
  readonly #demoted = new Map<RegistryHost, number>();
  #hosts: Promise<readonly RegistryHost[]> | undefined;
  /** Hosts from before a reload: streams that run on them end by themselves. */
  readonly #retired: RegistryHost[] = [];
  #isClosed = false;

  /** `pushing`: the registry itself is asked alone, with tokens that allow to push. */
  constructor(reference: RegistryReference, options: RegistryOptions, pushing?: Pushing) {
    this.#reference = reference;
    this.#pushing = pushing;
    this.#options = options;
    this.#limits = limitsOf(options);
  }

  operation(what: string, signal: AbortSignal | undefined): Operation {
    const deadline = new Deadline(this.#limits.deadlineMs, what);
    return { deadline, tries: new Tries(this.#limits, deadline), signal };
  }

  /** An answer with one of the accepted statuses. @throws PeelError of the last host that was asked. */
  async request(request: ClientRequest, operation: Operation): Promise<ClientAnswer> {
    const hosts = await this.#usableHosts(request);
    for (const [index, host] of hosts.entries()) {
      const isLast = index === hosts.length - 1;
      try {
        return await this.#requestFrom(host, request, operation, isLast);
      } catch (error) {
        if (isLast || !isOfHost(error)) {
          throw error;
        }
        // A mirror that merely lacks the image, or keeps it from us, is well.
        if (!isPeelError(error, 'ERR_IMAGE_NOT_FOUND') && !isPeelError(error, 'ERR_AUTH_REFUSED')) {
          this.demote(host);
        }
        log().info({ host: host.config.name }, `mirror passed over: ${error.message}`);
      }
    }
    throw new PeelError('ERR_USAGE', `${request.doing}: no host of ${this.#reference.registry} may be asked`);
  }

  /** The host failed in the middle of an answer: others first, for a while. */
  demote(host: RegistryHost): void {
    this.#demoted.set(host, performance.now() + this.#limits.demoteMs);
  }

  /** As `demote`; false for the registry itself, which has nothing behind it. */
  async demoteMirror(host: RegistryHost): Promise<boolean> {
    const last = (await this.#hosts)?.at(-1);
    this.demote(host);
    return host !== last;
  }

  /** Reads credentials and hosts.toml again with the next request. */
  async reload(): Promise<void> {
    const hosts = await this.#hosts?.catch(() => undefined);
    this.#hosts = undefined;
    this.#demoted.clear();
    for (const host of hosts ?? []) {
      host.reload();
      this.#retired.push(host);
    }
  }

  /** Ends all connections; idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const hosts = await this.#hosts?.catch(() => undefined);
    await Promise.all([...(hosts ?? []), ...this.#retired].map((host) => host.close()));
  }

  async #requestFrom(
    host: RegistryHost,
    request: ClientRequest,
    operation: Operation,
    isLast: boolean,
  ): Promise<ClientAnswer> {
    let isFirst = true;
    for (;;) {
      const hostRequest: HostRequest = {
        ...request,
        location: request.location ?? request.locations?.get(host),
      };
      const got = await host.request(hostRequest, operation, isLast);
      if (request.accepted.includes(got.answer.status)) {
        if (got.foreignURL !== undefined && request.foreign === undefined) {
          request.locations?.set(host, got.foreignURL);
        }
        return { answer: got.answer, host };
      }
      request.locations?.delete(host);
      if (
        isFirst &&
        got.foreignURL !== undefined &&
        request.foreign === undefined &&
        request.location === undefined &&
        EXPIRED_STATUSES.has(got.answer.status)
      ) {
        // The place that the registry named is gone; it may name a new one.
        isFirst = false;
        await got.answer.excerpt();
        continue;
      }
      throw await host.failure(got, request.doing);
    }
  }

  async #usableHosts(request: ClientRequest): Promise<readonly RegistryHost[]> {
    this.#hosts ??= this.#openHosts();
    const able = (await this.#hosts).filter(({ config }) =>
      request.isByTag ? config.mayResolveTags : config.mayPull,
    );
    // What lies elsewhere is asked for once, by the rules of the registry itself.
    if (request.foreign !== undefined || this.#pushing !== undefined) return able.slice(-1);
    const now = performance.now();
    const isWell = (host: RegistryHost): boolean => (this.#demoted.get(host) ?? 0) <= now;
    // The last one is asked in any case: there is nothing behind it.
    return able.filter((host, index) => index === able.length - 1 || isWell(host));
  }

  async #openHosts(): Promise<readonly RegistryHost[]> {
    if (this.#isClosed) {
      throw new PeelError('ERR_INTERRUPTED', 'the registry was closed');
    }
    const configs = await readHosts(this.#reference.registry, this.#options);
    const context: HostContext = {
      registry: this.#reference.registry,
      repository: this.#reference.repository,
      isPushing: this.#pushing !== undefined,
      mountFrom: this.#pushing?.mountFrom,
      options: this.#options,
      limits: this.#limits,
      counters: this.counters,
      secrets: this.secrets,
      finder: new CredentialFinder(this.#options),
    };
    return configs.map((config) => new RegistryHost(config, context));
  }
}

/** Another host may do better; a caller that gave up, or a deadline that passed, ends it all. */
function isOfHost(error: unknown): error is PeelError {
  return (
    error instanceof PeelError &&
    ['ERR_IMAGE_NOT_FOUND', 'ERR_AUTH_REFUSED', 'ERR_REGISTRY_UNREACHABLE', 'ERR_REGISTRY_RESPONSE'].includes(
      error.code,
    )
  );
}
