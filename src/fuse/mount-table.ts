/**
 * The mounts that this process sees, from /proc/self/mountinfo: text from the kernel, so that a mount whose
 * server hangs is found without touching it. Format: proc_pid_mountinfo(5).
 */
import { readFileSync } from 'node:fs';
import { type ByteString, bufferOfBytes } from '../units.ts';

/** The type of our mounts: FUSE with the subtype that the transports ask for. */
export const MOUNT_TYPE = 'fuse.peel';

export interface MountEntry {
  readonly id: number;
  /** Of st_dev: for FUSE, `minor` is the number of the connection in /sys/fs/fuse/connections. */
  readonly major: number;
  readonly minor: number;
  readonly mountPoint: string;
  readonly type: string;
  readonly source: string;
  /** FUSE: who mounted it. */
  readonly ownerUid: number | undefined;
}

/** Space, tab, newline and backslash stand as three octal digits. */
function unescapeOctal(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_all, digits: string) =>
    String.fromCharCode(parseInt(digits, 8)),
  );
  return bufferOfBytes(bytes as ByteString).toString('utf8');
}

/** The source of a mount stands in another field, so that its text cannot make an owner. */
function ownerOf(options: string): number | undefined {
  const uid = /(?:^|,)user_id=(\d+)(?:,|$)/.exec(options)?.[1];
  return uid === undefined ? undefined : Number(uid);
}

/** Lines that do not look as documented are left out. `text` has one character a byte (latin1). */
export function parseMountTable(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    // Optional fields come before the lone dash, from the seventh on.
    const dash = fields.indexOf('-', 6);
    const [id, , device, , mountPoint] = fields;
    const [type, source, options] = dash === -1 ? [] : fields.slice(dash + 1);
    const [major, minor] = (device ?? '').split(':').map(Number);
    if (mountPoint === undefined || type === undefined || major === undefined || minor === undefined)
      continue;
    entries.push({
      id: Number(id),
      major,
      minor,
      mountPoint: unescapeOctal(mountPoint),
      type: unescapeOctal(type),
      source: unescapeOctal(source ?? ''),
      ownerUid: ownerOf(options ?? ''),
    });
  }
  return entries;
}

export function readMountTable(): MountEntry[] {
  return parseMountTable(readFileSync('/proc/self/mountinfo', 'latin1'));
}

/** The uppermost mount at a place: later lines lie over earlier ones. `mountPoint` is absolute, without links. */
export function mountAt(
  mountPoint: string,
  table: readonly MountEntry[] = readMountTable(),
): MountEntry | undefined {
  return table.findLast((entry) => entry.mountPoint === mountPoint);
}

/** What is mounted inside of a mount, uppermost last; it must go first. */
export function mountsInside(
  mountPoint: string,
  table: readonly MountEntry[] = readMountTable(),
): MountEntry[] {
  return table.filter((entry) => entry.mountPoint.startsWith(`${mountPoint}/`));
}

export function isMountedAt(mountPoint: string): boolean {
  return mountAt(mountPoint) !== undefined;
}

/** The mounts of peel that a user may unmount: root all there are, others those that they made. */
export function mountsOf(uid: number, table: readonly MountEntry[] = readMountTable()): MountEntry[] {
  return table.filter((entry) => entry.type === MOUNT_TYPE && (uid === 0 || entry.ownerUid === uid));
}
