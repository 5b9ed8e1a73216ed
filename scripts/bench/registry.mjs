// Debian's docker-registry on loopback with one image in it, for the groups that count what goes over the network.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { run } from './command.mjs';

const SCRIPT = path.resolve(import.meta.dirname, '..', 'registry.sh');

/**
 * @param {import('./scratch.mjs').Scratch} scratch
 * @param {import('./images.mjs').Image} image
 * @returns {Promise<{address: string, repository: string, close: () => Promise<void>}>} address: host:port
 */
export async function registryWith(scratch, image) {
  const folder = scratch.path('registry');
  const close = scratch.onClose('stopping the registry', () =>
    spawnSync('bash', [SCRIPT, 'stop', folder], { stdio: 'ignore' }),
  );
  const address = (await run(scratch, ['bash', SCRIPT, 'start', folder])).trim();
  const repository = image.tag;
  const target = `docker://${address}/${repository}:latest`;
  await run(
    scratch,
    ['skopeo', 'copy', '-q', '--dest-tls-verify=false', `oci:${image.layout}:${image.tag}`, target],
    {
      quiet: true,
    },
  );
  return { address, repository, close };
}
