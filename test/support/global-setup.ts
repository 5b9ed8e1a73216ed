/** Runs once before all tests: says what the run depends on, so that a skipped part is seen. */
import { imagesDir } from './images.ts';
import { whyNoUring } from './mount-child.ts';

export default function setup(): void {
  if (imagesDir() === undefined) {
    process.stderr.write('real images not found: tests over them are skipped (set PEEL_TEST_IMAGES)\n');
  }
  const reason = whyNoUring();
  if (reason !== undefined) process.stderr.write(`FUSE over io_uring is not tested: ${reason}\n`);
}
