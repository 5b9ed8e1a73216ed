/**
 * What a caller may set on the registry client, and the limits that hold on any input.
 * Every limit is an option, so that tests need not wait; the defaults are the promises of the program.
 */
import type { LookupFunction } from 'node:net';

export interface RequestInfo {
  readonly method: string;
  /** `host:port` that was asked. */
  readonly host: string;
  /** Path without its query, which may carry signatures. */
  readonly path: string;
  readonly status: number;
}

export interface RegistryOptions {
  /** `HOST` or `HOST:PORT` entries that are spoken to without TLS. */
  readonly plainHttp?: readonly string[] | undefined;
  /** A PEM file with certificate authorities to trust beside the system's. */
  readonly tlsCa?: string | undefined;
  /** `HOST` or `HOST:PORT` entries whose certificate is not checked. */
  readonly tlsSkipVerify?: readonly string[] | undefined;
  /** The first source of credentials. */
  readonly authfile?: string | undefined;
  /** Asked after it: the text of an auth file that is kept in memory; undefined while there is none. */
  readonly authText?: (() => string | undefined) | undefined;
  /** Where `HOST/hosts.toml` files lie; the default is the user's folder, then containerd's. */
  readonly certsDir?: string | undefined;
  /** Token servers (`HOST` or `HOST:PORT`) that may see credentials though they lie outside the registry's domain. */
  readonly trustedRealms?: readonly string[] | undefined;
  /** Blobs that the registry lacks may be asked for at the URLs that their descriptors name. */
  readonly foreignLayers?: boolean | undefined;
  /** Milliseconds until a request that brings no bytes fails; 0 waits for ever. */
  readonly deadlineMs?: number | undefined;
  /** A body slower than 1 KiB/s for so many milliseconds is asked for again. */
  readonly stallMs?: number | undefined;
  /** Milliseconds to wait for the status line of an answer before asking again. */
  readonly answerMs?: number | undefined;
  readonly connectMs?: number | undefined;
  /** The first back-off is random below this, and the bound doubles with each try. */
  readonly backoffMs?: number | undefined;
  /** Upper bound of one back-off. */
  readonly maxBackoffMs?: number | undefined;
  /** Upper bound of what a `Retry-After` is obeyed for. */
  readonly maxRetryAfterMs?: number | undefined;
  /** How long a refusal of credentials is remembered, so that readers do not knock again and again. */
  readonly refusalMs?: number | undefined;
  /** How long a mirror that failed is passed over. */
  readonly demoteMs?: number | undefined;
  /** How long a credential helper may run. */
  readonly helperMs?: number | undefined;
  /** Folders searched for `docker-credential-*` instead of the fixed system ones: for tests only. */
  readonly helperPath?: readonly string[] | undefined;
  /** Resolves host names instead of the system: for tests only. */
  readonly lookup?: LookupFunction | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly userAgent?: string | undefined;
  readonly onRequest?: ((info: RequestInfo) => void) | undefined;
}

export interface Limits {
  readonly deadlineMs: number;
  readonly stallMs: number;
  readonly answerMs: number;
  readonly connectMs: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
  readonly maxRetryAfterMs: number;
  readonly refusalMs: number;
  readonly demoteMs: number;
  readonly helperMs: number;
}

export function limitsOf(options: RegistryOptions): Limits {
  return {
    deadlineMs: options.deadlineMs ?? 60_000,
    stallMs: options.stallMs ?? 15_000,
    // Half of the deadline: a proxy that first fetches the blob itself may be slow, and one more try fits.
    answerMs: options.answerMs ?? 30_000,
    connectMs: options.connectMs ?? 10_000,
    backoffMs: options.backoffMs ?? 200,
    maxBackoffMs: options.maxBackoffMs ?? 30_000,
    maxRetryAfterMs: options.maxRetryAfterMs ?? 60_000,
    refusalMs: options.refusalMs ?? 30_000,
    demoteMs: options.demoteMs ?? 60_000,
    helperMs: options.helperMs ?? 10_000,
  };
}

/** Tries of one request, the first included. */
export const MAX_TRIES = 5;
/** Bytes that must arrive before the tries and the deadline of a stream begin anew. */
export const PROGRESS_BYTES = 64 * 1024;
/** A body slower than this is stalled: bytes a second. */
export const STALL_RATE = 1024;
/** Of a longer body, so much at a time: each piece that is taken is progress. */
export const SENT_AT_ONCE_BYTES = 64 * 1024;
export const MAX_REDIRECTS = 5;
export const MAX_CONNECTIONS_PER_HOST = 8;
export const MAX_SMALL_BODY_BYTES = 64 * 1024;
export const MAX_HEADER_BYTES = 64 * 1024;
/** Foreign origins that redirects and token realms may name in the life of a source. */
export const MAX_FOREIGN_ORIGINS = 64;
