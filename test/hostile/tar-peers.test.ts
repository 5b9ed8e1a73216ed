/**
 * Tars beside GNU tar, bsdtar's reader (libarchive) and Python's: where one of them takes what peel takes for another
 * thing, or refuses it, the tar is of a kind that is known for it. What Go makes of the same tars peel makes of them too
 * (go-tar.test.ts). PEEL_MUTATED and PEEL_SEED choose how many mutated ones, and which.
 */
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path, { posix } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import type { Entry } from '../../src/layer/toc.ts';
import type { TarFrame } from '../../src/native.ts';
import { scan } from '../native/support.ts';
import { tocOfBlob } from '../support/layer-toc.ts';
import { dialectTars, madeTars, mutatedTars, type NamedTar, withLengths } from './peers/corpus.ts';
import { DISAGREEMENTS, type Disagreement, type Reader } from './peers/disagreements.ts';

const COUNT = Number(process.env['PEEL_MUTATED'] ?? 150);
const FIRST_SEED = Number(process.env['PEEL_SEED'] ?? 1);
const LISTER = path.join(import.meta.dirname, 'peers', 'list-tars.py');
/** GNU tar is a process for each. */
const TAR_MS = 100;

interface PeerEntry {
  readonly name: string;
  readonly type: string;
  readonly mode: number;
  readonly size: number;
  readonly sec: number;
  readonly target: string | null;
}

type Listings = Readonly<Record<Reader, readonly PeerEntry[] | null>>;

/** Why the others cannot be asked, or undefined when they can. */
function problem(): string | undefined {
  try {
    execFileSync('python3', [LISTER], { input: '', stdio: 'pipe', timeout: 20_000 });
  } catch (error) {
    return String(error);
  }
  return undefined;
}

async function listed(tars: readonly NamedTar[]): Promise<Listings[]> {
  const run = promisify(execFile)('python3', [LISTER], {
    timeout: 60_000 + tars.length * TAR_MS,
    maxBuffer: 1 << 30,
    killSignal: 'SIGKILL',
  });
  run.child.stdin?.on('error', () => undefined).end(withLengths(tars));
  const { stdout } = await run;
  const listings = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Listings);
  expect(listings).toHaveLength(tars.length);
  return listings;
}

const bytesOf = (base64: string): string => Buffer.from(base64, 'base64').toString('latin1');
const cleaned = (name: string): string => posix.join('/', name).replace(/^\/|(?!^)\/$/g, '');

function shown(name: string, type: string, mode: number, size: number, sec: number, target: string): string {
  // A hard link names another member, in any spelling.
  const shownTarget = type === 'hardlink' ? cleaned(target) : target;
  return [cleaned(name), type, mode.toString(8), size, sec, shownTarget]
    .map((value) => JSON.stringify(value))
    .join(' ');
}

function shownOf({ path: name, type, mode, size, mtimeSec, target }: Entry): string {
  return shown(name, type, mode, type === 'file' ? size : 0, mtimeSec, target ?? '');
}

function shownOfPeer({ name, type, mode, size, sec, target }: PeerEntry): string {
  return shown(bytesOf(name), type, mode, size, sec, target === null ? '' : bytesOf(target));
}

/** The kinds that explain a difference in this tar for this reader. */
function kindsOf(frames: readonly TarFrame[], tar: Buffer, reader: Reader): Disagreement[] {
  return DISAGREEMENTS.filter(({ readers, isIn }) => readers.includes(reader) && isIn(frames, tar));
}

const reason = problem();
if (reason !== undefined)
  process.stderr.write(`tars are not compared with GNU tar, bsdtar, Python: ${reason}\n`);

describe.skipIf(reason !== undefined)('with GNU tar, bsdtar and Python', () => {
  test(`tars made by hand, of every dialect, and ${COUNT} mutated from seed ${FIRST_SEED} are refused, or read as they read them but for known kinds`, {
    timeout: 200_000 + COUNT * TAR_MS,
  }, async () => {
    const tars = [...madeTars(), ...dialectTars(), ...(await mutatedTars(COUNT, FIRST_SEED))];
    const listings = await listed(tars);
    const seen = new Set<string>();
    const agreed: Record<Reader, number> = { gnu: 0, libarchive: 0, python: 0 };
    const unexplained: string[] = [];
    for (const [index, [name, tar]] of tars.entries()) {
      const built = await tocOfBlob(tar).catch((error: unknown) => error as Error);
      if (built instanceof Error) {
        if (isPeelError(built)) continue;
        throw built;
      }
      const ours = built.toc.entries.map(shownOf).join('\n');
      const { frames } = await scan(tar);
      for (const reader of ['gnu', 'libarchive', 'python'] as const) {
        const theirs = listings[index]?.[reader]?.map(shownOfPeer).join('\n');
        if (theirs === ours) {
          agreed[reader] += 1;
          continue;
        }
        const kinds = kindsOf(frames, tar, reader);
        for (const { title } of kinds) seen.add(`${title} (${reader})`);
        if (kinds.length === 0) unexplained.push(`${name}: peel\n${ours}\n${reader}\n${theirs ?? 'refuses'}`);
      }
    }
    expect(unexplained).toEqual([]);
    // A kind that nobody shows is none.
    const all = DISAGREEMENTS.flatMap(({ title, readers }) =>
      readers.map((reader) => `${title} (${reader})`),
    );
    if (COUNT >= 100) expect([...seen].sort()).toEqual(all.sort());
    expect(Math.min(...Object.values(agreed))).toBeGreaterThan(200);
  });
});

test('the kinds of tars that readers disagree about are those of docs/SEMANTICS.md', () => {
  const page = readFileSync(path.join(import.meta.dirname, '..', '..', 'docs', 'SEMANTICS.md'), 'utf8');
  const missing = DISAGREEMENTS.filter(({ title }) => !page.includes(`| ${title} |`));
  expect(missing.map(({ title }) => title)).toEqual([]);
});
