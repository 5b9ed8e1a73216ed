/**
 * Mounts of ours whose connection is gone: every access answers ENOTCONN until somebody unmounts. They are told
 * from living ones without a call that could hang in this process (a stopped server answers nobody).
 */
import { spawn } from 'node:child_process';
import { rmdirSync } from 'node:fs';
import { log } from '../log.ts';
import { isServerAlive, type MountRecord, removeLogsOfDeadServers, removeRecord } from './mount-records.ts';
import { MOUNT_TYPE, type MountEntry, mountAt } from './mount-table.ts';
import { unmountPath } from './unmount.ts';

/** The kernel answers for a dead connection at once; longer means that somebody is there, and slow. */
const PROBE_DEADLINE_MS = 2000;

/** What the kernel says of a connection that is gone: ENOTCONN, and ECONNABORTED while it is just going. */
const GONE = ['Transport endpoint is not connected', 'Software caused connection abort'];

/** statfs in a process of its own, which may hang without harm. True where the kernel says ENOTCONN. */
export function answersNotConnected(mountPoint: string): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn('/usr/bin/stat', ['-f', '--', mountPoint], {
      env: { LC_ALL: 'C' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let message = '';
    child.stderr.setEncoding('latin1').on('data', (text: string) => {
      message += text;
    });
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stderr.destroy();
      child.unref();
      resolve(false);
    }, PROBE_DEADLINE_MS);
    const done = (isGone: boolean): void => {
      clearTimeout(timer);
      resolve(isGone);
    };
    child.on('error', () => done(false));
    child.on('close', () => done(GONE.some((text) => message.includes(text))));
  });
}

/**
 * Whether the connection of a mount of ours is gone: with its server, or cut off while the server still lives (by
 * the watchdog, as long as the server is stopped). So only the kernel can say. In doubt it is not.
 */
export async function isDead(entry: MountEntry): Promise<boolean> {
  return entry.type === MOUNT_TYPE && (await answersNotConnected(entry.mountPoint));
}

/** Detaches a dead mount and removes what its server left behind. */
export async function clearDeadMount(
  entry: MountEntry,
  records: readonly MountRecord[],
  runtimeDir: string,
): Promise<void> {
  await unmountPath(entry.mountPoint, { lazy: true });
  const { mountPoint, source } = entry;
  log().warn({ mountPoint, source }, `removed a mount whose server had died: ${mountPoint}`);
  const record = records.find((candidate) => candidate.mountPoint === entry.mountPoint);
  if (record === undefined || isServerAlive(record)) return;
  removeRecord(runtimeDir, record);
  removeLogsOfDeadServers(runtimeDir);
  if (record.ownsMountPoint && mountAt(entry.mountPoint) === undefined) {
    try {
      rmdirSync(entry.mountPoint);
    } catch {
      // somebody has put something there: not ours any more
    }
  }
}
