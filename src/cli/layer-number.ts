/** `--layer N`. */
import { PeelError } from '../errors.ts';

/** The index of a layer, 0 = lowest. @throws PeelError ERR_USAGE where the image has no such layer. */
export function layerNumber(text: string, layers: number): number {
  const layer = /^\d{1,4}$/u.test(text) ? Number(text) : Number.NaN;
  if (!(layer < layers)) {
    const has = layers === 1 ? 'only layer 0' : `layers 0 (lowest) to ${layers - 1}`;
    throw new PeelError('ERR_USAGE', `--layer ${text}: the image has ${has}`);
  }
  return layer;
}
