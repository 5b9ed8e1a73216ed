// The first pass through a lazy mount fetches, which the groups `bytes` and `first-look` measure. Before what is in its
// cache is timed, everything is put there.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PASSTHROUGH } from './peel.mjs';

const SETTLE_MS = 3000;
const MAX_SETTLES = 40;

/** @type {Set<string>} mounts whose content is in their cache by now */
const filled = new Set();

/** Those that fetch, and whose pages are not those of the files behind them. @param {import('./backings.mjs').Backing} backing */
export const isLazy = ({ kind }) => kind === 'peel' || kind === 'stargz';

/**
 * Once for a mount that fetches; nothing for the others.
 * @param {import('./backings.mjs').Backing} backing
 * @param {() => Promise<unknown>} read everything that is timed later
 */
export async function fill(backing, read) {
  const { folder } = backing;
  if (!isLazy(backing) || filled.has(folder)) return;
  await read();
  if (backing.name === PASSTHROUGH.name) await untilSettled(backing.cacheDir);
  filled.add(folder);
}

/** Waits until no backing file is being made any more. */
async function untilSettled(cacheDir) {
  const names = () =>
    readdirSync(cacheDir, { recursive: true })
      .map((name) => path.basename(name))
      .filter((name) => /^(file-|\.new-file-)/.test(name))
      .join();
  let before = '';
  for (let look = 0; look < MAX_SETTLES; look += 1) {
    await sleep(SETTLE_MS);
    const found = names();
    if (found !== '' && found === before && !found.includes('.new-')) return;
    before = found;
  }
  throw new Error(`no backing files below ${cacheDir}, or no end of them: ${before}`);
}
