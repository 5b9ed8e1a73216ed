import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { useTempDirs } from '../support/temp-dirs.ts';
import { openCachedReader } from './cached-reader.ts';
import { type Compiled, compile } from './compiled.ts';

const makeDir = useTempDirs();
const PROGRAM = 'test/blob/cache-process.ts';
const FULL_DISK = 'test/blob/full-disk-process.ts';
const DEADLINE_MS = 30_000;

let compiled: Compiled;
beforeAll(async () => {
  compiled = await compile([PROGRAM, FULL_DISK]);
});
afterAll(async () => {
  await compiled.remove();
});

const children = new Set<ChildProcess>();
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all([...children].map((child) => once(child, 'close')));
});

interface Running {
  readonly child: ChildProcess;
  /** Resolves once it has read something. */
  readonly reading: Promise<void>;
  /** What it wrote, once it has ended. */
  readonly ended: Promise<string[]>;
}

function start(command: readonly string[]): Running {
  const [program = '', ...rest] = command;
  const child = spawn(program, rest, {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: DEADLINE_MS,
    killSignal: 'SIGKILL',
  });
  children.add(child);
  let output = '';
  const reading = new Promise<void>((resolve) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      resolve();
    });
  });
  const ended = once(child, 'close').then(() => {
    children.delete(child);
    return output.split('\n').filter((line) => line !== '');
  });
  return { child, reading, ended };
}

function reader(folder: string, seed: number, rounds: number, maxSize: number): string[] {
  return [process.execPath, compiled.fileOf(PROGRAM), folder, String(seed), String(rounds), String(maxSize)];
}

async function outcomeOf(running: Running): Promise<Record<string, unknown>> {
  const lines = await running.ended;
  return JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown>;
}

describe('F42: several processes over one cache', () => {
  test.each([
    ['with room for all', 1e9],
    ['with room for a quarter', 450_000],
  ])(
    '%s: killed at any moment, none of them ever sees a wrong byte, nor does the next',
    async (_, maxSize) => {
      const folder = makeDir();
      const outputs: string[][] = [];
      let seed = 1;
      // Four at a time; each is killed at some moment, and another takes its place.
      const lives = Array.from({ length: 4 }, async (__, lane) => {
        for (let life = 0; life < 5; life += 1) {
          seed += 1;
          const running = start(reader(folder, seed, 0, maxSize));
          await Promise.race([running.reading, running.ended]);
          await new Promise((resolve) => setTimeout(resolve, (lane * 37 + life * 61) % 100));
          running.child.kill('SIGKILL');
          outputs.push(await running.ended);
        }
      });
      await Promise.all(lives);
      // One that saw a wrong byte or an error would have said so before it was killed.
      expect(outputs).toEqual(Array.from({ length: 20 }, () => ['reading']));

      const survivor = await outcomeOf(start(reader(folder, 99, 60, maxSize)));
      expect(survivor).toMatchObject({ read: 480 });
      expect(survivor['fromDisk']).toBeGreaterThan(0);

      for (const layer of [1, 2, 3]) {
        const opened = await openCachedReader(folder, {
          seed: layer,
          size: 600_000,
          spanSize: 20_000,
          cacheLimits: { maxSize },
        });
        expect(await opened.isAllRight()).toBe(true);
        await opened.close();
        const names = await readdir(opened.dir.layerDir(opened.toc.digest));
        expect(names.filter((name) => name !== 'spans' && name !== 'spans.map').length).toBeLessThanOrEqual(
          20,
        );
      }
      expect(await readdir(path.join(folder, 'v1'))).toContain('layers');
    },
  );
});

describe('P12: a cache that cannot be written', () => {
  test.each([
    ['F38: files may not grow beyond 100 kB', ['prlimit', '--fsize=100000'], [], {}],
    ['F30: there are no file descriptors left', [], ['no-descriptors'], { fromDisk: 0 }],
  ])('%s: reads are served without it', async (_, limit, trouble, outcome) => {
    const folder = makeDir();
    expect(await outcomeOf(start([...limit, ...reader(folder, 5, 20, 1e9), ...trouble]))).toMatchObject({
      read: 160,
      ...outcome,
    });
  });

  test.skipIf(process.getuid?.() !== 0)(
    'F37: a full disk, then a read-only one: reads go on, one warning for each outage, and both are got over',
    async () => {
      const folder = makeDir();
      const command = [process.execPath, compiled.fileOf(FULL_DISK), folder];
      // The disk is mounted in a namespace that ends with the process.
      const outcome = await outcomeOf(start(['unshare', '--mount', '--propagation', 'private', ...command]));
      expect(outcome).toEqual({
        full: { isRight: true, isComplete: false, warnings: 1 },
        freed: { isRight: true, isComplete: true },
        readOnly: { keptIsRight: true, requestsForKept: 0, otherIsRight: true, otherCached: 0, warnings: 1 },
        writable: { isRight: true, isComplete: true },
      });
    },
  );
});
