/**
 * The bytes of an index as they lie in the blob, decompressed within the caps of FAULTS section 7: 64 MiB as stored,
 * 256 MiB plain. A bomb is stopped at the cap, in pieces of 8 MiB.
 */
import { isPeelError } from '../../errors.ts';
import { type Compression, createSpanDecoder, type SpanDecoder } from '../../native.ts';
import { UnusableIndex } from '../unusable-index.ts';

export const MAX_STORED_INDEX_BYTES = 64 * 1024 * 1024;
export const MAX_INDEX_BYTES = 256 * 1024 * 1024;
const PIECE_BYTES = 8 * 1024 * 1024;

/** @throws UnusableIndex where the bytes do not decompress, or to too many. */
export async function unpackIndex(stored: Buffer, compression: Compression): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of unpackPieces(stored, compression)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** The same in pieces of at most 8 MiB. */
export async function* unpackPieces(
  stored: Buffer,
  compression: Compression,
): AsyncGenerator<Buffer, void, undefined> {
  const decoder = createSpanDecoder({ compression, atHeader: true });
  let length = 0;
  try {
    let input = stored;
    for (;;) {
      const piece = await decodePiece(decoder, input);
      if (piece.length === 0) return;
      input = Buffer.alloc(0);
      length += piece.length;
      if (length > MAX_INDEX_BYTES) {
        throw new UnusableIndex(`it decompresses to more than ${MAX_INDEX_BYTES} bytes`);
      }
      yield piece;
    }
  } finally {
    decoder.close();
  }
}

async function decodePiece(decoder: SpanDecoder, input: Buffer): Promise<Buffer> {
  try {
    return await decoder.write(input, PIECE_BYTES);
  } catch (error) {
    if (!isPeelError(error) || error.code === 'ERR_INTERRUPTED' || error.code === 'ERR_IO') throw error;
    throw new UnusableIndex(`it does not decompress (${error.message})`, { cause: error });
  }
}
