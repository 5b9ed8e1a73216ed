/**
 * System calls that a container may not make. Docker allows a list and refuses the rest; this refuses what docker's
 * documentation names as blocked, and later calls of the same kind, and allows the rest: a shorter list, which does
 * not break programs on kernels newer than itself, at the price that a call which nobody has thought of is allowed.
 * What a capability gives a use for is allowed with it.
 */

interface SeccompRule {
  readonly names: readonly string[];
  readonly action: 'SCMP_ACT_ERRNO';
  readonly errnoRet: number;
  readonly args?: readonly {
    readonly index: number;
    readonly value: number;
    readonly valueTwo: number;
    readonly op: 'SCMP_CMP_MASKED_EQ';
  }[];
}

export interface Seccomp {
  readonly defaultAction: 'SCMP_ACT_ALLOW';
  readonly architectures: readonly string[];
  readonly syscalls: readonly SeccompRule[];
}

const EPERM = 1;
const ENOSYS = 38;

/** By what they take; '' for what no capability unlocks. */
const REFUSED: Readonly<Record<string, readonly string[]>> = {
  '': [
    'add_key',
    'get_kernel_syms',
    'io_uring_enter',
    'io_uring_register',
    'io_uring_setup',
    'keyctl',
    'nfsservctl',
    'query_module',
    'request_key',
    'sysfs',
    '_sysctl',
    'uselib',
    'userfaultfd',
    'ustat',
    'vm86',
    'vm86old',
  ],
  CAP_SYS_ADMIN: [
    'fanotify_init',
    'fsconfig',
    'fsmount',
    'fsopen',
    'fspick',
    'lookup_dcookie',
    'mount',
    'mount_setattr',
    'move_mount',
    'open_tree',
    'pivot_root',
    'quotactl',
    'quotactl_fd',
    'setdomainname',
    'sethostname',
    'setns',
    'swapoff',
    'swapon',
    'umount',
    'umount2',
    'unshare',
  ],
  CAP_BPF: ['bpf'],
  CAP_PERFMON: ['perf_event_open'],
  CAP_DAC_READ_SEARCH: ['open_by_handle_at'],
  CAP_SYS_BOOT: ['kexec_file_load', 'kexec_load', 'reboot'],
  CAP_SYS_MODULE: ['create_module', 'delete_module', 'finit_module', 'init_module'],
  CAP_SYS_NICE: ['get_mempolicy', 'mbind', 'move_pages', 'set_mempolicy'],
  CAP_SYS_PACCT: ['acct'],
  CAP_SYS_PTRACE: ['kcmp', 'pidfd_getfd', 'process_madvise'],
  CAP_SYS_RAWIO: ['ioperm', 'iopl'],
  CAP_SYS_TIME: ['clock_adjtime64', 'clock_settime', 'clock_settime64', 'settimeofday', 'stime'],
  CAP_SYSLOG: ['syslog'],
};

/** What CAP_SYS_ADMIN does as well as the narrower one. */
const ALSO_SYS_ADMIN = ['CAP_BPF', 'CAP_PERFMON', 'CAP_SYSLOG'];

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: <linux/sched.h>. */
const NAMESPACE_FLAGS = [
  0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000,
];

/** The host's, and the narrower ones that its kernel runs as well. */
const ARCHITECTURES: Readonly<Record<string, readonly string[]>> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
};

/** The filter for a container with these capabilities, for programs of this host's architecture. */
export function seccompFor(capabilities: readonly string[], arch: string = process.arch): Seccomp {
  const has = (name: string): boolean =>
    capabilities.includes(name) || (ALSO_SYS_ADMIN.includes(name) && capabilities.includes('CAP_SYS_ADMIN'));
  const refused = Object.entries(REFUSED).flatMap(([needs, names]) => (has(needs) ? [] : names));
  const syscalls: SeccompRule[] = [{ names: refused, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM }];
  if (!has('CAP_SYS_ADMIN')) {
    for (const flag of NAMESPACE_FLAGS) {
      syscalls.push({
        names: ['clone'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: EPERM,
        args: [{ index: 0, value: flag, valueTwo: flag, op: 'SCMP_CMP_MASKED_EQ' }],
      });
    }
    // Its flags lie in memory, where no filter sees them. C libraries fall back to clone.
    syscalls.push({ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS });
  }
  return {
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: ARCHITECTURES[arch] ?? [],
    syscalls,
  };
}
