/**
 * Puts mutated inputs of one set to their readers, in a process of its own: node mutate-process.js SET SEED COUNT
 * PROGRESS. Says in one line of JSON what became of them; a case that ends in anything but a documented error or a
 * right result ends the process. PROGRESS is a file that names the case that runs, for whoever finds the process dead.
 */
import { createHash } from 'node:crypto';
import { openSync, readdirSync, readlinkSync, writeSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { isPeelError } from '../../src/errors.ts';
import { buildToc } from '../../src/layer/build-toc.ts';
import { StoredFormError } from '../../src/layer/byte-reader.ts';
import { tocOfChunks } from '../../src/layer/chunks/chunk-toc.ts';
import { decodeToc } from '../../src/layer/decode-toc.ts';
import { encodeToc, sealToc } from '../../src/layer/encode-toc.ts';
import type { Toc } from '../../src/layer/toc.ts';
import { UnusableIndex } from '../../src/layer/unusable-index.ts';
import { parseConfig } from '../../src/reference/parse-config.ts';
import { parseDocument } from '../../src/reference/parse-document.ts';
import { parseJson } from '../../src/reference/parse-json.ts';
import { parseSaveManifest } from '../../src/source/archive/parse-save-manifest.ts';
import { mergeLayers } from '../../src/tree/merge.ts';
import type { Digest } from '../../src/units.ts';
import { randomNumbers } from '../support/random-numbers.ts';
import { mutated, withChecksums } from './mutations.ts';
import { type MutatedSet, type Seed, seedsOf } from './seeds.ts';

const digestOf = (bytes: Uint8Array) =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;

/** What is accepted says what an independent reader says, and goes through the readers behind it. */
async function read({ form }: Seed, bytes: Buffer): Promise<void> {
  if (form === 'document' || form === 'config' || form === 'save') readDocument(form, bytes);
  else if (form === 'chunks') readChunks(bytes);
  else if (form === 'toc') readStored(bytes);
  else await readLayer(bytes);
}

function readDocument(form: 'document' | 'config' | 'save', bytes: Buffer): void {
  const value = parseJson(bytes, 'a mutated document');
  mustBe(JSON.stringify(value), JSON.stringify(JSON.parse(bytes.toString('utf8'))), 'JSON of');
  if (form === 'document') parseDocument(bytes);
  else if (form === 'config') parseConfig(bytes);
  else parseSaveManifest(bytes, 'a mutated manifest.json');
}

function readChunks(json: Buffer): void {
  const digest = digestOf(json);
  const layer = {
    digest,
    size: 1 << 20,
    format: 'estargz',
    compression: 'gzip',
    indexDigest: digest,
  } as const;
  const file = encodeToc(sealToc(tocOfChunks(json, layer), Buffer.alloc(0)));
  try {
    readStored(file);
  } catch (error) {
    // It was taken for good, and would be refused on every later start.
    throw error instanceof StoredFormError
      ? new Error('an index made a TOC that is none', { cause: error })
      : error;
  }
}

function readStored(file: Buffer): void {
  const sealed = decodeToc(file);
  mergeLayers([sealed.toc.entries]);
  decodeToc(encodeToc(sealed));
}

async function readLayer(blob: Buffer): Promise<void> {
  const toc = await tocOf(blob);
  const garbage = Number(/^(\d+) bytes after the end/.exec(toc.warnings.at(-1) ?? '')?.[1] ?? 0);
  if (toc.compression === 'none') mustBe(toc.diffID ?? '', digestOf(blob), 'diffID of');
  if (toc.compression === 'gzip') {
    const tar = gunzipSync(blob.subarray(0, blob.length - garbage));
    mustBe(toc.diffID ?? '', digestOf(tar), 'diffID of');
  }
  mergeLayers([toc.entries]);
}

async function tocOf(blob: Buffer): Promise<Toc> {
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let at = 0; at < blob.length; at += 4096) yield blob.subarray(at, at + 4096);
  }
  return (await buildToc(pieces(), { digest: digestOf(blob), size: blob.length })).toc;
}

function mustBe(found: string, wanted: string, what: string): void {
  if (found !== wanted) throw new Error(`${what} a mutated input: ${found}, want ${wanted}`);
}

/** Sums set right again, so that readers look at what they hold. */
function withSums(form: Seed['form'], bytes: Buffer): Buffer {
  if (form === 'tar') return withChecksums(bytes);
  if (form !== 'toc') return bytes;
  const end = Math.max(0, bytes.length - 32);
  return Buffer.concat([
    bytes.subarray(0, end),
    createHash('sha256').update(bytes.subarray(0, end)).digest(),
  ]);
}

async function outcomeOf(seed: Seed, bytes: Buffer): Promise<string> {
  try {
    await read(seed, bytes);
    return 'right';
  } catch (error) {
    if (isPeelError(error)) return error.code;
    if (error instanceof UnusableIndex) return 'unusable index';
    if (error instanceof StoredFormError) return 'unusable TOC';
    throw error;
  }
}

/** Without /dev/null, which the runtime opens at a moment of its own, also where nothing is read but JSON. */
function openFiles(): number {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // The one of this listing.
    }
  });
  return targets.filter((target) => target !== '/dev/null').length;
}
/** KiB */
const peakMemory = () => process.resourceUsage().maxRSS;

const [set, firstSeed, count, progress] = process.argv.slice(2) as [MutatedSet, string, string, string];
const seeds = await seedsOf(set);
for (const seed of seeds)
  if ((await outcomeOf(seed, seed.bytes)) !== 'right') throw new Error(`${seed.form}: a seed is not sound`);
const progressFile = openSync(progress, 'w');
const idleMemory = peakMemory();
/** What Node opens with the first cases stays open: no case opened it. */
const WARM_UP = 20;
let openAtFirst: number | undefined;
const outcomes: Record<string, number> = {};
let slowest = { seed: -1, ms: 0, msPerMiB: 0 };
for (let number = Number(firstSeed); number < Number(firstSeed) + Number(count); number += 1) {
  if (number === Number(firstSeed) + WARM_UP) openAtFirst = openFiles();
  writeSync(progressFile, String(number).padEnd(16), 0);
  const random = randomNumbers(number);
  const seed = seeds[Math.floor(random() * seeds.length)] as Seed;
  const changed = mutated(seed.bytes, random);
  const bytes = random() < 0.7 ? withSums(seed.form, changed) : changed;
  const start = process.cpuUsage();
  const outcome = await outcomeOf(seed, bytes);
  const { user, system } = process.cpuUsage(start);
  const ms = (user + system) / 1000;
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  if (ms > slowest.ms) slowest = { seed: number, ms, msPerMiB: ms / Math.max(1, bytes.length / (1 << 20)) };
}
const memoryMiB = (peakMemory() - idleMemory) / 1024;
process.stdout.write(
  `${JSON.stringify({ outcomes, slowest, memoryMiB, leftOpen: openFiles() - (openAtFirst ?? openFiles()) })}\n`,
);
