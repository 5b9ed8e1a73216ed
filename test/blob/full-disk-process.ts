/**
 * A process with a small disk of its own under its cache (it runs in a mount namespace of its own, so that
 * nothing stays behind): fills it, frees it, makes it read-only and writable again, and reads all the while.
 * Writes what it saw as one line of JSON. Run by processes.test.ts in its compiled form.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { configureLog } from '../../src/log.ts';
import { type CachedReader, openCachedReader } from './cached-reader.ts';

const [folder = ''] = process.argv.slice(2);
const disk = path.join(folder, 'disk');
const logFile = path.join(folder, 'log');
const layer = { size: 600_000, spanSize: 20_000 };

function mount(...options: string[]): void {
  execFileSync('mount', [...options, disk], { timeout: 10_000 });
}

function warnings(): number {
  const lines = readFileSync(logFile, 'utf8').split('\n');
  return lines.filter((line) => line.includes('"level":40') && line.includes('going on without it')).length;
}

/** Reads all until all of it is kept; false when that takes longer than a recovery may. */
async function isKeptInTheEnd(opened: CachedReader): Promise<{ isRight: boolean; isComplete: boolean }> {
  let isRight = true;
  let isComplete = false;
  for (let attempt = 0; attempt < 20 && !isComplete; attempt += 1) {
    await delay(500);
    isRight &&= await opened.isAllRight();
    await opened.cache.flush();
    isComplete = await opened.cache.isComplete();
  }
  return { isRight, isComplete };
}

async function main(): Promise<object> {
  configureLog('warn', logFile);
  mkdirSync(disk);
  mount('-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'peel-test');
  const filler = path.join(disk, 'filler');
  const first = await openCachedReader(path.join(disk, 'cache'), layer);
  try {
    writeFileSync(filler, Buffer.alloc(5 * 1024 * 1024));
  } catch {
    // Full now, but for what a byte-wise end of the file left.
  }
  const full = {
    isRight: (await first.isAllRight()) && (await first.isAllRight()),
    isComplete: (await first.cache.flush(), await first.cache.isComplete()),
    warnings: warnings(),
  };
  rmSync(filler);
  const freed = await isKeptInTheEnd(first);
  await first.close();

  mount('-o', 'remount,ro');
  const before = warnings();
  const kept = await openCachedReader(path.join(disk, 'cache'), layer);
  const other = await openCachedReader(path.join(disk, 'cache'), { ...layer, seed: 2 });
  const readOnly = {
    keptIsRight: await kept.isAllRight(),
    requestsForKept: kept.source.requests.length,
    otherIsRight: (await other.isAllRight()) && (await other.isAllRight()),
    otherCached: (await other.cache.flush(), await other.cache.cachedBytes()),
    warnings: warnings() - before,
  };
  mount('-o', 'remount,rw');
  const writable = await isKeptInTheEnd(other);
  await kept.close();
  await other.close();
  return { full, freed, readOnly, writable };
}

main().then(
  (outcome) => process.stdout.write(`${JSON.stringify(outcome)}\n`),
  (error: unknown) => process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`),
);
