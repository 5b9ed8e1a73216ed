/**
 * What is known of each mount besides the kernel's table: who serves it, which image it shows. One small JSON
 * file a mount in the runtime folder, written by the server before it says ready and removed when it ends.
 * A record is a hint: the kernel's mount table decides what is mounted.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PeelError, systemCodeOf } from '../errors.ts';
import { makeFolders } from '../storage/make-folders.ts';
import { ownUid } from '../storage/own-file.ts';

/** Below the runtime folder: what servers in the background write. */
export const LOG_FOLDER = 'log';
/** A record is a few hundred bytes; more was not written by us. */
const MAX_RECORD_BYTES = 64 * 1024;

export interface MountRecord {
  readonly pid: number;
  /** Of the process, in clock ticks since boot: tells it from a later one with the same number. */
  readonly startTicks: string;
  readonly mountPoint: string;
  readonly image: string;
  readonly digest: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** We made the mount point, so we remove it. */
  readonly ownsMountPoint: boolean;
  readonly log: string | undefined;
  /** Whether all layers are known: not yet, all, or some failed. */
  readonly state: 'growing' | 'whole' | 'stuck';
}

/**
 * The folder for records, logs and mount points that we make; created with mode 0700.
 * @throws PeelError ERR_PERMISSION when it belongs to somebody else or others may write to it (F48).
 */
export async function openRuntimeDir(env: NodeJS.ProcessEnv): Promise<string> {
  const folder = runtimeDirOf(env);
  try {
    await makeFolders(folder);
    const stat = lstatSync(folder);
    if (stat.isDirectory() && stat.uid === ownUid() && (stat.mode & 0o022) === 0) return folder;
  } catch (error) {
    throw new PeelError(
      'ERR_PERMISSION',
      `creating the runtime folder ${folder}: ${systemCodeOf(error) ?? String(error)}; ` +
        'set XDG_RUNTIME_DIR to a folder of yours',
      {
        facts: { path: folder },
        cause: error,
      },
    );
  }
  throw new PeelError(
    'ERR_PERMISSION',
    `the runtime folder ${folder} must be a folder of this user that nobody else may write to`,
    { facts: { path: folder } },
  );
}

function runtimeDirOf(env: NodeJS.ProcessEnv): string {
  const xdg = env['XDG_RUNTIME_DIR'];
  // The specification says to ignore relative paths.
  if (xdg !== undefined && path.isAbsolute(xdg)) return path.join(xdg, 'peel');
  const uid = ownUid();
  return uid === 0 ? '/run/peel' : path.join(tmpdir(), `peel-${uid}`);
}

function recordFile(runtimeDir: string, mountPoint: string): string {
  const name = createHash('sha256').update(mountPoint).digest('hex').slice(0, 32);
  return path.join(runtimeDir, 'mounts', `${name}.json`);
}

export function writeRecord(runtimeDir: string, record: MountRecord): void {
  const file = recordFile(runtimeDir, record.mountPoint);
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  renameSync(temporary, file);
}

/** Its own: a server that outlived its mount (detached, stopped) leaves that of a later one on the same place. */
export function removeRecord(
  runtimeDir: string,
  { mountPoint, pid, startTicks }: Pick<MountRecord, 'mountPoint' | 'pid' | 'startTicks'>,
): void {
  const file = recordFile(runtimeDir, mountPoint);
  const found = readRecordFile(file);
  if (found?.pid === pid && found.startTicks === startTicks) rmSync(file, { force: true });
}

/** Records that are damaged, or of a later version, are left out. */
export function readRecords(runtimeDir: string): MountRecord[] {
  const folder = path.join(runtimeDir, 'mounts');
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names
    .filter((name) => name.endsWith('.json'))
    .map((name) => readRecordFile(path.join(folder, name)))
    .filter((record) => record !== undefined);
}

function readRecordFile(file: string): MountRecord | undefined {
  try {
    const stat = lstatSync(file);
    if (!stat.isFile() || stat.size > MAX_RECORD_BYTES) return undefined;
    return decodeRecord(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

function decodeRecord(value: unknown): MountRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '');
  const pid = fields['pid'];
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return undefined;
  if (!path.isAbsolute(text('mountPoint'))) return undefined;
  return {
    pid,
    startTicks: text('startTicks'),
    mountPoint: text('mountPoint'),
    image: text('image'),
    digest: text('digest'),
    startedAt: text('startedAt'),
    ownsMountPoint: fields['ownsMountPoint'] === true,
    log: path.isAbsolute(text('log')) ? text('log') : undefined,
    state: (['growing', 'stuck'] as const).find((state) => state === fields['state']) ?? 'whole',
  };
}

/** When a process began, or undefined when there is none: field 22 of proc_pid_stat(5). */
export function startTicksOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name of the program may hold spaces and parentheses; what follows its last parenthesis may not.
    const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' || state === 'X' ? undefined : rest[18];
  } catch {
    return undefined;
  }
}

export function isServerAlive(record: MountRecord): boolean {
  return record.startTicks !== '' && startTicksOf(record.pid) === record.startTicks;
}

/** Of servers that were killed, and whose mounts somebody has taken down since; `isMounted` is asked of a mount point. */
export function removeRecordsOfGoneMounts(
  runtimeDir: string,
  isMounted: (mountPoint: string) => boolean,
): void {
  for (const record of readRecords(runtimeDir)) {
    if (!isServerAlive(record) && !isMounted(record.mountPoint)) removeRecord(runtimeDir, record);
  }
  removeLogsOfDeadServers(runtimeDir);
}

/** Empty ones: servers that were killed could not remove them. What was written may say why one died, and stays. */
export function removeLogsOfDeadServers(runtimeDir: string): void {
  const folder = path.join(runtimeDir, LOG_FOLDER);
  const names = existsSync(folder) ? readdirSync(folder) : [];
  for (const name of names) {
    const pid = /^mount-(\d+)\.log$/.exec(name)?.[1];
    if (pid === undefined || startTicksOf(Number(pid)) !== undefined) continue;
    const file = path.join(folder, name);
    if (lstatSync(file, { throwIfNoEntry: false })?.size === 0) rmSync(file, { force: true });
  }
}
