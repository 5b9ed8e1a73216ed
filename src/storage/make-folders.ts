/**
 * Makes a folder and those above it that are missing, each for this user alone. Not Node's recursive mkdir:
 * that one never returns where a file system answers ENOENT although the folder above exists (/proc does).
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { systemCodeOf } from '../errors.ts';

export async function makeFolders(folder: string): Promise<void> {
  const missing: string[] = [];
  for (let candidate = folder; ; candidate = path.dirname(candidate)) {
    const code = await tryMake(candidate);
    if (code === 'made') break;
    if (code !== 'ENOENT' || candidate === path.dirname(candidate)) {
      throw Object.assign(new Error(`${code}: mkdir ${candidate}`), { code });
    }
    missing.push(candidate);
  }
  for (const name of missing.reverse()) {
    const code = await tryMake(name);
    if (code !== 'made') throw Object.assign(new Error(`${code}: mkdir ${name}`), { code });
  }
}

/** `made`, also where it was there before, or the code of what failed. */
async function tryMake(folder: string): Promise<string> {
  try {
    await mkdir(folder, { mode: 0o700 });
    return 'made';
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === undefined) throw error;
    return code === 'EEXIST' ? 'made' : code;
  }
}
