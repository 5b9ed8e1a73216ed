/**
 * The profiles that the cache keeps, one for each image:
 *
 *   profiles/<algorithm>-<hex of the manifest>     (start-profile.ts)
 *
 * A profile is a hint. What is damaged counts as not there; where it cannot be kept, the next start is as slow as this.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { log } from '../log.ts';
import { readOwnFile } from '../storage/own-file.ts';
import { prepareFolder, replaceFile } from '../storage/replace-file.ts';
import type { Digest } from '../units.ts';
import { encodeProfile, MAX_PROFILE_BYTES, parseProfile, type StartProfile } from './start-profile.ts';

/** Of some 10 KB each. The ones that were written longest ago go. */
const MAX_PROFILES = 1000;

export class ProfileStore {
  readonly #folder: string;

  /** @param versionDir the cache's; it belongs to this user alone. */
  constructor(versionDir: string) {
    this.#folder = path.join(versionDir, 'profiles');
  }

  async load(image: Digest): Promise<StartProfile | undefined> {
    const file = path.join(this.#folder, nameOf(image));
    try {
      const bytes = await readOwnFile(file, MAX_PROFILE_BYTES);
      const profile = bytes && parseProfile(bytes, `the profile of ${image}`);
      return profile?.image === image ? profile : undefined;
    } catch (error) {
      log().debug({ image, err: error }, 'a profile that cannot be read is not used');
      return undefined;
    }
  }

  /** Takes the place of what is kept. @throws what the disk says. */
  async save(profile: StartProfile): Promise<void> {
    await prepareFolder(this.#folder);
    const bytes = encodeProfile(profile);
    await (await replaceFile(this.#folder, nameOf(profile.image), [bytes], { isHint: true })).close();
    await this.#prune();
  }

  async #prune(): Promise<void> {
    const names = await readdir(this.#folder);
    if (names.length <= MAX_PROFILES) return;
    const files = await Promise.all(
      names.map(async (name) => {
        const file = path.join(this.#folder, name);
        return { file, written: (await stat(file).catch(() => undefined))?.mtimeMs ?? 0 };
      }),
    );
    files.sort((a, b) => a.written - b.written);
    for (const { file } of files.slice(0, names.length - MAX_PROFILES)) await rm(file, { force: true });
  }
}

/** Checked against the grammar of digests: no name from outside becomes a path. */
function nameOf(image: Digest): string {
  return image.replace(':', '-');
}
