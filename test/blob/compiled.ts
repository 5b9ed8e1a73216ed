/**
 * The sources as plain JavaScript in a folder of their own, for tests that need several processes: Node 20
 * runs no TypeScript. Beside them lie links to the packages and the addon of the checkout.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

const ROOT = path.resolve(import.meta.dirname, '..', '..');

export interface Compiled {
  /** The compiled form of a file of the checkout, named from its root. */
  fileOf(source: string): string;
  remove(): Promise<void>;
}

/** Compiles `entries` (named from the root of the checkout) and what they import. */
export async function compile(entries: readonly string[]): Promise<Compiled> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'peel-compiled-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const config = path.join(folder, 'tsconfig.json');
    await symlink(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
    await symlink(path.join(ROOT, 'build'), path.join(folder, 'build'));
    await writeFile(path.join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
    await writeFile(
      config,
      JSON.stringify({
        extends: path.join(ROOT, 'tsconfig.json'),
        compilerOptions: {
          noEmit: false,
          noCheck: true,
          rootDir: ROOT,
          outDir: folder,
          typeRoots: [path.join(ROOT, 'node_modules', '@types')],
        },
        include: [],
        files: entries.map((entry) => path.join(ROOT, entry)),
      }),
    );
    execFileSync(path.join(ROOT, 'node_modules', '.bin', 'tsc'), ['-p', config], {
      timeout: 60_000,
      encoding: 'utf8',
    });
  } catch (error) {
    await remove();
    throw error;
  }
  return { fileOf: (source) => path.join(folder, source.replace(/\.ts$/, '.js')), remove };
}
