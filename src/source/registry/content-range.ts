/**
 * The Range header, and what an answer must look like before a byte of it is used (RFC 9110, 14).
 * Registries and proxies answer ranges in wrong ways that look like data: another start, another length,
 * a whole blob, a compressed body, several parts. Each is refused here or skipped to the right byte.
 */
import { PeelError } from '../../errors.ts';
import type { HttpAnswer } from './exchange.ts';
import { quoteServerText, type Secrets } from './server-text.ts';

/** A half-open range of a blob of `size` bytes. */
export interface WantedRange {
  readonly start: number;
  readonly end: number;
  readonly size: number;
}

/** The one place where a range becomes inclusive. undefined: the whole blob, asked for without a range. */
export function rangeHeader({ start, end, size }: WantedRange): string | undefined {
  return start === 0 && end === size ? undefined : `bytes=${start}-${end - 1}`;
}

/** Where in the body the wanted bytes begin. */
export interface BodyPlan {
  /** Bytes to pass over. */
  readonly skip: number;
  /** The registry sent the whole blob although a part was asked for. */
  readonly isWholeInstead: boolean;
}

/** @throws PeelError ERR_REGISTRY_RESPONSE when the answer is not the wanted range. */
export function planBody(answer: HttpAnswer, wanted: WantedRange, doing: string, secrets: Secrets): BodyPlan {
  const refuse = (why: string): PeelError =>
    new PeelError(
      'ERR_REGISTRY_RESPONSE',
      `${doing}: asked for bytes ${wanted.start}-${wanted.end - 1} of ${wanted.size}, ${why}`,
      { facts: { status: answer.status, start: wanted.start, end: wanted.end } },
    );
  refuseEncoding(answer, refuse, secrets);
  const length = answer.contentLength();
  if (answer.headers('content-length').length > 0 && length === undefined) {
    throw refuse('got a Content-Length that is no number');
  }
  if (answer.status === 200) {
    if (length !== undefined && length !== wanted.size) {
      throw refuse(`got a blob of ${length} bytes`);
    }
    return { skip: wanted.start, isWholeInstead: rangeHeader(wanted) !== undefined };
  }
  const header = answer.header('content-range');
  if (/^\s*multipart\//i.test(answer.header('content-type') ?? '')) {
    throw refuse('got several parts (multipart/byteranges)');
  }
  if (header === undefined) {
    throw refuse('got status 206 without Content-Range');
  }
  const got = parseContentRange(header);
  const said = quoteServerText(header, secrets, 80);
  if (got === undefined || answer.headers('content-range').length > 1) {
    throw refuse(`got an unreadable Content-Range ${said}`);
  }
  if (got.start !== wanted.start || got.end !== wanted.end) {
    throw refuse(`got Content-Range ${said}`);
  }
  if (got.size !== undefined && got.size !== wanted.size) {
    throw refuse(`got a part of a blob of ${got.size} bytes`);
  }
  if (length !== undefined && length !== wanted.end - wanted.start) {
    throw refuse(`got ${length} bytes for Content-Range ${said}`);
  }
  return { skip: 0, isWholeInstead: false };
}

/** A body in an encoding that was not asked for has other offsets than the blob. */
export function refuseEncoding(
  answer: HttpAnswer,
  refuse: (why: string) => PeelError,
  secrets: Secrets,
): void {
  const encodings = answer.headers('content-encoding').join(',').trim();
  if (encodings !== '' && encodings.toLowerCase() !== 'identity') {
    throw refuse(`got Content-Encoding ${quoteServerText(encodings, secrets, 80)}, which was not asked for`);
  }
}

/** Half-open; `size` is undefined for `*`. Undefined for whatever is not `bytes FIRST-LAST/SIZE`. */
export function parseContentRange(
  text: string,
): { readonly start: number; readonly end: number; readonly size: number | undefined } | undefined {
  const match = /^\s*bytes\s+(\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)\s*$/i.exec(text);
  if (match === null) {
    return undefined;
  }
  const [start, last] = [Number(match[1]), Number(match[2])];
  const size = match[3] === '*' ? undefined : Number(match[3]);
  const isSane = Number.isSafeInteger(start) && Number.isSafeInteger(last + 1) && start <= last;
  return isSane && (size === undefined || last < size) ? { start, end: last + 1, size } : undefined;
}
