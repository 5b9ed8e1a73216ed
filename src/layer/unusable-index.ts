/**
 * An index that an image brings for a layer cannot be used: not the one that the manifest names, malformed, beyond a
 * cap, or saying what no layer can hold. It never fails the image: the layer is then read as the tar that it is.
 */
export class UnusableIndex extends Error {
  override readonly name = 'UnusableIndex';
}
