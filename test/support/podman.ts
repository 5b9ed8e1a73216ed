/**
 * Debian's podman with storage, state and locks in a folder of its own, configured for hosts like this one, and a
 * user for it who is not root. Nothing of the machine's own podman is read or changed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { mountTable, whyNoMounts } from './mount-child.ts';

const PROGRAM = '/usr/bin/podman';
const NEWUIDMAP = '/usr/bin/newuidmap';
const FUSERMOUNT = '/usr/bin/fusermount3';
/** Mounted over for the account of the test. */
const RANGES = ['/etc/subuid', '/etc/subgid'];

/** Why podman cannot be tested here, or undefined. */
export function whyNoPodman(): string | undefined {
  return whyNoMounts() ?? (existsSync(PROGRAM) ? undefined : `${PROGRAM} is not installed`);
}

/** Any that nobody has. */
export const UID = 4323;

/** Why podman cannot be tested as another user than root, or undefined. `main`: the program that the user runs. */
export function whyNoRootlessPodman(main: string): string | undefined {
  const why = whyNoPodman();
  if (why !== undefined) return why;
  const missing = [NEWUIDMAP, FUSERMOUNT, ...RANGES].find((program) => !existsSync(program));
  if (missing !== undefined) return `there is no ${missing}`;
  const { status } = spawnSync('setpriv', [`--reuid=${UID}`, '--clear-groups', 'test', '-r', main], {
    timeout: 10_000,
  });
  return status === 0 ? undefined : 'other users cannot read the program';
}

/** Writes the configuration into `folder`; what is returned belongs into the environment of podman. */
export function podmanEnvironment(folder: string): NodeJS.ProcessEnv {
  mkdirSync(folder, { recursive: true });
  const containers = path.join(folder, 'containers.conf');
  const storage = path.join(folder, 'storage.conf');
  writeFileSync(
    containers,
    [
      '[containers]',
      // The defaults are higher than a host without CAP_SYS_RESOURCE lets anybody set.
      'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]',
      '[engine]',
      'cgroup_manager = "cgroupfs"',
      'events_logger = "file"',
      'lock_type = "file"',
      `tmp_dir = "${folder}/tmp"`,
      `volume_path = "${folder}/volumes"`,
      '',
    ].join('\n'),
  );
  writeFileSync(
    storage,
    [
      '[storage]',
      'driver = "overlay"',
      `graphroot = "${folder}/storage"`,
      `runroot = "${folder}/run"`,
      '',
    ].join('\n'),
  );
  return { CONTAINERS_CONF: containers, CONTAINERS_STORAGE_CONF: storage };
}

/** podman keeps a mount of its storage folder for good. */
export function unmountStorage(folder: string): void {
  for (const line of mountTable().split('\n').reverse()) {
    const [, , , , place = ''] = line.split(' ');
    if (place.startsWith(`${folder}/`)) spawnSync('umount', ['--lazy', place], { timeout: 10_000 });
  }
}

/**
 * Words in front of a command: namespaces of mounts and processes, with an account that has ranges of user numbers
 * and a /dev/fuse that all may open, as on other hosts; the command is that user's.
 */
export function asUserWithAccount(folder: string): readonly string[] {
  mkdirSync(folder, { recursive: true });
  const account = (file: string, line: string): void =>
    writeFileSync(path.join(folder, file), `${readFileSync(`/etc/${file}`, 'utf8')}${line}\n`);
  account('passwd', `tester:x:${UID}:${UID}::${folder}:/bin/sh`);
  account('group', `tester:x:${UID}:`);
  writeFileSync(path.join(folder, 'range'), 'tester:300000:65536\n');
  const script = [
    'set -e',
    'mount --make-rshared /',
    `mount --bind ${folder}/passwd /etc/passwd`,
    `mount --bind ${folder}/group /etc/group`,
    ...RANGES.map((file) => `mount --bind ${folder}/range ${file}`),
    'mount -t tmpfs none /mnt && mknod -m 666 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse',
    `exec setpriv --reuid=${UID} --regid=${UID} --clear-groups "$@"`,
  ];
  // podman leaves a process behind that keeps its user namespace: it goes with the process namespace.
  const namespaces = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  return ['unshare', ...namespaces, 'sh', '-c', script.join('\n'), 'sh'];
}
