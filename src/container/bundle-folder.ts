/**
 * A bundle on disk, and how it is taken apart, by whoever made it or by somebody later:
 *
 *   DIR/.peel.json     the record: whose it is. Written first, removed last
 *   DIR/config.json    for the runtime
 *   DIR/rootfs         overlayfs
 *   DIR/.peel/lower    our mount        upper, work: the changes        etc: files bound into the container
 *
 * Every step may be done again: a crash at any point leaves a record that says what there may be to undo.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import path from 'node:path';
import { isPeelError, PeelError, systemCodeOf } from '../errors.ts';
import { startTicksOf } from '../fuse/mount-records.ts';
import { parseMountTable, readMountTable } from '../fuse/mount-table.ts';
import { unmountPath } from '../fuse/unmount.ts';
import { parseJson } from '../reference/parse-json.ts';
import { readOwnFile } from '../storage/own-file.ts';
import { removeCgroups } from './host-cgroups.ts';
import { deleteContainer, type Runtime } from './runtime.ts';

const RECORD = '.peel.json';
const MAX_RECORD_BYTES = 64 * 1024;
const VERSION = 1;
/** The server of a bundle ends with its mount. */
const SERVER_END_MS = 5000;
const POLL_MS = 20;
/** Removing what a container wrote. */
const REMOVE_DEADLINE_MS = 10 * 60 * 1000;

export interface BundleRecord {
  /** Of the server, which for `run` is the command itself. */
  readonly pid: number;
  readonly startTicks: string;
  readonly image: string;
  readonly digest: string;
  /** We made the folder, so we remove it. */
  readonly ownsFolder: boolean;
  /** Of the container that `run` starts from it; undefined for a bundle, whose container is the user's. */
  readonly container: { readonly id: string; readonly runtime: Runtime } | undefined;
}

/** The places in a bundle; those below it are relative to it. */
export const PLACES = {
  config: 'config.json',
  rootfs: 'rootfs',
  lower: '.peel/lower',
  upper: '.peel/upper',
  work: '.peel/work',
  etc: '.peel/etc',
  log: '.peel/runtime.log',
} as const;

/** Writes the record and makes the folders. `folder` exists and is empty. */
export function layOut(folder: string, record: BundleRecord): void {
  writeFileSync(path.join(folder, RECORD), `${JSON.stringify({ version: VERSION, ...record })}\n`, {
    flag: 'wx',
    mode: 0o600,
  });
  mkdirSync(path.join(folder, '.peel'), { mode: 0o700 });
  for (const name of [PLACES.lower, PLACES.upper, PLACES.work, PLACES.rootfs]) {
    mkdirSync(path.join(folder, name), { mode: 0o755 });
  }
}

/** undefined where `folder` is no bundle of this user. */
export async function readBundleRecord(folder: string): Promise<BundleRecord | undefined> {
  let value: unknown;
  try {
    const bytes = await readOwnFile(path.join(folder, RECORD), MAX_RECORD_BYTES);
    value = bytes === undefined ? undefined : parseJson(bytes, RECORD);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '');
  const pid = fields['pid'];
  if (fields['version'] !== VERSION || typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0)
    return undefined;
  return {
    pid,
    startTicks: text('startTicks'),
    image: text('image'),
    digest: text('digest'),
    ownsFolder: fields['ownsFolder'] === true,
    container: decodeContainer(fields['container']),
  };
}

function decodeContainer(value: unknown): BundleRecord['container'] {
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, runtime } = value as Readonly<Record<string, unknown>>;
  if (typeof runtime !== 'object' || runtime === null || typeof id !== 'string') return undefined;
  const { name, program, root } = runtime as Readonly<Record<string, unknown>>;
  if (name !== 'runc' && name !== 'crun') return undefined;
  if (typeof program !== 'string' || typeof root !== 'string') return undefined;
  return { id, runtime: { name, program, root } };
}

export function isOwnerAlive({ pid, startTicks }: BundleRecord): boolean {
  return startTicks !== '' && startTicksOf(pid) === startTicks;
}

