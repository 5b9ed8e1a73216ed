/** Where decompression begins for a span: at its checkpoint, with the window that was kept of it. */
import { isPeelError } from '../errors.ts';
import { log } from '../log.ts';
import { createSpanDecoder } from '../native.ts';
import { ChunkRun } from './chunk-run.ts';
import { DecodeRun, type LayerIndex, type Run } from './decode-run.ts';
import { StoredRun } from './stored-run.ts';

/**
 * Begins at `checkpoint`, or, where its window cannot be read, at the nearest one before that needs none:
 * that costs more bytes, but the reader is served. The caller closes the run.
 */
export async function openRun(index: LayerIndex, checkpoint: number): Promise<Run> {
  const { toc } = index;
  if (toc.own?.stored !== undefined) return new StoredRun(index, toc.own.stored, checkpoint);
  if (toc.own?.gaps !== undefined) return new ChunkRun(toc, checkpoint);
  for (let candidate = checkpoint; ; candidate -= 1) {
    const at = toc.checkpoints[candidate];
    if (at === undefined) throw new RangeError(`no checkpoint ${checkpoint} of ${toc.digest} can be used`);
    try {
      const window = at.windowLength > 0 ? await index.readWindow(candidate) : undefined;
      if (at.windowLength > 0 && window === undefined) throw new Error('its window is missing');
      const decoder = createSpanDecoder({
        compression: toc.compression,
        bits: at.bits,
        ...(window === undefined ? {} : { window }),
      });
      return new DecodeRun(toc, at, decoder);
    } catch (error) {
      // What a registry answered about the windows is for the reader to know: without them, all before is fetched.
      if (candidate === 0 || (isPeelError(error) && error.code !== 'ERR_CACHE')) throw error;
      log().warn(
        { err: error, layer: toc.digest, checkpoint: candidate },
        'a checkpoint cannot be used: decompression begins before it',
      );
    }
  }
}
