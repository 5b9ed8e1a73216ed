/**
 * Mutated tars (B1) beside Go's archive/tar: what we take for a layer, Go reads the same way, entry for entry; more may
 * be refused. PEEL_MUTATED and PEEL_SEED choose. Needs Go.
 */
import { execFileSync } from 'node:child_process';
import path, { posix } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import type { Entry } from '../../src/layer/toc.ts';
import { sha256Hex } from '../support/digests.ts';
import { contentOf, tocOfBlob } from '../support/layer-toc.ts';
import { randomNumbers } from '../support/random-numbers.ts';
import { useSharedTempDirs } from '../support/temp-dirs.ts';
import { TYPE_OF_FLAG } from '../support/type-names.ts';
import { mutated, withChecksums } from './mutations.ts';
import { seedsOf } from './seeds.ts';

const COUNT = Number(process.env['PEEL_MUTATED'] ?? 300);
const FIRST_SEED = Number(process.env['PEEL_SEED'] ?? 1);
const BUILD_MS = 120_000;
/** As the Go program has it. */
const MAX_CONTENT = 1 << 24;

interface GoEntry {
  readonly Name: string;
  readonly Link: string;
  readonly Type: string;
  readonly Mode: number;
  readonly Uid: number;
  readonly Gid: number;
  readonly Size: number;
  readonly Sec: number;
  readonly Nsec: number;
  readonly Dev: readonly [number, number];
  readonly Sha256: string;
}

interface GoListing {
  readonly Entries: readonly GoEntry[] | null;
  readonly Error: string;
}

function hasGo(): boolean {
  try {
    execFileSync('go', ['version'], { stdio: 'ignore', timeout: BUILD_MS });
    return true;
  } catch {
    return false;
  }
}

function shownOf(entry: Entry, tar: Buffer): object {
  const { path: name, type, mode, uid, gid, size, mtimeSec, mtimeNsec, target, rdev } = entry;
  const content = type === 'file' && size <= MAX_CONTENT ? sha256Hex(contentOf(tar, entry)) : '';
  const mtime = [mtimeSec, mtimeNsec];
  return { name, type, mode, uid, gid, size: type === 'file' ? size : 0, mtime, target, rdev, content };
}

function shownOfGo({ Name, Link, Type, Mode, Uid, Gid, Size, Sec, Nsec, Dev, Sha256 }: GoEntry): object {
  const type = TYPE_OF_FLAG[Type];
  const isFile = type === 'file';
  return {
    name: posix.join('/', bytesOf(Name)).replace(/^\/|(?<=.)\/$/g, ''),
    type,
    mode: Mode & 0o7777,
    uid: Uid,
    gid: Gid,
    size: isFile ? Size : 0,
    mtime: [Sec, Nsec],
    target: type === 'symlink' || type === 'hardlink' ? bytesOf(Link) : undefined,
    rdev: type === 'char' || type === 'block' ? Dev : undefined,
    content: isFile && Size <= MAX_CONTENT ? Sha256 : '',
  };
}

const bytesOf = (base64: string): string => Buffer.from(base64, 'base64').toString('latin1');

if (!hasGo()) process.stderr.write('tars are not compared with Go: there is no go\n');

describe.skipIf(!hasGo())('with Go', () => {
  const makeDir = useSharedTempDirs();
  let program = '';
  beforeAll(() => {
    program = path.join(makeDir(), 'go-tar');
    execFileSync('go', ['build', '-o', program, path.join(import.meta.dirname, 'go-tar', 'main.go')], {
      timeout: BUILD_MS,
    });
  }, BUILD_MS);

  test(`${COUNT} mutated tars of B1 from seed ${FIRST_SEED} are refused, or read as Go reads them`, {
    timeout: 60_000 + COUNT * 50,
  }, async () => {
    const seeds = await seedsOf('B1');
    const tars = Array.from({ length: COUNT }, (_, index) => {
      const random = randomNumbers(FIRST_SEED + index);
      const seed = seeds[Math.floor(random() * seeds.length)];
      const changed = mutated(seed?.bytes ?? Buffer.alloc(0), random);
      return random() < 0.8 ? withChecksums(changed) : changed;
    });
    const input = tars.flatMap((tar) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(tar.length);
      return [length, tar];
    });
    const output = execFileSync(program, {
      input: Buffer.concat(input),
      maxBuffer: 1 << 30,
      timeout: 60_000,
    });
    const listings = output.toString('utf8').trimEnd().split('\n');
    expect(listings).toHaveLength(COUNT);
    let accepted = 0;
    for (const [index, tar] of tars.entries()) {
      const found = await tocOfBlob(tar).catch((error: unknown) => error);
      if (isPeelError(found)) continue;
      if (found instanceof Error) throw found;
      accepted += 1;
      const { toc } = found as Awaited<ReturnType<typeof tocOfBlob>>;
      const { Entries, Error: refusal } = JSON.parse(listings[index] ?? '') as GoListing;
      const where = `PEEL_SEED=${FIRST_SEED + index} PEEL_MUTATED=1`;
      expect(refusal, where).toBe('');
      const known = (Entries ?? []).filter(({ Type }) => Type in TYPE_OF_FLAG);
      expect(
        toc.entries.map((entry) => shownOf(entry, tar)),
        where,
      ).toEqual(known.map(shownOfGo));
    }
    if (COUNT >= 100) expect(accepted).toBeGreaterThan(COUNT / 20);
  });
});
