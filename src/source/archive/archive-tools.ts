/** What opening an archive takes beyond reading a file: `src/image/` has it, since it decompresses and keeps. */
import type { OpenFile } from '../local-file.ts';
import type { CompressionName } from './magic.ts';

export interface ArchiveTools {
  /**
   * What a compressed file unpacks to, read by position. Closing it closes `file`; `file` is closed where this fails.
   * @throws PeelError ERR_IMAGE_NOT_FOUND for what is no tar, ERR_DOCUMENT_INVALID for what is broken.
   */
  unpack(file: OpenFile, compression: CompressionName, path: string, signal?: AbortSignal): Promise<OpenFile>;
  /** Standard input as a file; it can be had once. */
  openStandardInput(signal?: AbortSignal): Promise<OpenFile>;
}