/** Takes one mount out of the tree; nothing happens where there is none. */
async function unmountIfThere(place: string, lazy: boolean): Promise<void> {
  if (!readMountTable().some(({ mountPoint }) => mountPoint === place)) return;
  try {
    await unmountPath(place, { lazy });
  } catch (error) {
    // Somebody else was faster.
    if (!isPeelError(error, 'ERR_MOUNT') || error.facts['errno'] !== 'EINVAL') throw error;
  }
}

/** Takes the two mounts out of the tree. `lazy`: also where they are in use. */
export async function unmountBundle(folder: string, lazy: boolean): Promise<void> {
  await unmountIfThere(path.join(folder, PLACES.rootfs), lazy);
  // Only the overlay uses it, and keeps it for as long as somebody uses that.
  await unmountIfThere(path.join(folder, PLACES.lower), true);
}

/**
 * A process of a container on this bundle: one in another mount namespace that has the overlay as its root. Other
 * namespaces merely have a copy of what was mounted when they were made.
 */
async function findContainerProcess(folder: string): Promise<number | undefined> {
  const rootfs = path.join(folder, PLACES.rootfs);
  const mounted = readMountTable().findLast(({ mountPoint }) => mountPoint === rootfs);
  if (mounted === undefined) return undefined;
  const own = await readlink('/proc/self/ns/mnt');
  const seen = new Set([own]);
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const namespace = await readlink(`/proc/${name}/ns/mnt`);
      if (seen.has(namespace)) continue;
      seen.add(namespace);
      const table = parseMountTable(await readFile(`/proc/${name}/mountinfo`, 'latin1'));
      const root = table.findLast(({ mountPoint }) => mountPoint === '/');
      if (root?.major === mounted.major && root.minor === mounted.minor) return Number(name);
    } catch {
      // ended meanwhile
    }
  }
  return undefined;
}

/** Files that a container wrote: trees of any depth, and names of any kind, which rm(1) walks by descriptors. */
function removeTree(folder: string): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(
      '/bin/rm',
      ['-rf', '--one-file-system', '--', folder],
      { timeout: REMOVE_DEADLINE_MS },
      (error, _stdout, stderr) => {
        if (error === null) resolve();
        else
          reject(
            new PeelError('ERR_IO', `removing ${folder}: ${stderr.trim().slice(0, 500) || error.message}`),
          );
      },
    );
  });
}

async function untilEnded(record: BundleRecord): Promise<void> {
  for (let waited = 0; waited < SERVER_END_MS && isOwnerAlive(record); waited += POLL_MS) {
    await new Promise((resolve) => {
      setTimeout(resolve, POLL_MS);
    });
  }
}

export interface TakeApartOptions {
  /** Also where a container runs on it. */
  readonly lazy: boolean;
}

/**
 * Ends the container of `run`, unmounts, removes what we made; the changes are lost. May be called again after a crash.
 * @throws PeelError ERR_MOUNT_POINT_BUSY where a container runs on a bundle, ERR_IO.
 */
export async function takeApart(
  folder: string,
  record: BundleRecord,
  { lazy }: TakeApartOptions,
): Promise<void> {
  if (record.container !== undefined) {
    await deleteContainer(record.container.runtime, record.container.id);
    removeCgroups(record.container.id);
  } else if (!lazy) {
    const user = await findContainerProcess(folder);
    if (user !== undefined) {
      throw new PeelError(
        'ERR_MOUNT_POINT_BUSY',
        `taking the bundle ${folder} apart: process ${user} runs on it; end the container first, or use --lazy`,
        { facts: { path: folder, pid: user } },
      );
    }
  }
  // Nobody is served by a server that is gone: whoever is in it has nothing to lose.
  await unmountBundle(folder, lazy || record.container !== undefined || !isOwnerAlive(record));
  if (record.pid !== process.pid) await untilEnded(record);
  await removeTree(path.join(folder, '.peel'));
  rmSync(path.join(folder, PLACES.config), { force: true });
  removeEmpty(path.join(folder, PLACES.rootfs));
  rmSync(path.join(folder, RECORD), { force: true });
  if (record.ownsFolder) removeEmpty(folder);
}

/** What somebody else has put there stays. */
function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
}
