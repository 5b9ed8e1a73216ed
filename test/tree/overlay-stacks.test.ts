/**
 * Random stacks of layers against the kernel's overlayfs, in so far as it means the same by them: their layers unpacked by
 * GNU tar and mounted over each other. PEEL_STACKS and PEEL_SEED choose how many and which. Needs root and overlayfs.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mergeLayers } from '../../src/tree/merge.ts';
import { type Compiled, compile } from '../blob/compiled.ts';
import { contentFrom, type Row, rowsOf } from '../support/listing.ts';
import { overlayStack } from '../support/overlay-stack.ts';
import { randomStack, type Stack } from '../support/random-stack.ts';
import { readLayer } from '../support/read-layer.ts';
import { describeStack } from '../support/shrink-stack.ts';
import { writeTar } from '../support/tar-bytes.ts';
import { useTempDirs } from '../support/temp-dirs.ts';

const COUNT = Number(process.env['PEEL_STACKS'] ?? 30);
const FIRST_SEED = Number(process.env['PEEL_SEED'] ?? 1);
/** The slowest that a stack may be on a busy machine of 2 cores; the usual is a tenth. */
const STACK_MS = 2000;
const START_MS = 60_000;

/** A mount namespace that nobody else sees: what is mounted in it goes with its last process. */
const APART = ['--mount', '--propagation', 'private'];

/** Why overlayfs cannot be the judge here, or undefined when it can. */
function whyNoOverlay(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  try {
    // Its marks on disk, too: on an overlay nobody can make them.
    const script = `cd "$(mktemp -d)" && mkdir a b m && mknod a/w c 0 0 && setfattr -n trusted.overlay.opaque -v y b &&
      mount -t overlay -o ro,lowerdir=a:b overlay m; s=$?; umount m; rm -f a/w; rmdir a b m "$PWD"; exit $s`;
    execFileSync('unshare', [...APART, 'sh', '-c', script], { stdio: 'ignore', timeout: START_MS });
    return undefined;
  } catch {
    return 'no overlayfs, or no place for its marks';
  }
}

async function merged(stack: Stack): Promise<Row[]> {
  const layers = await Promise.all(stack.map((members) => readLayer(writeTar(members).bytes)));
  return rowsOf(mergeLayers(layers.map(({ entries }) => entries)), contentFrom(layers.map(({ tar }) => tar)));
}

/** Overlayfs counts links of files that it hides, and none of directories. */
function comparable(rows: readonly Row[]): Row[] {
  return rows.map((row) => ({ ...row, implied: false, nlink: 0, size: row.kind === 'dir' ? 0 : row.size }));
}

const problem = whyNoOverlay();
describe.skipIf(problem !== undefined)(
  `overlayfs${problem === undefined ? '' : ` (skipped: ${problem})`}`,
  () => {
    const makeDir = useTempDirs();
    let compiled: Compiled | undefined;
    beforeAll(async () => {
      compiled = await compile(['test/tree/overlay-process.ts']);
    });
    afterAll(() => compiled?.remove());

    test(`shows ${COUNT} stacks from seed ${FIRST_SEED} as they are merged here`, {
      timeout: START_MS + COUNT * STACK_MS,
    }, async () => {
      const folder = makeDir();
      const stacks = new Map<string, Stack>();
      let kept = 0;
      let made = 0;
      for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed += 1) {
        const { stack } = randomStack(seed);
        const { image, disk } = overlayStack(stack);
        stacks.set(`s${seed}`, image);
        made += stack.flat().length;
        kept += image.flat().length;
        mkdirSync(path.join(folder, `s${seed}`));
        for (const [layer, members] of disk.entries())
          writeFileSync(path.join(folder, `s${seed}`, `${layer}.tar`), writeTar(members).bytes);
      }
      // Stacks of which nothing is left would prove nothing.
      if (COUNT >= 20) expect(kept).toBeGreaterThan(made / 2);
      const program = compiled?.fileOf('test/tree/overlay-process.ts') ?? '';
      const { stdout } = await promisify(execFile)('unshare', [...APART, process.execPath, program, folder], {
        timeout: START_MS + COUNT * STACK_MS,
        killSignal: 'SIGKILL',
        maxBuffer: 1 << 30,
      });
      const shown = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as [string, Row[]]);
      expect(shown).toHaveLength(COUNT);
      for (const [name, rows] of shown) {
        const stack = stacks.get(name) ?? [];
        expect(comparable(await merged(stack)), `${name}\n${describeStack(stack)}`).toEqual(comparable(rows));
      }
    });
  },
);
