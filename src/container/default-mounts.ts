/** The mounts and paths that every container has: what docker and podman give by default. */

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** What docker hides: information about the host, and knobs of it. */
export const MASKED_PATHS = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
] as const;

export const READONLY_PATHS = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
] as const;

export interface DefaultMountOptions {
  /** In a user namespace of our own: sysfs of a network that is not ours may not be mounted, and is bound. */
  readonly inUserNamespace: boolean;
  readonly privileged: boolean;
  /** The host has cgroup file systems that can be shown. */
  readonly hasCgroups: boolean;
}

export function defaultMounts({ inUserNamespace, privileged, hasCgroups }: DefaultMountOptions): OciMount[] {
  const access = privileged ? 'rw' : 'ro';
  const guarded = ['nosuid', 'noexec', 'nodev'];
  const sys: OciMount = inUserNamespace
    ? { destination: '/sys', type: 'none', source: '/sys', options: ['rbind', ...guarded, 'ro'] }
    : { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...guarded, access] };
  // Group 5 is tty; a namespace with one id has none.
  const terminal = ['newinstance', 'ptmxmode=0666', 'mode=0620', ...(inUserNamespace ? [] : ['gid=5'])];
  const cgroups: OciMount = {
    destination: '/sys/fs/cgroup',
    type: 'cgroup',
    source: 'cgroup',
    options: [...guarded, 'relatime', access],
  };
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: guarded },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', ...terminal] },
    sys,
    ...(hasCgroups && !inUserNamespace ? [cgroups] : []),
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: guarded },
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: [...guarded, 'mode=1777', 'size=65536k'],
    },
  ];
}
