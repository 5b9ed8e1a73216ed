/**
 * One blob into one repository: distribution-spec "Pushing blobs".
 *
 *   POST ─► 202 ─► PUT ?digest, all of it ──────────────────────────────► 201
 *            └───► PATCH a piece ─► 202 Range ─► ... ─► PUT ?digest, empty ──► 201
 *   416, or a connection that broke ─► GET Location ─► 204 Range: goes on from there; else from a new POST
 *   whatever ends it before ─► DELETE Location
 *
 * As a whole where the registry does not ask for pieces (OCI-Chunk-Min-Length), since some take none; in pieces once it
 * has refused the whole, or has kept a part of it. Location is new with each answer, relative or not, with a query.
 */
import { isPeelError, PeelError } from '../../errors.ts';
import { log } from '../../log.ts';
import type { Digest } from '../../units.ts';
import { PROGRESS_BYTES } from './options.ts';
import type { ClientAnswer, ClientRequest, RegistryClient } from './registry-client.ts';
import type { Operation } from './registry-host.ts';
import { isRetryableStatus, parseRetryAfter, RETRYABLE_STATUSES } from './retry-after.ts';
import { TransportFailure } from './transport-failure.ts';

/** Where the registry asks for pieces; it may ask for longer ones. */
const PIECE_BYTES = 4 * 1024 * 1024;
/** Proxies with a limit of their own answer 413: shorter ones are tried, no shorter than this. */
const LEAST_PIECE_BYTES = 64 * 1024;
const SHORTER = 4;
/** Registries, or proxies before them, that take no body with PUT, or none so long. */
const WHOLE_REFUSED: readonly number[] = [405, 411, 413, 501];
const CANCEL_MS = 2_000;

const UPLOADS = 'blobs/uploads/';

/** An upload that was begun. */
interface Session {
  readonly location: URL;
  /** Bytes that the registry has. */
  readonly received: number;
}

export class BlobUpload {
  readonly #client: RegistryClient;
  readonly #digest: Digest;
  readonly #bytes: Buffer;
  readonly #doing: string;
  readonly #operation: Operation;
  #session: Session | undefined;
  /** undefined: as a whole. */
  #pieceBytes: number | undefined;
  #mostReceived = 0;
  #leastPieceBytes = LEAST_PIECE_BYTES;

  /** `doing`: for messages. */
  constructor(client: RegistryClient, digest: Digest, bytes: Buffer, doing: string, signal?: AbortSignal) {
    this.#client = client;
    this.#digest = digest;
    this.#bytes = bytes;
    this.#doing = doing;
    this.#operation = client.operation(doing, signal);
  }

  /** `begun`: a POST that was answered with 202 before. @throws PeelError */
  async run(begun?: ClientAnswer): Promise<void> {
    try {
      if (begun !== undefined) await this.#take(begun);
      for (;;) {
        if (this.#session === undefined) await this.#begin();
        if (await this.#step()) return;
      }
    } catch (error) {
      await this.#cancel();
      throw error;
    }
  }

  async #begin(): Promise<void> {
    const got = await this.#client.request(
      { method: 'POST', path: UPLOADS, headers: {}, doing: this.#doing, accepted: [202], isByTag: false },
      this.#operation,
    );
    await this.#take(got);
  }

  async #take(begun: ClientAnswer): Promise<void> {
    this.#session = { location: locationOf(begun, this.#doing), received: 0 };
    const least = Number(begun.answer.header('oci-chunk-min-length') ?? '0');
    await begun.answer.excerpt();
    if (!Number.isSafeInteger(least) || least <= 0) return;
    this.#leastPieceBytes = least;
    this.#pieceBytes ??= PIECE_BYTES;
  }

