/**
 * Brotli, for what of our indexes travels: it packs windows and names better than gzip, and Node has it. Both ways run
 * on another thread.
 */
import { promisify } from 'node:util';
import { brotliCompress, brotliDecompress, constants } from 'node:zlib';
import { UnusableIndex } from './unusable-index.ts';

const compress = promisify(brotliCompress);
const decompress = promisify(brotliDecompress);

/** The most that matches reach back: 16 MiB, in the memory of whoever unpacks. */
const WINDOW_BITS = 24;

/** `quality` 9 takes 10 MB/s, 11 a tenth of that, and gives a tenth less. */
export async function packBrotli(bytes: Buffer, quality: 9 | 11): Promise<Buffer> {
  return await compress(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: quality,
      [constants.BROTLI_PARAM_LGWIN]: WINDOW_BITS,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  });
}

/** @throws UnusableIndex where it does not decompress, or to more than `maxBytes`. */
export async function unpackBrotli(packed: Buffer, maxBytes: number): Promise<Buffer> {
  try {
    return await decompress(packed, { maxOutputLength: maxBytes });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') {
      throw new UnusableIndex(`it decompresses to more than ${maxBytes} bytes`, { cause: error });
    }
    throw new UnusableIndex(`it does not decompress (${code ?? String(error)})`, { cause: error });
  }
}
