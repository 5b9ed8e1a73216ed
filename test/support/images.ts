/**
 * Where the real images and their reference listings lie: third-party data that is never committed.
 * `PEEL_TEST_IMAGES` names the folder; the default is `shared/images` beside the checkout.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';

export function imagesDir(): string | undefined {
  const folder =
    process.env['PEEL_TEST_IMAGES'] ??
    path.resolve(import.meta.dirname, '..', '..', '..', 'shared', 'images');
  return existsSync(path.join(folder, 'listings')) ? folder : undefined;
}
