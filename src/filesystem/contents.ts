/** What the file system needs to read bytes: `image.ts` joins it with the readers of `src/blob/`. */
import type { FileHandle } from 'node:fs/promises';
import type { UncompressedOffset, UncompressedRange } from '../units.ts';

export interface Contents {
  /**
   * The bytes of a range of a layer's tar (0 = lowest layer), verified. `range` is not empty and lies inside the layer.
   * `willReadTo`: the reader means to go on up to there, and no further; undefined where it did not say.
   * @throws PeelError when they cannot be had before the deadline or do not match their digest.
   */
  read(
    layer: number,
    range: UncompressedRange,
    signal?: AbortSignal,
    willReadTo?: UncompressedOffset,
  ): Promise<Buffer>;
  /** From now on `watcher` is told where verified bytes lie on disk. Once. */
  watch?(watcher: SpanWatcher): void;
  /**
   * A file on disk that holds exactly these bytes, verified; made, without fetching, where that can be. undefined
   * where there is none. @throws PeelError ERR_INTERRUPTED
   */
  backingFile?(
    layer: number,
    range: UncompressedRange,
    signal: AbortSignal,
  ): Promise<BackingFile | undefined>;
  /** A span that a watcher was told of was read by it: reading ahead goes on, and it is not evicted yet. */
  noteUse?(layer: number, span: number): void;
}

/** It may be removed at any time; nobody writes to it. */
export interface BackingFile {
  readonly path: string;
  /** The file itself, open for reading, whatever lies at `path` by now; the caller closes it. */
  readonly handle: FileHandle;
}

/** A server that reads verified spans from the disk by itself. */
export interface SpanWatcher {
  /** Called before any span of the layer is told, and for layers that are open already. */
  layerOpened(layer: number, spans: SpansOnDisk): void;
  /** The span was verified in this process, and its bytes and its map entry are on disk. */
  spanStored(layer: number, span: number): void;
  /** The image is not what it was taken for: nothing of it may be given out any more, names and bytes. Once. */
  disproved?(): void;
}

/** The files of a layer's spans in the cache. They may not exist yet, and may vanish at any time. */
export interface SpansOnDisk {
  readonly spansPath: string;
  readonly mapPath: string;
  /** Where each span ends, uncompressed. */
  readonly ends: Float64Array;
}
