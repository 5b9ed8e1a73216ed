/** Which capabilities a container has: docker's default set, changed by --cap-add and --cap-drop. */
import { readFileSync } from 'node:fs';
import { PeelError } from '../errors.ts';

/** capability.h, in the order of its numbers. */
const ALL = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const;

/** What docker gives. */
const DEFAULT: readonly string[] = [
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'NET_RAW',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
];

export interface CapabilityOptions {
  readonly add: readonly string[];
  readonly drop: readonly string[];
  readonly privileged: boolean;
}

function parseName(text: string, option: string): string {
  const name = text.toUpperCase().replace(/^CAP_/, '');
  if (name === 'ALL' || ALL.some((each) => each === name)) return name;
  throw new PeelError(
    'ERR_USAGE',
    `${option}: '${text.slice(0, 80)}' is no capability (NET_ADMIN, SYS_PTRACE, ..., ALL)`,
  );
}

/** What this process may hand on: its bounding set, as bits by number. */
function ownBounding(): bigint {
  const mask = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return BigInt(`0x${mask ?? '0'}`);
}

/**
 * `CAP_...`, in the order of their numbers. `ALL` means all that this process has itself; one asked for by name that
 * it lacks is left in, and the runtime refuses it.
 * @throws PeelError ERR_USAGE for a name that Linux does not know.
 */
export function capabilitiesOf(options: CapabilityOptions): string[] {
  const add = options.add.map((each) => parseName(each, '--cap-add'));
  const drop = options.drop.map((each) => parseName(each, '--cap-drop'));
  const bounding = ownBounding();
  const own = ALL.filter((_, number) => (bounding & (1n << BigInt(number))) !== 0n);
  if (options.privileged) return own.map((name) => `CAP_${name}`);
  const start = drop.includes('ALL') ? [] : DEFAULT.filter((name) => own.some((each) => each === name));
  const wanted = new Set<string>([...(add.includes('ALL') ? own : start), ...add]);
  // As docker: with both, ALL of the one list and names of the other.
  for (const name of drop) wanted.delete(name);
  return ALL.filter((name) => wanted.has(name)).map((name) => `CAP_${name}`);
}
