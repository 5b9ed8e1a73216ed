/**
 * Containers without root: the whole run goes into a user namespace of its own, where this user is root and may mount
 * FUSE and overlayfs. With newuidmap and a range in /etc/subuid it has other users as well, without them root alone.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { PeelError } from '../errors.ts';

const UNSHARE = '/usr/bin/unshare';
const SETPRIV = '/usr/bin/setpriv';
const NEWUIDMAP = '/usr/bin/newuidmap';
const TRY_DEADLINE_MS = 10_000;

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Whether this process is in a user namespace that does not have all users: root here is not root of the host. */
export function isInUserNamespace(): boolean {
  const map = read('/proc/self/uid_map');
  return map !== '' && !/^0\s+0\s+4294967295$/.test(map);
}

/** Whether a process here may have supplementary groups. */
export function mayHaveGroups(): boolean {
  return read('/proc/self/setgroups') !== 'deny';
}

/** Whether all of these users (or groups) exist here. */
export function areMapped(ids: readonly number[], map: 'uid_map' | 'gid_map'): boolean {
  const ranges = read(`/proc/self/${map}`)
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  return ids.every((id) => ranges.some(([first = 0, , count = 0]) => id >= first && id < first + count));
}

/** undefined for a user that passwd does not know. */
function ownName(): string | undefined {
  try {
    return os.userInfo().username;
  } catch {
    return undefined;
  }
}

function hasSubordinateIds(): boolean {
  const names = [ownName(), String(process.getuid?.())];
  return (
    existsSync(NEWUIDMAP) &&
    ['/etc/subuid', '/etc/subgid'].every((file) =>
      read(file)
        .split('\n')
        .some((line) => names.includes(line.split(':', 1)[0] ?? '')),
    )
  );
}

/**
 * The words to put before a command so that it runs as root of a namespace of its own, and is killed when whoever
 * starts it ends.
 * @throws PeelError ERR_PERMISSION saying what this host lacks.
 */
export function namespaceWords(): readonly string[] {
  for (const program of [UNSHARE, SETPRIV]) {
    if (!existsSync(program)) {
      throw new PeelError(
        'ERR_PERMISSION',
        `containers without root: ${program} is missing (package util-linux)`,
      );
    }
  }
  const words = [
    UNSHARE,
    '--user',
    '--mount',
    '--map-root-user',
    ...(hasSubordinateIds() ? ['--map-auto'] : []),
    '--',
  ];
  const [program = '', ...args] = words;
  try {
    execFileSync(program, [...args, '/bin/true'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: TRY_DEADLINE_MS,
    });
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error);
    throw new PeelError(
      'ERR_PERMISSION',
      `containers without root: this host lets users have no user namespace (${said.slice(0, 300)}); run it as root, or see ` +
        'the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns',
      { cause: error },
    );
  }
  return [...words, SETPRIV, '--pdeathsig', 'KILL', '--'];
}
