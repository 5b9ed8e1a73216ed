/** What archives are opened with: the native decoders, and the cache that keeps what they index. */
import type { CacheDir } from '../blob/cache-dir.ts';
import type { ArchiveTools } from '../source/archive/archive-tools.ts';
import type { IndexProgress } from './opened-layers.ts';
import { openStandardInput } from './standard-input.ts';
import { openUnpacked } from './unpacked-file.ts';

export function archiveTools(
  cache: CacheDir,
  onProgress: (progress: IndexProgress) => void = () => {},
): ArchiveTools {
  /** Comes before all layers, whose number is not known yet. */
  const report = (doing: string, bytes: number, size: number, isDone: boolean): void =>
    onProgress({ layer: -1, layerCount: 0, doing, bytes, size, isDone });
  return {
    async unpack(file, compression, path, signal) {
      const doing = `indexing ${path} (${compression})`;
      const onBytes = (bytes: number): void => report(doing, bytes, file.size, false);
      const unpacked = await openUnpacked(file, { cache, path, signal, onProgress: onBytes });
      report(doing, file.size, file.size, true);
      return unpacked;
    },
    async openStandardInput(signal) {
      const doing = 'reading standard input';
      const file = await openStandardInput(cache, (bytes) => report(doing, bytes, 0, false), signal);
      report(doing, file.size, file.size, true);
      return file;
    },
  };
}
