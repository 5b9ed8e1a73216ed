/** `--layer N`. */
import { PeelError } from '../errors.ts';
import type { FileSystem } from '../filesystem/filesystem.ts';
import type { Image } from '../image.ts';

/** The whole image, or one layer alone (0 = lowest). @throws PeelError ERR_USAGE where there is no such layer. */
export async function openFiles(image: Image, layer: string | undefined): Promise<FileSystem> {
  return layer === undefined
    ? await image.filesystem()
    : await image.layerFilesystem(layerNumber(layer, image.layers.length));
}

/** @throws PeelError ERR_USAGE where there is no such layer. */
export function layerNumber(text: string, layers: number): number {
  const layer = /^\d{1,4}$/u.test(text) ? Number(text) : Number.NaN;
  if (!(layer < layers)) {
    const has = layers === 1 ? 'only layer 0' : `layers 0 (lowest) to ${layers - 1}`;
    throw new PeelError('ERR_USAGE', `--layer ${text}: the image has ${has}`);
  }
  return layer;
}
