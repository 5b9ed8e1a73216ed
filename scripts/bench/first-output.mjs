// From nothing to the first output: what the groups that look at one thing time, and what a pull costs beside it.
import { rmSync } from 'node:fs';
import { run, secondsOf } from './command.mjs';

/**
 * @param {{counts: {bytes: number}, reset: () => void}} line
 * @param {(options: {onFirstOutput: () => void}) => Promise<unknown>} look
 * @returns {Promise<{seconds: number, bytes: number}>} at the first byte that is written
 */
export async function firstOutput(line, look) {
  let seen;
  line.reset();
  const started = process.hrtime.bigint();
  await look({
    onFirstOutput: () => {
      seen = { seconds: Number(process.hrtime.bigint() - started) / 1e9, bytes: line.counts.bytes };
    },
  });
  if (seen === undefined) throw new Error('a look that wrote nothing');
  return seen;
}

/**
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {string} image
 * @param {{counts: {bytes: number}, reset: () => void}} line
 * @param {(rootfs: string) => Promise<unknown>} [then] what is done with the unpacked image, timed with it
 * @returns {Promise<{seconds: number, bytes: number}>}
 */
export async function pull(scratch, image, line, then = async () => undefined) {
  const layout = scratch.path('pulled');
  line.reset();
  const seconds = await secondsOf(async () => {
    await run(
      scratch,
      ['skopeo', 'copy', '-q', '--src-tls-verify=false', `docker://${image}`, `oci:${layout}:x`],
      { quiet: true },
    );
    await run(scratch, ['umoci', 'unpack', '--image', `${layout}:x`, `${layout}/bundle`], { quiet: true });
    await then(`${layout}/bundle/rootfs`);
  });
  const { bytes } = line.counts;
  rmSync(layout, { recursive: true, force: true });
  return { seconds, bytes };
}
