/** Runs once before all tests: says what the run depends on, so that a skipped part is seen. */
import { imagesDir } from './images.ts';

export default function setup(): void {
  if (imagesDir() === undefined) {
    process.stderr.write('real images not found: tests over them are skipped (set PEEL_TEST_IMAGES)\n');
  }
}
