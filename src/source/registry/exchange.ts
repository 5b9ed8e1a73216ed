/**
 * One HTTP exchange: a request, and its answer as it arrives. The only place that speaks to undici.
 *
 * Each registry host has two pools of connections: one to itself, with its certificates, and one to the hosts
 * that it names, without them and under the address rule of connect.ts.
 */
import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { PeelError } from '../../errors.ts';
import { log } from '../../log.ts';
import { connectorToForeign, connectorToNamed, ReachedKinds } from './connect.ts';
import { type Deadline, Watch } from './deadline.ts';
import type { HostConfig } from './host-config.ts';
import {
  type Limits,
  MAX_CONNECTIONS_PER_HOST,
  MAX_FOREIGN_ORIGINS,
  MAX_HEADER_BYTES,
  MAX_SMALL_BODY_BYTES,
  type RegistryOptions,
  SENT_AT_ONCE_BYTES,
  STALL_RATE,
} from './options.ts';
import type { Secrets } from './server-text.ts';
import { asTransportFailure, TransportFailure } from './transport-failure.ts';
import { Agent, requestOf, type UndiciAgent } from './undici-parts.ts';

/** What a source has asked so far. */
export interface Counters {
  requests: number;
  bytesFetched: number;
}

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface HttpRequest {
  readonly method: Method;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: string | Buffer;
}

/** An answer whose body is still to come. Whoever gets one reads it to its end or closes it. */
export class HttpAnswer {
  readonly status: number;
  readonly url: URL;
  readonly #headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly #body: Dispatcher.ResponseData['body'];
  readonly #watch: Watch;
  readonly #limits: Limits;
  readonly #counters: Counters;
  readonly #deadline: Deadline;

  constructor(
    data: Dispatcher.ResponseData,
    url: URL,
    watch: Watch,
    deadline: Deadline,
    limits: Limits,
    counters: Counters,
  ) {
    this.status = data.statusCode;
    this.url = url;
    this.#headers = data.headers;
    this.#body = data.body;
    this.#watch = watch;
    this.#deadline = deadline;
    this.#limits = limits;
    this.#counters = counters;
    // An error that comes while nobody reads is met by the next read.
    this.#body.on('error', () => {});
  }

  /** The values of a header, in order; empty where it is absent. `name` in lower case. */
  headers(name: string): readonly string[] {
    const value = Object.hasOwn(this.#headers, name) ? this.#headers[name] : undefined;
    return value === undefined ? [] : typeof value === 'string' ? [value] : value;
  }

  /** The value of a header that may stand only once: undefined when absent, the first when repeated. */
  header(name: string): string | undefined {
    return this.headers(name)[0];
  }

  /** Content-Length, or undefined where it is absent or no number. */
  contentLength(): number | undefined {
    const text = this.header('content-length');
    const length = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : undefined;
    return length !== undefined && Number.isSafeInteger(length) ? length : undefined;
  }

  /**
   * The body as it arrives, under the stall rule and the deadline; time that the reader takes does not count.
   * Ending the iteration early ends the request.
   */
  async *read(): AsyncGenerator<Buffer, void, undefined> {
    const enough = (this.#limits.stallMs / 1000) * STALL_RATE;
    let waitedMs = 0;
    let arrived = 0;
    const iterator = this.#body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    try {
      for (;;) {
        const askedAt = performance.now();
        this.#watch.arm(this.#limits.stallMs - waitedMs, () => stalled(arrived, this.#limits.stallMs));
        const step = await iterator.next();
        this.#watch.disarm();
        if (step.done === true) {
          return;
        }
        const chunk = step.value;
        waitedMs += performance.now() - askedAt;
        arrived += chunk.length;
        this.#counters.bytesFetched += chunk.length;
        if (arrived >= enough) {
          waitedMs = 0;
          arrived = 0;
        } else if (waitedMs >= this.#limits.stallMs) {
          throw stalled(arrived, this.#limits.stallMs);
        }
        const givenAt = performance.now();
        yield chunk;
        this.#deadline.extend(performance.now() - givenAt);
      }
    } catch (error) {
      throw this.#reasonOf(error);
    } finally {
      this.close();
    }
  }

  /** The whole body. @throws PeelError ERR_LIMIT_EXCEEDED past `maxBytes`, before more is read. */
  async readAll(maxBytes: number, what: string): Promise<Buffer> {
    const tooLong = (): PeelError =>
      new PeelError('ERR_LIMIT_EXCEEDED', `${what}: the answer is longer than ${maxBytes} bytes`);
    if ((this.contentLength() ?? 0) > maxBytes) {
      this.close();
      throw tooLong();
    }
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of this.read()) {
      length += chunk.length;
      if (length > maxBytes) {
        throw tooLong();
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, length);
  }

  /** The beginning of an error's body, whatever becomes of the rest. Reading it keeps the connection usable. */
  async excerpt(): Promise<string> {
    const chunks: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of this.read()) {
        chunks.push(chunk);
        length += chunk.length;
        if (length >= MAX_SMALL_BODY_BYTES) {
          break;
        }
      }
    } catch {
      // What came is enough to say; the status decides.
    }
    return Buffer.concat(chunks).subarray(0, MAX_SMALL_BODY_BYTES).toString('utf8');
  }

