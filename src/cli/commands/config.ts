/** `peel config`: the configuration document of the image. */
import { documentCommand } from '../document-command.ts';

export const config = documentCommand(
  'config',
  'show the configuration of an image',
  (image) => image.configBytes,
);
