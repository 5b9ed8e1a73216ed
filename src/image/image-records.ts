/**
 * The images that the cache knows: for each name and platform what it led to last, so that `peel images` can say
 * which images there are and which layers they share, without asking anybody.
 *
 *   images/<sha256 of name and platform>   {"name", "digest", "platform", "layers": [{"digest", "size", "ownKey"}]}
 *
 * The time of the file is when the image was opened last. A record is a hint: nothing is read or trusted by it.
 */
import { createHash } from 'node:crypto';
import { readdir, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { log } from '../log.ts';
import { readOwnFile } from '../storage/own-file.ts';
import { prepareFolder, replaceFile } from '../storage/replace-file.ts';
import { type Digest, isDigest } from '../units.ts';

/** 512 layers of 100 bytes, and names. */
const MAX_RECORD_BYTES = 256 * 1024;
const MAX_RECORDS = 10_000;

export interface ImageRecord {
  /** As a user would write it again, wherever he stands. */
  readonly name: string;
  /** Of the manifest. */
  readonly digest: Digest;
  /** `linux/amd64` */
  readonly platform: string;
  /** Lowest first. */
  readonly layers: readonly LayerRecord[];
}

export interface LayerRecord {
  readonly digest: Digest;
  /** Compressed bytes. */
  readonly size: number;
  /** Under which the cache has the layer, too, if it brings an index that the manifest names. */
  readonly ownKey?: Digest;
}

export interface StoredImageRecord extends ImageRecord {
  readonly lastUsed: Date;
}

export class ImageRecords {
  readonly #folder: string;

  /** @param versionDir the cache's; it belongs to this user alone. */
  constructor(versionDir: string) {
    this.#folder = path.join(versionDir, 'images');
  }

  /** Never fails: without a record the image is not listed, nothing else. */
  async note(record: ImageRecord): Promise<void> {
    const name = createHash('sha256').update(`${record.name}\n${record.platform}`).digest('hex');
    const file = path.join(this.#folder, name);
    const bytes = Buffer.from(JSON.stringify(record));
    try {
      if ((await readOwnFile(file, MAX_RECORD_BYTES))?.equals(bytes) === true) {
        const now = new Date();
        await utimes(file, now, now);
        return;
      }
      await prepareFolder(this.#folder);
      await (await replaceFile(this.#folder, name, [bytes], { isHint: true })).close();
    } catch (error) {
      log().debug({ err: error }, 'the cache could not note the image');
    }
  }

  /** Most recently used first. What is damaged is left out. */
  async list(): Promise<readonly StoredImageRecord[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const records: StoredImageRecord[] = [];
    for (const name of names.slice(0, MAX_RECORDS)) {
      const record = await read(path.join(this.#folder, name));
      if (record !== undefined) records.push(record);
    }
    return records.toSorted(
      (a, b) => b.lastUsed.getTime() - a.lastUsed.getTime() || (a.name < b.name ? -1 : 1),
    );
  }
}

async function read(file: string): Promise<StoredImageRecord | undefined> {
  try {
    const bytes = await readOwnFile(file, MAX_RECORD_BYTES);
    if (bytes === undefined) return undefined;
    const { name, digest, platform, layers } = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
    if (typeof name !== 'string' || typeof platform !== 'string' || !Array.isArray(layers)) return undefined;
    if (typeof digest !== 'string' || !isDigest(digest) || !layers.every(isLayer)) return undefined;
    return { name, digest, platform, layers, lastUsed: (await stat(file)).mtime };
  } catch {
    return undefined;
  }
}

function isLayer(value: unknown): value is LayerRecord {
  const { digest, size, ownKey = digest } = (value ?? {}) as Record<string, unknown>;
  const areDigests = [digest, ownKey].every((text) => typeof text === 'string' && isDigest(text));
  return areDigests && Number.isSafeInteger(size) && Number(size) >= 0;
}
