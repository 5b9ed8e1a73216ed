/** Opens archives in tests as the program does, with a cache that lasts as long as the test. */
import { openCacheDir } from '../../src/blob/cache-dir.ts';
import { archiveTools } from '../../src/image/archive-tools.ts';
import type { Selection } from '../../src/reference/transport.ts';
import type { ArchiveTools } from '../../src/source/archive/archive-tools.ts';
import { openArchiveSource } from '../../src/source/archive/open-archive-source.ts';
import type { ImageSource } from '../../src/source/source.ts';
import { useTempDirs } from './temp-dirs.ts';

const makeDir = useTempDirs();

export async function testTools(cacheDir = makeDir()): Promise<ArchiveTools> {
  return archiveTools(await openCacheDir(cacheDir));
}

/** The caller closes it. */
export async function openTestArchive(
  file: string,
  transport?: 'oci-archive' | 'docker-archive',
  selection?: Selection,
  signal?: AbortSignal,
): Promise<ImageSource> {
  return openArchiveSource(file, transport, selection, await testTools(), signal);
}
