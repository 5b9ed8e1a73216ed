/**
 * The members of tars of which only the headers are at hand (tar-split of zstd:chunked), beside the native framer that has all
 * of the tar: of what the one takes, the other makes the same frames. PEEL_MUTATED and PEEL_SEED choose.
 */
import { expect, test } from 'vitest';
import { isPeelError } from '../../src/errors.ts';
import { UnusableIndex } from '../../src/layer/unusable-index.ts';
import { HeaderFrames } from '../../src/layer/zstd-chunked/header-frames.ts';
import type { TarFrame } from '../../src/native.ts';
import { scan } from '../native/support.ts';
import { sha256Hex } from '../support/digests.ts';
import { madeTars, mutatedTars } from './peers/corpus.ts';

const COUNT = Number(process.env['PEEL_MUTATED'] ?? 300);
const FIRST_SEED = Number(process.env['PEEL_SEED'] ?? 1);

/** The frames of a tar whose contents are where `frames` says, or why there are none. */
function framesOfHeaders(tar: Buffer, frames: readonly TarFrame[]): TarFrame[] | string {
  const reader = new HeaderFrames();
  const found: TarFrame[] = [];
  try {
    let from = 0;
    for (const { dataOffset, storedSize } of frames) {
      found.push(...reader.segment(tar.subarray(from, dataOffset)));
      reader.payload(storedSize);
      from = dataOffset + storedSize;
    }
    found.push(...reader.segment(tar.subarray(from)));
    reader.end();
  } catch (error) {
    if (error instanceof UnusableIndex || isPeelError(error)) return error.message;
    throw error;
  }
  return found;
}

function shownFrame({ headerOffset, dataOffset, storedSize, header, parts }: TarFrame): string {
  const shownParts = parts.map(({ kind, data }) => `${kind} ${sha256Hex(data)}`);
  return [headerOffset, dataOffset, storedSize, sha256Hex(header), ...shownParts].join(' ');
}

const isMember = ({ header }: TarFrame): boolean => header.some((byte) => byte !== 0);
const isSparse = ({ header, parts }: TarFrame): boolean =>
  header.toString('latin1', 156, 157) === 'S' || parts.some(({ kind }) => kind === 'S' || kind === 'M');

test(`tars made by hand and ${COUNT} mutated from seed ${FIRST_SEED} have the same members by their headers alone`, {
  timeout: 120_000 + COUNT * 50,
}, async () => {
  let compared = 0;
  for (const [name, tar] of [...madeTars(), ...(await mutatedTars(COUNT, FIRST_SEED))]) {
    const scanned = await scan(tar).catch((error: unknown) => error);
    if (isPeelError(scanned)) continue;
    if (scanned instanceof Error) throw scanned;
    const frames = (scanned as Awaited<ReturnType<typeof scan>>).frames.filter(isMember);
    if (frames.some(isSparse)) continue;
    const found = framesOfHeaders(tar, frames);
    // To refuse more is safe: the layer is then read as a whole.
    if (typeof found === 'string') continue;
    expect(found.map(shownFrame), name).toEqual(frames.map(shownFrame));
    compared += 1;
  }
  expect(compared).toBeGreaterThan(300);
});