  /** One request that sends something. True when the registry has the blob. */
  async #step(): Promise<boolean> {
    const { location, received } = this.#openSession();
    const { length } = this.#bytes;
    const isWhole = this.#pieceBytes === undefined && received === 0;
    const isPiece = !isWhole && received < length;
    let got: ClientAnswer;
    try {
      got = await (isPiece ? this.#patch(location, received) : this.#put(location, isWhole));
    } catch (error) {
      if (!(error instanceof TransportFailure)) throw error;
      const failure = error.toError(this.#doing, location.host);
      if (!error.isRetryable) throw failure;
      await this.#goOn(failure);
      return false;
    }
    const { answer } = got;
    if (answer.status === 201) {
      await answer.excerpt();
      return true;
    }
    if (answer.status === 202) {
      await this.#advance(got, received);
      return false;
    }
    const retryAfterMs = parseRetryAfter(answer.header('retry-after'), Date.now());
    const failure = await got.host.failure({ answer, foreignURL: undefined }, this.#doing);
    if (answer.status !== 416 && !isRetryableStatus(answer.status)) this.#shorten(isWhole, failure);
    await this.#goOn(failure, retryAfterMs);
    return false;
  }

  #put(location: URL, isWhole: boolean): Promise<ClientAnswer> {
    const url = new URL(location);
    url.searchParams.set('digest', this.#digest);
    const body = isWhole ? this.#bytes : undefined;
    return this.#send(url, { method: 'PUT', accepted: [201, 416, ...WHOLE_REFUSED], ...(body && { body }) });
  }

  #patch(location: URL, start: number): Promise<ClientAnswer> {
    const body = this.#bytes.subarray(start, start + this.#pieceLength());
    const headers = { 'content-range': `${start}-${start + body.length - 1}` };
    return this.#send(location, { method: 'PATCH', headers, body, accepted: [202, 413, 416] });
  }

  #send(
    location: URL,
    request: Pick<ClientRequest, 'method' | 'body' | 'accepted'> & Partial<Pick<ClientRequest, 'headers'>>,
  ): Promise<ClientAnswer> {
    const headers = { 'content-type': 'application/octet-stream', ...request.headers };
    const accepted = [...request.accepted, ...RETRYABLE_STATUSES];
    const common = { path: UPLOADS, location, isByTag: false, doing: this.#doing, isOnce: true };
    return this.#client.request({ ...common, ...request, headers, accepted }, this.#operation);
  }

  /** A piece was taken, or a part of it. */
  async #advance(got: ClientAnswer, before: number): Promise<void> {
    const location = locationOf(got, this.#doing);
    const sent = Math.min(this.#bytes.length, before + this.#pieceLength());
    const received = receivedOf(got.answer.header('range')) ?? sent;
    await got.answer.excerpt();
    const failure = this.#failure(`it has ${received} bytes of the ${sent} that were sent`);
    if (received > sent) throw failure;
    this.#session = { location, received };
    this.#noteProgress(received);
    if (received < sent) await this.#operation.tries.wait(failure, this.#operation.signal);
  }

  /** @throws `failure` where the registry is not to be had by shorter pieces. */
  #shorten(wasWhole: boolean, failure: PeelError): void {
    const { status } = failure.facts;
    const isTooLong = status === 413;
    const before = wasWhole ? this.#bytes.length : this.#pieceLength();
    const pieceBytes = Math.min(PIECE_BYTES, isTooLong ? Math.floor(before / SHORTER) : before);
    if (!wasWhole && (!isTooLong || pieceBytes < this.#leastPieceBytes)) throw failure;
    this.#pieceBytes = pieceBytes;
    log().debug({ pieceBytes: this.#pieceBytes }, `${this.#doing}: goes on in shorter pieces`);
  }

  /** After `failure`: asks how far the upload is; where nobody knows, the next step begins a new one. */
  async #goOn(failure: PeelError, retryAfterMs?: number): Promise<void> {
    const { location } = this.#openSession();
    await this.#operation.tries.wait(failure, this.#operation.signal, retryAfterMs);
    const accepted = [204, 200, 202];
    const request = { path: UPLOADS, location, headers: {}, doing: this.#doing, accepted, isByTag: false };
    try {
      const got = await this.#client.request(request, this.#operation);
      const received = receivedOf(got.answer.header('range')) ?? 0;
      const next = got.answer.header('location') === undefined ? location : locationOf(got, this.#doing);
      await got.answer.excerpt();
      if (received > this.#bytes.length) throw this.#failure(`it has ${received} bytes, more than there are`);
      this.#session = { location: next, received };
      this.#noteProgress(received);
    } catch (error) {
      const isGone = isPeelError(error, 'ERR_IMAGE_NOT_FOUND') || isPeelError(error, 'ERR_REGISTRY_RESPONSE');
      if (!isGone) throw error;
      await this.#cancel();
    }
  }

  /** More than ever before: a registry that forgets again and again is not followed for ever. */
  #noteProgress(received: number): void {
    const isEnough = received - this.#mostReceived >= Math.min(PROGRESS_BYTES, this.#bytes.length);
    if (!isEnough) return;
    this.#mostReceived = received;
    this.#operation.tries.restart();
    this.#operation.deadline.restart();
  }

  /** Also when the caller was interrupted: registries keep what is not cancelled, for days. */
  async #cancel(): Promise<void> {
    const location = this.#session?.location;
    if (location === undefined) return;
    this.#session = undefined;
    const operation = this.#client.operation(this.#doing, AbortSignal.timeout(CANCEL_MS));
    const accepted = [204, 200, 202];
    const request = { method: 'DELETE', path: UPLOADS, location, headers: {}, accepted } as const;
    try {
      const got = await this.#client.request({ ...request, doing: this.#doing, isByTag: false }, operation);
      await got.answer.excerpt();
    } catch {
      // What made it necessary is what is told.
    }
  }

  #pieceLength(): number {
    return Math.max(this.#pieceBytes ?? PIECE_BYTES, this.#leastPieceBytes);
  }

  #openSession(): Session {
    if (this.#session === undefined) throw new TypeError('no upload was begun');
    return this.#session;
  }

  #failure(what: string): PeelError {
    return new PeelError('ERR_REGISTRY_RESPONSE', `${this.#doing}: the registry says that ${what}`);
  }
}

/** Bytes that a `Range: 0-N` counts. `0-0` is what registries say of nothing. */
function receivedOf(range: string | undefined): number | undefined {
  const end = /^(?:bytes=)?0-(\d{1,15})$/.exec(range?.trim() ?? '')?.[1];
  if (end === undefined) return undefined;
  return end === '0' ? 0 : Number(end) + 1;
}

/** Relative ones are meant from the request. @throws PeelError */
function locationOf({ answer, host }: ClientAnswer, doing: string): URL {
  const text = answer.header('location') ?? '';
  const isURL = text !== '' && URL.canParse(text, answer.url.href);
  const url = isURL ? new URL(text, answer.url) : undefined;
  const isSafe = url !== undefined && (url.protocol === 'https:' || url.protocol === answer.url.protocol);
  if (isSafe && url.username === '' && url.password === '') return url;
  answer.close();
  throw new PeelError(
    'ERR_REGISTRY_RESPONSE',
    `${doing}: ${host.config.name} does not say where the upload goes on (no usable Location)`,
    { facts: { host: host.config.name } },
  );
}
