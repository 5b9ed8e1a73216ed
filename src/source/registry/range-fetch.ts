/**
 * The bytes of a range of a blob, as they arrive. When the connection fails in the middle, the rest is asked
 * for from the byte that was reached; after 64 KiB of progress, tries and deadline begin anew.
 *
 * Exactly the bytes of the range come, or the iteration throws. They are not verified: a registry that sends
 * other bytes of the right number is found out by the digests of `src/blob/`.
 */
import { PeelError, throwIfAborted } from '../../errors.ts';
import type { CompressedRange, Digest } from '../../units.ts';
import { parseContentRange, planBody, rangeHeader } from './content-range.ts';
import { PROGRESS_BYTES } from './options.ts';
import type { RegistryClient } from './registry-client.ts';
import type { Operation, RegistryHost } from './registry-host.ts';
import { TransportFailure } from './transport-failure.ts';

const SHORT_DIGEST = 'sha256:'.length + 12;

export interface BlobRequest {
  readonly client: RegistryClient;
  readonly digest: Digest;
  /** Of the repository, for messages. */
  readonly repository: string;
  /** Where redirects for this blob led: shared by all its ranges. */
  readonly locations: Map<RegistryHost, URL>;
}

interface RangeRequest extends BlobRequest {
  /** A place that the image names for the blob: asked instead of the registry. */
  readonly foreign?: URL | undefined;
  /** Of the blob. */
  readonly size: number;
  readonly range: CompressedRange;
}

/**
 * @throws RangeError for a range outside the blob: the caller miscounted.
 * @throws PeelError as in src/errors.ts.
 */
export async function* fetchRange(
  request: RangeRequest,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const { client, size, range } = request;
  if (range.start < 0 || range.start > range.end || range.end > size) {
    throw new RangeError(`range ${range.start}-${range.end} of a blob of ${size} bytes`);
  }
  const doing = nameOf(request);
  const operation = client.operation(`${doing}, bytes ${range.start}-${range.end - 1}`, signal);
  let at: number = range.start;
  let progress = 0;
  while (at < range.end) {
    throwIfAborted(signal, doing);
    const { host, body } = await openBody(request, at, doing, operation);
    try {
      for await (const chunk of body) {
        at += chunk.length;
        progress += chunk.length;
        if (progress >= PROGRESS_BYTES) {
          progress = 0;
          operation.tries.restart();
          operation.deadline.restart();
        }
        yield chunk;
      }
      if (at < range.end) {
        throw new TransportFailure('the body ended too early', { isRetryable: true });
      }
    } catch (error) {
      if (!(error instanceof TransportFailure)) {
        throw error;
      }
      const failure = error.toError(
        `${doing}, at byte ${at} of ${range.start}-${range.end - 1}`,
        host.config.name,
      );
      if (!error.isRetryable) {
        throw failure;
      }
      client.demote(host);
      await operation.tries.wait(failure, signal);
    }
  }
}

/**
 * How many bytes a blob has, from an answer to its first byte: one request, which storage behind a redirect that
 * was signed for GET answers too.
 */
export async function measureBlob(request: BlobRequest, signal?: AbortSignal): Promise<number> {
  const { client, digest, locations } = request;
  const doing = `size of ${nameOf(request)}`;
  const { answer, host } = await client.request(
    {
      path: `blobs/${digest}`,
      headers: { range: 'bytes=0-0' },
      doing,
      accepted: [200, 206, 416],
      isByTag: false,
      locations,
    },
    client.operation(doing, signal),
  );
  const size =
    answer.status === 200
      ? answer.contentLength()
      : sizeInRange(answer.header('content-range'), answer.status === 416);
  answer.close();
  if (size !== undefined) return size;
  throw new PeelError('ERR_REGISTRY_RESPONSE', `${doing}: ${host.config.name} does not say it`, {
    facts: { host: host.config.name, digest, status: answer.status },
  });
}

/** An empty blob has no first byte: a 416 then says that it has 0, or nothing. */
function sizeInRange(header: string | undefined, isUnsatisfied: boolean): number | undefined {
  if (!isUnsatisfied) return header === undefined ? undefined : parseContentRange(header)?.size;
  return header === undefined || /^\s*bytes\s+\*\/0\s*$/i.test(header) ? 0 : undefined;
}

function nameOf({ digest, repository }: BlobRequest): string {
  return `blob ${digest.slice(0, SHORT_DIGEST)} of ${repository}`;
}

interface OpenBody {
  readonly host: RegistryHost;
  /** The wanted bytes from `at` on, at most to the end of the range. */
  readonly body: AsyncIterable<Buffer>;
}

async function openBody(
  request: RangeRequest,
  at: number,
  doing: string,
  operation: Operation,
): Promise<OpenBody> {
  const { client, digest, size, range, locations } = request;
  const wanted = { start: at, end: range.end, size };
  const header = rangeHeader(wanted);
  const { answer, host } = await client.request(
    {
      path: `blobs/${digest}`,
      headers: header === undefined ? {} : { range: header },
      doing,
      accepted: [200, 206, 416],
      isByTag: false,
      foreign: request.foreign,
      locations,
    },
    operation,
  );
  try {
    if (answer.status === 416) {
      throw new PeelError(
        'ERR_REGISTRY_RESPONSE',
        `${doing}: ${host.config.name} has no bytes ${at}-${range.end - 1} (status 416), the manifest says the blob has ${size}`,
        { facts: { host: host.config.name, digest, status: 416 } },
      );
    }
    const plan = planBody(answer, wanted, doing, client.secrets);
    if (plan.isWholeInstead) {
      host.noteRangesIgnored();
      client.ignoresRanges = true;
    }
    return {
      host,
      body: cut(answer.read(), plan.skip, range.end - at, answer.contentLength() !== undefined),
    };
  } catch (error) {
    answer.close();
    throw error;
  }
}

/** Passes over `skip` bytes, then gives `length`. A body that ends exactly there is read to its end, which keeps the connection. */
async function* cut(
  body: AsyncIterable<Buffer>,
  skip: number,
  length: number,
  hasLength: boolean,
): AsyncGenerator<Buffer, void, undefined> {
  let toSkip = skip;
  let left = length;
  for await (const chunk of body) {
    const from = Math.min(toSkip, chunk.length);
    toSkip -= from;
    const piece = chunk.subarray(from, from + left);
    left -= piece.length;
    if (piece.length > 0) {
      yield piece;
    }
    if (left === 0 && (!hasLength || from + piece.length < chunk.length)) {
      return;
    }
  }
}
