// Debian's docker-registry on loopback with one image in it, for the groups that count what goes over the network.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { run } from './command.mjs';

const SCRIPT = path.resolve(import.meta.dirname, '..', 'registry.sh');

/**
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {...import('./images.mjs').Image} images
 * @returns {Promise<{address: string, close: () => Promise<void>}>} address: host:port; every image is there under
 * its tag as the repository
 */
export async function registryWith(scratch, ...images) {
  const folder = scratch.path('registry');
  const close = scratch.onClose('stopping the registry', () =>
    spawnSync('bash', [SCRIPT, 'stop', folder], { stdio: 'ignore' }),
  );
  const address = (await run(scratch, ['bash', SCRIPT, 'start', folder])).trim();
  for (const { layout, tag } of images) {
    // A layer that is not compressed stays so.
    const copy = ['skopeo', 'copy', '-q', '--preserve-digests', '--dest-tls-verify=false'];
    await run(scratch, [...copy, `oci:${layout}:${tag}`, `docker://${address}/${tag}:latest`], {
      quiet: true,
    });
  }
  return { address, close };
}
