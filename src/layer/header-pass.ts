/**
 * The TOC of a layer that is a plain tar, from its headers alone: they are read by ranges, each says where the next one
 * is, and large bodies are not fetched.
 *
 *   tar       [h|body....................][h|b][h|b][h|b][h|body...............][h]...
 *   requests  |-----|                     |------ read on ------|               |---|
 *
 * Nothing proves any of it (FAULTS class D): the layer's digest is of all its bytes. Spans are those of the pass (`build-toc.ts`)
 * and have no digest before their bytes were first read: what they are then, they have to stay.
 */
import { isPeelError } from '../errors.ts';
import { createTarFramer, type Framed } from '../native/tar-framer.ts';
import { compressed, type Digest, uncompressed } from '../units.ts';
import type { BuiltToc } from './build-toc.ts';
import { ownIndexKey, type ReadRange } from './own-index.ts';
import { beginsAsTar } from './soci/first-span.ts';
import type { Checkpoint, Span } from './toc.ts';
import { TocBuilder } from './toc-builder.ts';
import { SHA256_BYTES } from './toc-format.ts';
import { UnusableIndex } from './unusable-index.ts';

/** Of a smaller layer little can be skipped, and its digest proves it at once. */
export const HEADER_PASS_FROM_BYTES = 4 * 1024 * 1024;
/** A size costs a registry nothing to claim, and each of its spans costs us 400 bytes: 100 MB. */
const LARGEST_LAYER_BYTES = 64 * 1024 ** 3;
/** At the start and after a body that was skipped: on the way of one round trip more would show. */
const FIRST_WINDOW_BYTES = 64 * 1024;
/** While small files follow each other, windows double up to here. */
const LARGEST_WINDOW_BYTES = 4 * 1024 * 1024;
/**
 * What is read on for, a request less being worth it: 80 ms of a line of 100 Mbit/s. So each request but those that read
 * on saves a MiB, and a layer never takes more of them than it has MiB.
 */
const SKIP_FROM_BYTES = 1024 * 1024;
/** As the pass cuts a layer that is not compressed (native/index_builder.h). */
const SPAN_BYTES = 256 * 1024;
const NO_WINDOWS = Buffer.alloc(0);

export interface HeaderPassParts {
  readonly digest: Digest;
  /** Of the blob. */
  readonly size: number;
  /** Names the place that the headers come from: what one place says of a layer is not used for another. */
  readonly place: Digest;
  readonly read: ReadRange;
  /** Whether parts of the blob were found to cost as much as the whole. */
  readonly ignoresRanges: () => boolean;
}

/** @throws UnusableIndex where it is no plain tar, a broken one, or cannot be had by ranges; errors of `read`. */
export async function readHeaders(layer: HeaderPassParts): Promise<BuiltToc> {
  if (layer.size > LARGEST_LAYER_BYTES) {
    throw new UnusableIndex(
      `it has ${layer.size} bytes, at most ${LARGEST_LAYER_BYTES} are cut into spans so`,
    );
  }
  const builder = new TocBuilder();
  try {
    for await (const { frames } of framesOf(layer)) builder.add(frames);
  } catch (error) {
    if (!isOfLayer(error)) throw error;
    throw new UnusableIndex(error.message, { cause: error });
  }
  const { digest, size, place } = layer;
  return {
    toc: {
      digest,
      diffID: undefined,
      compression: 'none',
      compressedSize: size,
      uncompressedSize: size,
      own: { format: 'headers', digest: place, key: ownIndexKey('headers', digest, size, place) },
      ...cut(size),
      entries: builder.entries,
      warnings: builder.warnings,
    },
    windows: NO_WINDOWS,
  };
}

async function* framesOf({ size, read, ignoresRanges }: HeaderPassParts): AsyncGenerator<Framed> {
  const framer = createTarFramer();
  let at = 0;
  let toSkip = 0;
  let window = FIRST_WINDOW_BYTES;
  for (;;) {
    const end = Math.min(at + toSkip + window, size);
    const bytes = await read({ start: compressed(at), end: compressed(end) });
    if (at === 0 && !beginsAsTar(bytes)) throw new UnusableIndex('it does not begin as a plain tar');
    if (ignoresRanges()) throw new UnusableIndex('its source gives no part of it without the rest');
    const framed = await framer.feed(bytes, end === size);
    yield framed;
    if (framed.hasEnded || end === size) return;
    if (framed.skippable > size - end) throw new UnusableIndex('its last member ends beyond it');
    if (framed.skippable < SKIP_FROM_BYTES) {
      at = end;
      toSkip = framed.skippable;
      window = Math.min(2 * window, LARGEST_WINDOW_BYTES);
    } else {
      framer.skip();
      at = end + framed.skippable;
      toSkip = 0;
      window = FIRST_WINDOW_BYTES;
      if (at === size) {
        yield await framer.feed(NO_WINDOWS, true);
        return;
      }
    }
  }
}

function isOfLayer(error: unknown): error is Error {
  return (
    isPeelError(error, 'ERR_LAYER_INVALID') ||
    isPeelError(error, 'ERR_LIMIT_EXCEEDED') ||
    isPeelError(error, 'ERR_UNSUPPORTED')
  );
}

function cut(size: number): { checkpoints: Checkpoint[]; spans: Span[] } {
  const checkpoints: Checkpoint[] = [];
  const spans: Span[] = [];
  const sums = Buffer.alloc(Math.ceil(size / SPAN_BYTES) * SHA256_BYTES);
  for (let start = 0; start < size; start += SPAN_BYTES) {
    const end = Math.min(start + SPAN_BYTES, size);
    const checkpoint = spans.length;
    checkpoints.push({
      compressedOffset: compressed(start),
      uncompressedOffset: uncompressed(start),
      bits: 0,
      windowOffset: 0,
      windowLength: 0,
    });
    spans.push({
      start: uncompressed(start),
      end: uncompressed(end),
      checkpoint,
      compressedEnd: compressed(end),
      sha256: sums.subarray(checkpoint * SHA256_BYTES, (checkpoint + 1) * SHA256_BYTES),
    });
  }
  return { checkpoints, spans };
}
