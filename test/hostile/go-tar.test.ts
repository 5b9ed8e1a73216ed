/**
 * Tars of B1, mutated and made by hand, beside Go's archive/tar: what we take for a layer, Go reads the same way, entry for entry; more may
 * be refused. PEEL_MUTATED and PEEL_SEED choose. Needs Go.
 */
import { execFileSync } from 'node:child_process';
import path, { posix } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import type { Entry } from '../../src/layer/toc.ts';
import { sha256Hex } from '../support/digests.ts';
import { contentOf, tocOfBlob } from '../support/layer-toc.ts';
import { useSharedTempDirs } from '../support/temp-dirs.ts';
import { TYPE_OF_FLAG } from '../support/type-names.ts';
import { madeTars, mutatedTars, type NamedTar, withLengths } from './peers/corpus.ts';

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
    name: posix.join('/', bytesOf(Name)).replace(/^\/|(?!^)\/$/g, ''),
    type,
    mode: Mode & 0o7777,
    uid: Uid,
    gid: Gid,
    size: isFile ? Size : 0,
    // A time that no system can represent is 0 to the engines (E108).
    mtime: Number.isSafeInteger(Sec) ? [Sec, Nsec] : [0, 0],
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
    const accepted = await compare(await mutatedTars(COUNT, FIRST_SEED));
    if (COUNT >= 100) expect(accepted).toBeGreaterThan(COUNT / 20);
  });

  test('tars of B1 made by hand are refused, or read as Go reads them', async () => {
    expect(await compare(madeTars())).toBeGreaterThan(200);
  });

  /** How many we take. */
  async function compare(tars: readonly NamedTar[]): Promise<number> {
    const output = execFileSync(program, {
      input: withLengths(tars),
      maxBuffer: 1 << 30,
      timeout: 60_000,
    });
    const listings = output.toString('utf8').trimEnd().split('\n');
    expect(listings).toHaveLength(tars.length);
    let accepted = 0;
    for (const [index, [name, tar]] of tars.entries()) {
      const found = await tocOfBlob(tar).catch((error: unknown) => error);
      if (isPeelError(found)) continue;
      if (found instanceof Error) throw found;
      accepted += 1;
      const { toc } = found as Awaited<ReturnType<typeof tocOfBlob>>;
      const { Entries, Error: refusal } = JSON.parse(listings[index] ?? '') as GoListing;
      expect(refusal, name).toBe('');
      const known = (Entries ?? []).filter(({ Type }) => Type in TYPE_OF_FLAG);
      expect(
        toc.entries.map((entry) => shownOf(entry, tar)),
        name,
      ).toEqual(known.map(shownOfGo));
    }
    return accepted;
  }
});
