/**
 * The images of an archive of `docker save`, read in the plainest way: GNU tar extracts it, manifest.json (or, before
 * Docker 1.10, each layer's parent) names the layers. For tests that must not depend on `src/source/`.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';

/** Each image as tars, lowest first; undefined for a layer that is not in the archive. `folder` is empty. */
export function imagesOfSaved(archive: string, folder: string): (readonly (Buffer | undefined)[])[] {
  execFileSync('tar', ['-C', folder, '-xf', archive], { timeout: 60_000 });
  const json = (name: string): unknown => JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
  const layer = (name: string): Buffer | undefined => {
    const file = path.join(folder, name);
    if (!existsSync(file)) return undefined;
    const bytes = readFileSync(file);
    return bytes[0] === 0x1f ? gunzipSync(bytes) : bytes;
  };
  if (existsSync(path.join(folder, 'manifest.json'))) {
    const images = json('manifest.json') as { Layers?: string[]; layers?: string[] }[];
    return images.map(({ Layers, layers }) => (Layers ?? layers ?? []).map(layer));
  }
  const repositories = Object.values(json('repositories') as Record<string, Record<string, string>>);
  return repositories
    .flatMap((tags) => Object.values(tags))
    .map((top) => {
      const layers: (Buffer | undefined)[] = [];
      for (let id: string | undefined = top; id !== undefined; ) {
        layers.unshift(layer(`${id}/layer.tar`));
        id = (json(`${id}/json`) as { parent?: string }).parent;
      }
      return layers;
    });
}
