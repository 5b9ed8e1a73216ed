/** The tars that are put to other readers, each under a name that finds it again. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { imagesDir } from '../../support/images.ts';
import { randomNumbers } from '../../support/random-numbers.ts';
import { MADE_SETS } from '../made/made-sets.ts';
import { mutated, withChecksums } from '../mutations.ts';
import { seedsOf } from '../seeds.ts';

export type NamedTar = readonly [name: string, tar: Buffer];

const LARGEST_REAL = 20_000_000;

export function madeTars(): NamedTar[] {
  return MADE_SETS.B1.map(({ name, bytes }) => [name, bytes]);
}

export async function mutatedTars(count: number, firstSeed: number): Promise<NamedTar[]> {
  const seeds = await seedsOf('B1');
  return Array.from({ length: count }, (_, index) => {
    const random = randomNumbers(firstSeed + index);
    const seed = seeds[Math.floor(random() * seeds.length)];
    const changed = mutated(seed?.bytes ?? Buffer.alloc(0), random);
    return [
      `PEEL_SEED=${firstSeed + index} PEEL_MUTATED=1`,
      random() < 0.8 ? withChecksums(changed) : changed,
    ];
  });
}

/** Real archives of every dialect; none where there are no real images. */
export function dialectTars(): NamedTar[] {
  const folder = imagesDir();
  if (folder === undefined) return [];
  const tars = path.join(folder, 'dialects', 'tar');
  return ['go', 'node-tar', 'tar-stream'].flatMap((group) =>
    readdirSync(path.join(tars, group)).flatMap((name): NamedTar[] => {
      if (!/\.(?:tar|tgz|gz)$/.test(name)) return [];
      const bytes = readFileSync(path.join(tars, group, name));
      const tar = bytes[0] === 0x1f ? gunzipSync(bytes) : bytes;
      return tar.length <= LARGEST_REAL ? [[`${group}/${name}`, tar]] : [];
    }),
  );
}

/** All behind each other, each with its length in front (4 bytes, big-endian). */
export function withLengths(tars: readonly NamedTar[]): Buffer {
  return Buffer.concat(
    tars.flatMap(([, tar]) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(tar.length);
      return [length, tar];
    }),
  );
}