  /** Ends the request where its body has not ended; idempotent. */
  close(): void {
    this.#watch.close();
    if (!this.#body.readableEnded) {
      this.#body.destroy();
    }
  }

  #reasonOf(error: unknown): PeelError | TransportFailure {
    const { signal } = this.#watch;
    return asTransportFailure(signal.aborted ? signal.reason : error);
  }
}

function stalled(arrived: number, stallMs: number): TransportFailure {
  return new TransportFailure(`the transfer stalled: ${arrived} bytes in ${stallMs / 1000} s`, {
    isRetryable: true,
  });
}

/** A long body goes out in pieces, with a word for each that was taken: a slow connection is no missing answer. */
function sentBody(
  { body, headers }: HttpRequest,
  onProgress: () => void,
): Pick<Dispatcher.RequestOptions, 'headers' | 'body'> {
  if (typeof body === 'string' || body === undefined || body.length <= SENT_AT_ONCE_BYTES) {
    return { headers: { ...headers }, body: body ?? null };
  }
  const pieces = function* (): Generator<Buffer> {
    for (let at = 0; at < body.length; at += SENT_AT_ONCE_BYTES) {
      onProgress();
      yield body.subarray(at, at + SENT_AT_ONCE_BYTES);
    }
  };
  const stream = Readable.from(pieces(), { objectMode: false });
  return { headers: { ...headers, 'content-length': String(body.length) }, body: stream };
}

interface Pools {
  readonly named: UndiciAgent;
  readonly foreign: UndiciAgent;
}

export class Exchanger {
  readonly #host: HostConfig;
  readonly #options: RegistryOptions;
  readonly #limits: Limits;
  readonly #counters: Counters;
  readonly #secrets: Secrets;
  readonly #reached = new ReachedKinds();
  #pools: Promise<Pools> | undefined;
  #isClosed = false;

  constructor(
    host: HostConfig,
    options: RegistryOptions,
    limits: Limits,
    counters: Counters,
    secrets: Secrets,
  ) {
    this.#host = host;
    this.#options = options;
    this.#limits = limits;
    this.#counters = counters;
    this.#secrets = secrets;
  }

  /**
   * Sends `request`, to the named host's own pool or to the one under the address rule.
   * @throws TransportFailure, or PeelError for the deadline, an interruption, or a TLS file that cannot be read.
   */
  async send(
    request: HttpRequest,
    isForeign: boolean,
    deadline: Deadline,
    signal: AbortSignal | undefined,
  ): Promise<HttpAnswer> {
    if (this.#isClosed) {
      throw new PeelError('ERR_INTERRUPTED', 'the registry was closed');
    }
    this.#pools ??= this.#openPools();
    const pools = await this.#pools;
    const watch = new Watch(deadline, signal);
    let isAnswered = false;
    const waitForAnswer = (): void => {
      if (isAnswered) return;
      watch.arm(this.#limits.answerMs, () => {
        return new TransportFailure(`no answer within ${this.#limits.answerMs / 1000} s`, {
          isRetryable: true,
        });
      });
    };
    try {
      waitForAnswer();
      this.#counters.requests += 1;
      const data = await requestOf(isForeign ? pools.foreign : pools.named, {
        origin: request.url.origin,
        path: `${request.url.pathname}${request.url.search}`,
        method: request.method,
        ...sentBody(request, () => {
          deadline.restart();
          waitForAnswer();
        }),
        signal: watch.signal,
      });
      isAnswered = true;
      watch.disarm();
      this.#report(request, data.statusCode);
      return new HttpAnswer(data, request.url, watch, deadline, this.#limits, this.#counters);
    } catch (error) {
      watch.close();
      throw asTransportFailure(watch.signal.aborted ? watch.signal.reason : error);
    }
  }

  /** Ends all connections; idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const pools = await this.#pools?.catch(() => undefined);
    const closed = new PeelError('ERR_INTERRUPTED', 'the registry was closed');
    await Promise.all([pools?.named.destroy(closed), pools?.foreign.destroy(closed)]);
  }

  async #openPools(): Promise<Pools> {
    const { connectMs } = this.#limits;
    const common = {
      connections: MAX_CONNECTIONS_PER_HOST,
      maxHeaderSize: MAX_HEADER_BYTES,
      // The watch has all time limits: undici's own are coarse, and count a reader that is slow.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
    return {
      named: new Agent({
        ...common,
        connect: await connectorToNamed(this.#host, this.#options, connectMs, this.#reached),
      }),
      foreign: new Agent({
        ...common,
        maxOrigins: MAX_FOREIGN_ORIGINS,
        connect: await connectorToForeign(this.#options, connectMs, this.#reached),
      }),
    };
  }

  #report(request: HttpRequest, status: number): void {
    // A redirect may bring back what we sent, in any part of its address.
    const host = this.#secrets.redact(request.url.host);
    const path = this.#secrets.redact(request.url.pathname);
    log().debug({ method: request.method, host, path, status }, 'request');
    this.#options.onRequest?.({ method: request.method, host, path, status });
  }
}
