/**
 * The three files of /etc that say where a container is in its network, written for each container and bound over
 * the image's. With the host's network they are the host's own; without one, a container knows itself alone.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { OciMount } from './default-mounts.ts';

export type Network = 'host' | 'none';

const LOOPBACK = '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n';

function hostFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** Whether a line of hosts(5) names the host. */
function knows(hosts: string, hostname: string): boolean {
  return hosts.split('\n').some((line) => (line.split('#', 1)[0] ?? '').split(/\s+/).includes(hostname));
}

function contentsOf(network: Network, hostname: string): Readonly<Record<string, string>> {
  const known = network === 'host' ? hostFile('/etc/hosts') || LOOPBACK : LOOPBACK;
  const own = knows(known, hostname) ? '' : `${known.endsWith('\n') ? '' : '\n'}127.0.1.1\t${hostname}\n`;
  return {
    hostname: `${hostname}\n`,
    hosts: `${known}${own}`,
    'resolv.conf': network === 'host' ? hostFile('/etc/resolv.conf') : '',
  };
}

/** Writes the files below `folder` and says how they are mounted. */
export function writeNetworkFiles(
  folder: string,
  { network, hostname, isReadOnly }: { network: Network; hostname: string; isReadOnly: boolean },
): OciMount[] {
  mkdirSync(folder, { mode: 0o755 });
  return Object.entries(contentsOf(network, hostname)).map(([name, text]) => {
    const source = path.join(folder, name);
    // The container may write to them as its own: not to the host's.
    writeFileSync(source, text, { mode: 0o644 });
    return {
      destination: `/etc/${name}`,
      type: 'bind',
      source,
      options: ['rbind', 'rprivate', isReadOnly ? 'ro' : 'rw'],
    };
  });
}
