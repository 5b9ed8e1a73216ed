/**
 * Where `run` keeps its containers, one folder each, named after the container; and clearing those whose command was
 * killed. Two who clear at once, or clear while a new container takes the name, cannot meet: the folder is claimed by
 * a rename, and the runtime knows the container by an id that is never used twice.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, statfsSync, statSync } from 'node:fs';
import path from 'node:path';
import { PeelError, systemCodeOf } from '../errors.ts';
import { removeRecordsOfGoneMounts } from '../fuse/mount-records.ts';
import { isMountedAt } from '../fuse/mount-table.ts';
import { log } from '../log.ts';
import { makeFolders } from '../storage/make-folders.ts';
import { isOwnerAlive, readBundleRecord, takeApart } from './bundle-folder.ts';

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const CLAIMED = '.gone-';
/** A folder without a record is a run that has just begun, or one that was killed there. */
const BEGINNING_MS = 60_000;
/** <linux/magic.h>: cannot hold the changes of an overlay. */
const NO_UPPER = [0x794c_7630, 0x6573_5546, 0x6969];

/** Folders that may hold containers, the one to use first: the cache's disk, and where that cannot, the runtime folder. */
function containersFolders(cacheDir: string, runtimeDir: string): string[] {
  return [path.join(cacheDir, 'containers'), path.join(runtimeDir, 'containers')];
}

function canHoldChanges(folder: string): boolean {
  return !NO_UPPER.includes(statfsSync(folder).type);
}

/**
 * A new folder for a container of this name.
 * @throws PeelError ERR_USAGE for a name that is none, ERR_CONTAINER where it is taken.
 */
export async function reserveContainerFolder(
  name: string,
  cacheDir: string,
  runtimeDir: string,
): Promise<string> {
  if (!NAME.test(name)) {
    throw new PeelError(
      'ERR_USAGE',
      `--name '${name.slice(0, 80)}': letters, digits, _ . and - only, at most 128, not one of the last three first`,
    );
  }
  const folders = containersFolders(cacheDir, runtimeDir);
  const taken = folders.map((folder) => path.join(folder, name)).find((folder) => existsSync(folder));
  if (taken !== undefined) throw await nameIsTaken(name, taken);
  let parent = folders[0] ?? '';
  await makeFolders(parent);
  if (!canHoldChanges(parent)) {
    parent = folders[1] ?? '';
    await makeFolders(parent);
  }
  const folder = path.join(parent, name);
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') throw await nameIsTaken(name, folder);
    throw error;
  }
  return folder;
}

async function nameIsTaken(name: string, folder: string): Promise<PeelError> {
  const record = await readBundleRecord(folder);
  const by =
    record === undefined ? 'another run' : `the container of process ${record.pid} (${record.image})`;
  return new PeelError('ERR_CONTAINER', `--name ${name}: ${by} has that name; choose another one`);
}

/** Takes apart what killed runs left. What fails is said in the log, and tried again by the next run. */
export async function clearDeadContainers(cacheDir: string, runtimeDir: string): Promise<void> {
  for (const parent of containersFolders(cacheDir, runtimeDir)) {
    const names = existsSync(parent) ? readdirSync(parent) : [];
    for (const name of names) {
      try {
        await clearIfDead(path.join(parent, name));
      } catch (error) {
        log().warn({ err: error, folder: path.join(parent, name) }, 'the rest of a killed container stays');
      }
    }
  }
  removeRecordsOfGoneMounts(runtimeDir, isMountedAt);
}

/** Takes the container in `folder` apart if the run that made it is gone. */
export async function clearIfDead(folder: string): Promise<void> {
  const record = await readBundleRecord(folder);
  if (record === undefined) {
    const made = statSync(folder, { throwIfNoEntry: false })?.ctimeMs;
    if (made === undefined || Date.now() - made < BEGINNING_MS) return;
    try {
      rmdirSync(folder);
    } catch {
      // not empty, so not ours
    }
    return;
  }
  if (isOwnerAlive(record)) return;
  const claimed = path.join(path.dirname(folder), `${CLAIMED}${randomBytes(6).toString('hex')}`);
  try {
    renameSync(folder, claimed);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return;
    throw error;
  }
  await takeApart(claimed, record, { lazy: true });
}
