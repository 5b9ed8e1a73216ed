/** `peel manifest`: the manifest that was chosen for the platform. */
import { documentCommand } from '../document-command.ts';

export const manifest = documentCommand(
  'manifest',
  'show the manifest of an image',
  (image) => image.manifestDocument.bytes,
);
