/**
 * Layers that a registry leaves to others (`urls` of a descriptor; Windows base layers, mostly): image-spec
 * descriptor.md. The registry is asked first; only where it does not have the blob, and the user allows it, are the
 * URLs asked, which the author of the image chose: without credentials, headers or certificates of the registry, even
 * at its own address, and under the address rule of connect.ts. What they send is verified as any layer is.
 */
import { isPeelError, PeelError } from '../../errors.ts';
import type { Descriptor } from '../../reference/descriptor.ts';
import type { CompressedRange, Digest } from '../../units.ts';
import { type BlobRequest, fetchRange } from './range-fetch.ts';
import { parseForeignURL } from './redirect.ts';

/** Real images name one or two. */
const MAX_URLS = 4;

export class ForeignLayers {
  readonly #isAllowed: boolean;
  /** Where each blob was found. */
  readonly #found = new Map<Digest, URL>();

  constructor(isAllowed: boolean) {
    this.#isAllowed = isAllowed;
  }

  /** As `fetchRange`, from the registry or else from where the descriptor says. */
  async *fetch(
    request: BlobRequest,
    descriptor: Descriptor,
    range: CompressedRange,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Buffer, void, undefined> {
    const { digest, size, urls = [] } = descriptor;
    const whole = { ...request, size, range };
    if (!this.#found.has(digest)) {
      const refusal = yield* untilMissing(fetchRange(whole, signal));
      if (refusal === undefined) return;
      if (urls.length === 0) throw refusal;
      if (!this.#isAllowed) throw notAllowed(descriptor, refusal);
      yield* this.#find(whole, urls, signal, refusal);
      return;
    }
    yield* fetchRange({ ...whole, foreign: this.#found.get(digest) }, signal);
  }

  /** The first that answers; the error of the last where none does. */
  async *#find(
    request: Parameters<typeof fetchRange>[0],
    urls: readonly string[],
    signal: AbortSignal | undefined,
    refusal: PeelError,
  ): AsyncGenerator<Buffer, void, undefined> {
    let failure = refusal;
    for (const text of urls.slice(0, MAX_URLS)) {
      let hasBegun = false;
      try {
        const foreign = parseForeignURL(text, `layer ${request.digest}`, request.client.secrets);
        for await (const chunk of fetchRange({ ...request, foreign }, signal)) {
          hasBegun = true;
          this.#found.set(request.digest, foreign);
          yield chunk;
        }
        return;
      } catch (error) {
        if (hasBegun || !isPeelError(error) || error.code === 'ERR_INTERRUPTED') throw error;
        failure = error;
      }
    }
    throw failure;
  }
}

/** What `chunks` gives; ends with the error where the registry does not have the blob. */
async function* untilMissing(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, PeelError | undefined, undefined> {
  let hasBegun = false;
  try {
    for await (const chunk of chunks) {
      hasBegun = true;
      yield chunk;
    }
    return undefined;
  } catch (error) {
    if (!hasBegun && isPeelError(error, 'ERR_IMAGE_NOT_FOUND')) return error;
    throw error;
  }
}

function notAllowed({ digest, urls = [] }: Descriptor, refusal: PeelError): PeelError {
  return new PeelError(
    'ERR_IMAGE_NOT_FOUND',
    `${refusal.message}; it is a foreign layer, for which the image names ${urls.length} other place${urls.length === 1 ? '' : 's'}: --foreign-layers allows to ask there`,
    { facts: { digest }, cause: refusal },
  );
}
